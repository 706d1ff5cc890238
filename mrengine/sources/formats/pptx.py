"""PPTX, by ``markitdown``: a page is a slide, with its notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from mrengine.sources.formats.archive import check_archive
from mrengine.sources.loaders import needs
from mrengine.sources.pieces import Piece

__all__ = ["load"]

_SLIDE = re.compile(r"^\s*<!-- Slide number: (\d+) -->\n?", re.MULTILINE)


def load(binary: BinaryIO) -> Iterator[Piece]:
    """The text of each slide. MissingExtra."""
    check_archive(binary)
    try:
        import pptx  # noqa: F401  # without it the converter is there, and fails
        from markitdown import StreamInfo
        from markitdown.converters import PptxConverter
    except ImportError:
        raise needs("office", "a presentation") from None
    converter: Any = PptxConverter
    before, *slides = _SLIDE.split(converter().convert(binary, StreamInfo(extension=".pptx")).markdown)
    yield Piece(before)
    for number, text in zip(slides[::2], slides[1::2], strict=True):
        yield Piece(text.strip() + "\n\n", int(number))
