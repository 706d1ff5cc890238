"""Office files: DOCX and PPTX as Markdown by ``markitdown``, XLSX row by row by ``openpyxl``.

Each is a ZIP archive, and is checked before anything unpacks it into memory.
"""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import BinaryIO

from mrengine.errors import SourceError
from mrengine.sources.loaders import Piece, needs

__all__ = ["LARGE", "MOST_RATIO", "docx", "pptx", "xlsx"]

MOST_BYTES = 1 << 30  # unpacked
MOST_RATIO = 200  # of a part that is large: text compresses to a twentieth at best
LARGE = 50_000_000
_SLIDE = re.compile(r"^\s*<!-- Slide number: (\d+) -->\n?", re.MULTILINE)


def docx(binary: BinaryIO) -> Iterator[Piece]:
    """Headings, lists and tables of a document. MissingExtra."""
    yield Piece(_markdown(binary, "docx", "a Word document", parser="mammoth") + "\n")


def pptx(binary: BinaryIO) -> Iterator[Piece]:
    """The text of each slide, with its notes; a slide is a page. MissingExtra."""
    before, *slides = _SLIDE.split(_markdown(binary, "pptx", "a presentation", parser="pptx"))
    yield Piece(before)
    for number, text in zip(slides[::2], slides[1::2], strict=True):
        yield Piece(text.strip() + "\n\n", int(number))


def _markdown(binary: BinaryIO, kind: str, what: str, *, parser: str) -> str:
    _check_archive(binary)
    try:
        import_module(parser)  # markitdown has the converter without it, which fails only when it converts
        from markitdown import StreamInfo, converters
    except ImportError:
        raise needs("office", what) from None
    converter = getattr(converters, f"{kind.capitalize()}Converter")()
    return str(converter.convert(binary, StreamInfo(extension=f".{kind}")).markdown)


def xlsx(binary: BinaryIO) -> Iterator[Piece]:
    """A heading and a Markdown table for each sheet, without empty rows. MissingExtra."""
    _check_archive(binary)
    try:
        import openpyxl
    except ImportError:
        raise needs("office", "a workbook") from None
    # data_only: a formula's value as it was when the file was saved.
    book = openpyxl.load_workbook(binary, read_only=True, data_only=True)
    for sheet in book.worksheets:
        yield Piece(f"## {sheet.title}\n\n")
        began = False
        for row in sheet.iter_rows(values_only=True):
            cells = [_cell(value) for value in row]
            if any(cells):
                yield Piece(_line(cells))
                if not began:
                    yield Piece(_line(["---"] * len(cells)))
                began = True
        yield Piece("\n")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    # The file has one type for all numbers, and none for a date without a time.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return " ".join(str(value).split()).replace("|", "\\|")


def _check_archive(binary: BinaryIO) -> None:
    """SourceError: it is damaged, encrypted, or unpacks to more than anybody has written."""
    try:
        with zipfile.ZipFile(binary) as archive:
            parts = archive.infolist()
    except zipfile.BadZipFile:
        raise SourceError("it is damaged, or no Office file: it is not a ZIP archive") from None
    size = sum(part.file_size for part in parts)
    bomb = any(part.file_size > LARGE and part.file_size > MOST_RATIO * part.compress_size for part in parts)
    if size > MOST_BYTES or bomb:
        raise SourceError(f"it would unpack to {size} bytes, more than a document has")
    if any(part.flag_bits & 1 for part in parts):
        raise SourceError("it is encrypted: save it without a password first")
    binary.seek(0)
