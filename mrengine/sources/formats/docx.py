"""DOCX, by ``markitdown``: headings, lists and tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from mrengine.sources.formats.archive import check_archive
from mrengine.sources.loaders import needs
from mrengine.sources.pieces import Piece

__all__ = ["load"]


def load(binary: BinaryIO) -> Iterator[Piece]:
    """The document's text. MissingExtra."""
    check_archive(binary)
    try:
        import mammoth  # noqa: F401  # without it the converter is there, and fails
        from markitdown import StreamInfo
        from markitdown.converters import DocxConverter
    except ImportError:
        raise needs("office", "a Word document") from None
    converter: Any = DocxConverter
    yield Piece(converter().convert(binary, StreamInfo(extension=".docx")).markdown + "\n")
