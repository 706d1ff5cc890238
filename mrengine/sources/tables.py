"""Tables as documents: one a row, streamed; the other columns travel as the document's fields."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError, SourceError
from mrengine.records import Document
from mrengine.sources.loaders import Notes, needs
from mrengine.sources.opening import File, open_pieces, whole_lines
from mrengine.sources.read import Unreadable

__all__ = ["read_table"]

_BATCH_ROWS = 4096
_LONGEST_FIELD = 1 << 26  # characters: a longer one is a quotation mark that is never closed
_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t", ".tab": "\t"}
_PARQUET = (".parquet", ".pq")
Row = dict[str, Any]


def read_table(
    table: Any, *, text: str, id: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[Document]:
    """The rows of a table as documents: the column ``text`` is read, the others are ``document.fields``.

    ``table``: the path of a CSV, TSV (also packed with gzip or zstd) or Parquet file, or a pandas, polars or Arrow
    table. It is read row by row, on demand. ``id``: the column of ids, which must differ; without it a row is named by
    its index in pandas, and by its number elsewhere, 0 first. ``columns``: those that become fields; None: all others.
    A row whose text is missing is a failure of that row alone. ConfigError: there is no such column; MissingExtra,
    SourceError.
    """
    names, rows = _opened(table)
    wanted = [name for name in names if name not in (text, id)] if columns is None else list(columns)
    for role, name in (("text", text), ("id", id), *(("columns", name) for name in wanted)):
        if name is not None and name not in names:
            shown = ", ".join(map(repr, names[:12])) + (", …" if len(names) > 12 else "")
            raise ConfigError(f"the table has no column {name!r}: it has {shown}", setting=role)
    return _documents(rows, text, id, wanted)


def _documents(rows: Iterator[tuple[str, Row]], text: str, id: str | None, wanted: Sequence[str]) -> Iterator[Document]:
    for place, row in rows:
        document_id = place if id is None else _name(row[id], place, id)
        fields = {name: _plain(row[name]) for name in wanted}
        yield Document(document_id, _text(row[text], document_id, text), fields=fields)


def _name(value: Any, place: str, column: str) -> str:
    if _is_missing(value) or value == "":
        raise SourceError(f"row {place} of the table has no id in {column!r}", source=place)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas makes floats of integers where some are missing
    return str(value)


def _text(value: Any, document_id: str, column: str) -> Any:
    if isinstance(value, str):
        return value
    what = "is missing" if _is_missing(value) else f"is of type {type(value).__name__}, not text"
    return Unreadable(SourceError(f"{document_id}: its {column!r} {what}", source=document_id))


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas.NA: nothing else differs from itself, or refuses to compare."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _plain(value: Any) -> Any:
    """A value as a field holds it; a missing one is None."""
    if isinstance(value, float) and not math.isnan(value):
        return value
    if not isinstance(value, (list, tuple, dict)) and _is_missing(value):
        return None
    if hasattr(value, "tolist") and type(value).__module__ == "numpy":
        return value.tolist()
    return value


def _opened(table: Any) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    """The names of a table's columns, and its rows, each with its place. ConfigError."""
    if isinstance(table, (str, os.PathLike)):
        return _from_path(Path(table))
    # By the module of its class, so that none of the three libraries is imported to be asked.
    package = next((base.__module__.partition(".")[0] for base in type(table).__mro__[:-1]), "")
    if package == "pandas" and getattr(table, "ndim", 0) == 2:
        return _from_pandas(table)
    if package == "polars":
        frame = table.collect() if hasattr(table, "collect") else table
        if hasattr(frame, "iter_rows") and hasattr(frame, "columns"):
            return list(frame.columns), _numbered(frame.iter_rows(named=True))
    if package == "pyarrow" and hasattr(table, "to_batches"):
        return list(table.schema.names), _numbered(_of_batches(table.to_batches(max_chunksize=_BATCH_ROWS)))
    if package == "pyarrow" and hasattr(table, "to_pylist") and hasattr(table, "schema"):
        return list(table.schema.names), _numbered(iter(table.to_pylist()))
    kind = type(table).__name__
    message = f"a table is the path of a CSV, TSV or Parquet file, or a pandas, polars or Arrow table, not a {kind}"
    raise ConfigError(message, setting="table")


