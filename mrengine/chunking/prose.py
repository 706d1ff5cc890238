"""Owns running text: its paragraphs, and what a newline means in it."""

from __future__ import annotations

from mrengine.chunking.boundaries import LINE, PARAGRAPH, SOFT, Boundary, Stateless
from mrengine.chunking.lines import lines_between
from mrengine.chunking.sample import Sample

__all__ = ["Prose", "looks"]


class Prose(Stateless):
    """Running text. It keeps nothing from one call to the next."""

    name = "prose"

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Paragraphs and lines."""
        return [
            (begin, PARAGRAPH if after_blank else LINE, SOFT)
            for begin, _, after_blank in lines_between(text, low, high)
        ]


def looks(sample: Sample) -> float:
    """Any text may be prose."""
    return 0.3
