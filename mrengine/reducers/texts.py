"""Reducers that join texts: collect, concatenate, and the medical report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mrengine.records import ChunkFailure, ChunkResult

__all__ = ["collect", "concatenate", "failures_of", "in_order", "medical_report_aggregator", "text_of"]

RULE = "\n\n---\n\n"  # with blank lines: right under a line of text, markdown takes --- for a heading's underline


def collect(results: Sequence[ChunkResult]) -> list[Any]:
    """The results' values as a list, in chunk order."""
    return [item.result for item in in_order(results)]


def concatenate(results: Sequence[ChunkResult]) -> str:
    """The results' texts in chunk order, a blank line between two. A result of None adds nothing.

    Raises TypeError for a result that is no text and has none (see ``text_of``).
    """
    return "\n\n".join(text for item in in_order(results) if (text := text_of(item)) is not None)


def medical_report_aggregator(results: Sequence[ChunkResult]) -> dict[str, Any]:
    """Join the sections of a report, in chunk order, and say what it is made of.

    Returns ``{"full_report": str, "metadata": {"total_sections": int, "models": [str, …] in order of appearance,
    "total_output_tokens": int, "missing": [chunk id, …]}}``. ``missing`` are the chunks without a section: those that
    failed, and those whose result is None. Raises TypeError for a result that has no text (see ``text_of``).
    """
    ordered = in_order(results)
    sections = [(item, text) for item in ordered if (text := text_of(item)) is not None]
    present = {item.chunk_id for item, _ in sections}
    known = {item.chunk_id for item in ordered} | {failure.chunk_id for failure in failures_of(results)}
    return {
        "full_report": RULE.join(text for _, text in sections),
        "metadata": {
            "total_sections": len(sections),
            "models": list(dict.fromkeys(item.model for item, _ in sections if item.model is not None)),
            "total_output_tokens": sum(item.usage.output_tokens for item in ordered),
            "missing": sorted(known - present),
        },
    }


def in_order(results: Sequence[ChunkResult]) -> list[ChunkResult]:
    """By chunk; several results of one chunk stay as they come, which is the order of the models."""
    return sorted(results, key=lambda item: item.chunk_id)


def failures_of(results: Sequence[ChunkResult]) -> Sequence[ChunkFailure]:
    """The failures that came with the results; a plain list has none."""
    failures: Sequence[ChunkFailure] = getattr(results, "failures", ())
    return failures


def text_of(item: ChunkResult) -> str | None:
    """The result itself if it is a str, else its ``text``; None for a result of None.

    Raises TypeError for anything else. The message names the chunk and the type, never the value.
    """
    value = item.result
    text = value.get("text") if isinstance(value, Mapping) else getattr(value, "text", value)
    if text is None and value is None:
        return None
    if not isinstance(text, str):
        kind = type(value).__name__
        raise TypeError(f'chunk {item.chunk_id}: a str or a dict with a str under "text" is needed, not {kind}')
    return text