def _numbered(rows: Iterator[Row]) -> Iterator[tuple[str, Row]]:
    return ((str(number), row) for number, row in enumerate(rows))


def _of_batches(batches: Any) -> Iterator[Row]:
    for batch in batches:
        yield from batch.to_pylist()


def _from_pandas(frame: Any) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):  # pandas allows it; one would hide the other in a dict
        raise ConfigError("two columns of the frame have the same name", setting="table")

    def rows() -> Iterator[tuple[str, Row]]:
        for place, values in zip(frame.index, frame.itertuples(index=False, name=None), strict=True):
            name = " ".join(map(str, place)) if isinstance(place, tuple) else str(place)
            yield name, dict(zip(names, values, strict=True))

    return names, rows()


def _from_path(path: Path) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix in (*_DELIMITERS, *_PARQUET)), "")
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file", source=str(path))
    if kind in _PARQUET:
        return _from_parquet(path)
    if not kind:
        message = f"{path}: a table's name ends in .csv, .tsv or .parquet; for JSON Lines there is read_jsonl"
        raise ConfigError(message, setting="table")
    return _from_csv(path, _DELIMITERS[kind])


def _from_parquet(path: Path) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise needs("parquet", f"{path}, a Parquet file,") from None
    try:
        # No map and no buffers ahead: the memory is that of one batch, however large the file is.
        file = parquet.ParquetFile(path, memory_map=False, pre_buffer=False)
    except (ArrowException, OSError) as error:
        message = f"{path} cannot be read as a Parquet file ({type(error).__name__})"
        raise SourceError(message, source=str(path)) from None

    def rows() -> Iterator[Row]:
        with file:
            try:
                yield from _of_batches(file.iter_batches(batch_size=_BATCH_ROWS))
            except (ArrowException, OSError) as error:
                message = f"{path} is damaged: a part of it cannot be read ({type(error).__name__})"
                raise SourceError(message, source=str(path)) from None

    return list(file.schema_arrow.names), _numbered(rows())


def _from_csv(path: Path, delimiters: str) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    notes = Notes()
    lines = whole_lines(open_pieces(File(path), str(path), notes))
    head = next(lines, "").removeprefix("\ufeff")
    delimiter = max(delimiters, key=lambda mark: len(next(csv.reader([head], delimiter=mark), [])))
    # Python's own limit, 128 KiB, is less than a document; it is one for the process, and is never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    reader = csv.reader(chain((head,), lines), delimiter=delimiter)
    names = _read_row(reader, path) or []
    if not any(names):
        raise SourceError(f"{path} has no line with the names of its columns", source=str(path))
    if len(set(names)) < len(names):
        raise SourceError(f"{path}: two columns have the same name", source=str(path), line=1)

    def rows() -> Iterator[Row]:
        while (cells := _read_row(reader, path)) is not None:
            if cells:
                yield _row(names, cells, path, reader.line_num)
        notes.log()

    return names, _numbered(rows())


def _read_row(reader: Any, path: Path) -> list[str] | None:
    """The next row; None at the end. SourceError, with its line."""
    try:
        return next(reader, None)
    except csv.Error as error:
        reason = "a field does not end: is a quotation mark never closed?" if "limit" in str(error) else str(error)
        message = f"{path}, line {reader.line_num}: {reason}"
        raise SourceError(message, source=str(path), line=reader.line_num) from None


def _row(names: Sequence[str], cells: Sequence[str], path: Path, line: int) -> Row:
    if len(cells) > len(names) and any(cells[len(names) :]):
        message = f"{path}, line {line}: {len(cells)} cells under {len(names)} names: is a comma in a text not quoted?"
        raise SourceError(message, source=str(path), line=line)
    # Some programs leave out the empty cells at a row's end.
    return {name: cells[at] if at < len(cells) else None for at, name in enumerate(names)}
