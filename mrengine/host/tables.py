"""Owns what is done with a table given as the document: a column of it is many documents, the table itself is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrengine.errors import ConfigError
from mrengine.records import Document

__all__ = ["without_tables"]

# By the packages' names: none of them is imported here, and a proxy of one need not be there.
_PACKAGES = frozenset(
    {"pandas", "polars", "pyarrow", "dask", "modin", "cudf", "duckdb", "pyspark", "vaex", "geopandas"}
)


def without_tables(document: Any) -> Any:
    """The document as it is, or the rows of a pandas Series as Documents: their ids are its index.

    ConfigError: it is a table, whose columns' names would be read for documents.
    """
    kind = type(document)
    if not _PACKAGES & {base.__module__.partition(".")[0] for base in kind.__mro__}:
        return document
    if hasattr(document, "index") and hasattr(document, "items") and getattr(document, "ndim", 0) == 1:
        return _rows(document)
    if getattr(document, "ndim", 2) == 2 and any(hasattr(kind, name) for name in ("columns", "column_names")):
        raise ConfigError(
            f"a {kind.__name__} is no row of documents: give a column of texts, as frame['text'], or "
            "[Document(id, text) for id, text in zip(frame['id'], frame['text'])]",
            setting="document",
        )
    return document


def _rows(series: Any) -> Iterator[Document]:
    for name, text in series.items():
        if text is None or text != text:
            told = f"the document {name!r} of the Series is missing: leave such rows out, with series.dropna()"
            raise ConfigError(told, setting="document")
        yield Document(" ".join(map(str, name)) if isinstance(name, tuple) else str(name), text)
