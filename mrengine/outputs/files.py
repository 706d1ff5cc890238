"""Writes rows to files: CSV, TSV, JSON Lines or Parquet, by the suffix of the path."""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError, MissingExtra
from mrengine.outputs.rows import flat

__all__ = ["SUFFIXES", "check_path", "export_rows", "frame_of"]

_BATCH_ROWS = 4096  # in memory at once
_FORMULA = re.compile(r"[\t\r\n ]*[=+\-@＝＋－＠]|[\t\r\n]")  # OWASP, CSV injection
# A negative number and a percentage begin like a formula, and are none.
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d+)*|\.\d+)([eE][+-]?\d+)?%?")
Rows = Callable[[], Iterator[dict[str, Any]]]
Cell = Callable[[Any], Any]


def export_rows(rows: Rows, path: str | os.PathLike[str], *, formulas: bool = False) -> Path:
    """Write rows to a file, and return its path. ``rows`` is called once, or twice if the columns must be known first.

    In CSV and TSV a ' is put before texts that a spreadsheet would run as a formula, unless ``formulas``. An existing
    file is replaced when the new one is complete. ConfigError: the suffix names no format, or the file cannot be
    written. MissingExtra: the format needs a library that is not installed.
    """
    place = check_path(path)
    suffix = place.suffix.lower()
    try:
        # In the same folder: a rename is atomic only within a file system.
        fd, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name[:100]}.")
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}", setting="path") from None
    os.close(fd)
    try:
        if suffix in _DELIMITERS:
            _write_csv(rows, Path(name), _DELIMITERS[suffix], _cell if formulas else _harmless)
        else:
            _WRITERS[suffix](rows, Path(name))
        umask = os.umask(0)  # the only way to read it is to set it
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp's files are private, which an export need not be
        with open(name, "rb+") as file:
            os.fsync(file.fileno())  # or a power cut could leave an empty file in place of the old one
        os.replace(name, place)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}", setting="path") from error
    finally:
        Path(name).unlink(missing_ok=True)  # it is there only if it was not moved
    return place


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path. ConfigError: its suffix names no format. MissingExtra: pyarrow is needed, and not installed."""
    # A function of its own: the command line asks before anything is paid for.
    place = Path(path)
    if place.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{place}: an export is {', '.join(SUFFIXES)} by its suffix", setting="path")
    if place.suffix.lower() in (".parquet", ".pq"):
        _arrow()
    return place


def frame_of(rows: Iterable[dict[str, Any]]) -> Any:
    """A pandas DataFrame of all rows. MissingExtra: pandas is not installed."""
    try:
        import pandas as pd
    except ImportError:
        message = "to_frame() needs pandas, which is not installed: pip install 'mrengine[tables]'"
        raise MissingExtra(message, extra="tables") from None
    table = [flat(row) for row in rows]
    return pd.DataFrame(table, columns=_columns(iter(table)) or None)


def _columns(rows: Iterator[dict[str, Any]]) -> list[str]:
    """All columns, in the order in which they first occur, but those about the call and its failure last."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    ends = ["model", "input_tokens", "output_tokens", "cost_usd", "failure"]
    return [name for name in names if name not in ends] + [name for name in ends if name in names]


def _write_csv(rows: Rows, path: Path, delimiter: str, cell: Cell) -> None:
    columns = _columns(flat(row) for row in rows())  # a pass of its own: a later row may have other fields
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow([cell(name) for name in columns])
        for row in rows():
            cells = flat(row)
            writer.writerow([cell(cells.get(name)) for name in columns])


def _cell(value: Any) -> Any:
    """A value as CSV has it: text and numbers as they are, lists and dicts as JSON, bytes as base64."""
    if isinstance(value, (list, dict)):
        return json.dumps(_plain(value), ensure_ascii=False)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _harmless(value: Any) -> Any:
    """A cell that no spreadsheet runs as a formula."""
    # Texts of models and documents are data, and must not run on the machine of whoever opens the table.
    text = _cell(value)
    if isinstance(text, str) and _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _write_jsonl(rows: Rows, path: Path) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows():
            whole = {name: value for name, value in row.items() if not name.startswith("result.")}
            file.write(json.dumps(_plain(whole), ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    """A value as JSON has it: bytes as base64, NaN and infinities as null, lone surrogates escaped."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _arrow() -> Any:
    try:
        import pyarrow
        from pyarrow import parquet  # noqa: F401
    except ImportError:
        message = "a Parquet file needs pyarrow, which is not installed: pip install 'mrengine[tables]'"
        raise MissingExtra(message, extra="tables") from None
    return pyarrow


def _write_parquet(rows: Rows, path: Path) -> None:
    """Write a Parquet file. A column whose values have no common type is text."""
    arrow = _arrow()
    from pyarrow import parquet

    kinds: dict[str, set[type]] = {}
    for row in rows():
        for name, value in flat(row).items():
            kinds.setdefault(name, set()).add(_kind(value))
    columns = _columns(iter([dict.fromkeys(kinds)]))
    types = {name: _arrow_type(arrow, kinds[name] - {type(None)}) for name in columns}
    schema = arrow.schema([(name, types[name]) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows():
            cells = flat(row)
            batch.append({name: _fitting(cells.get(name), types[name] == arrow.string()) for name in columns})
            if len(batch) == _BATCH_ROWS:
                writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
                batch = []
        writer.write_table(arrow.Table.from_pylist(batch, schema=schema))


class _LongInt(int):
    """A whole number that a float64 does not hold exactly."""


def _kind(value: Any) -> type:
    if type(value) is not int or abs(value) <= 1 << 53:
        return type(value)
    # Results may hold whole numbers up to 2**64 - 1: Arrow takes none beyond its int64, so that column is text.
    return _LongInt if -(1 << 63) <= value < 1 << 63 else str


def _arrow_type(arrow: Any, kinds: set[type]) -> Any:
    if kinds == {bool}:
        return arrow.bool_()
    if kinds and kinds <= {int, _LongInt}:
        return arrow.int64()
    if kinds and kinds <= {int, float}:  # a column of whole and of broken numbers
        return arrow.float64()
    return arrow.binary() if kinds == {bytes} else arrow.string()


def _fitting(value: Any, as_text: bool) -> Any:
    if value is None or not as_text:
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(_plain(value), ensure_ascii=False)


_WRITERS: dict[str, Callable[[Rows, Path], None]] = {
    ".jsonl": _write_jsonl,
    ".ndjson": _write_jsonl,
    ".parquet": _write_parquet,
    ".pq": _write_parquet,
}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*_DELIMITERS, *_WRITERS)
