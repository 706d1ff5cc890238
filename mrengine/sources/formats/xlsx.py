"""XLSX, by ``openpyxl``, row by row: a heading and a Markdown table for each sheet. A formula is what it came to."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from mrengine.sources.formats.archive import check_archive
from mrengine.sources.loaders import needs
from mrengine.sources.pieces import Piece

__all__ = ["load"]


def load(binary: BinaryIO) -> Iterator[Piece]:
    """The sheets' rows that are not empty. MissingExtra."""
    check_archive(binary)
    try:
        import openpyxl
    except ImportError:
        raise needs("office", "a workbook") from None
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


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return " ".join(str(value).split()).replace("|", "\\|")
