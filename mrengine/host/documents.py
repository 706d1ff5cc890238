"""What the caller gives as documents: looked at, read once into a spool, and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError, SourceError
from mrengine.host.intake import Intake
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.view.document_facts import unread_of
from mrengine.log.view.replay import Epoch
from mrengine.private import make_private
from mrengine.records import Document
from mrengine.sources.spool import Spool, sweep_spools

__all__ = [
    "Spooled",
    "check_documents",
    "names_a_file",
    "spool_all",
    "spool_documents",
    "spool_unnamed",
    "unread_before",
    "without_tables",
]

UNNAMED = ".unnamed"  # beside the jobs, none of which can have such a name

# By the packages' names: none of them is imported here, and a proxy of one need not be there.
_PACKAGES = frozenset(
    {"pandas", "polars", "pyarrow", "dask", "modin", "cudf", "duckdb", "pyspark", "vaex", "geopandas"}
)


@dataclass(frozen=True, slots=True)
class Spooled:
    """Documents that were read: the spool with their text, which is not published yet, and what the log says of them.

    ``blank``: none of them has more than blanks. ``unread``: the sources that were left out, ``told`` what
    is said of them. ``warnings``: what else the caller must hear.
    """

    spool: Spool
    rows: Sequence[DocumentRow]
    blank: bool
    unread: tuple[SourceError, ...] = ()
    told: str = ""
    warnings: Sequence[str] = ()


def spool_documents(folder: Path, document: Any, *, skip: bool, optional: bool = False) -> Spooled:
    """Read all documents, once; see Spool for ``optional``. ``skip``: those that cannot be read are left out.

    SourceError: some cannot be read.
    """
    return spool_all(Intake(folder, document, skip=skip, optional=optional))


def spool_all(intake: Intake) -> Spooled:
    """Read what is left of all documents. SourceError: some cannot be read."""
    reading = intake.reading
    try:
        intake.advance()
        reading.check()
        intake.spool.flush()
        told = reading.told() if reading.errors else ""
        rows = list(intake.rows)
        return Spooled(intake.spool, rows, not intake.has_text, tuple(reading.errors), told, reading.warnings)
    except BaseException:
        intake.discard()
        raise


def unread_before(epoch: Epoch) -> tuple[SourceError, ...]:
    """The sources that a job was begun without, as its log has them."""
    found = []
    for name, why in unread_of(epoch):
        found.append(SourceError(why, source=name))
        found[-1].document_id = name
    return tuple(found)


def spool_unnamed(jobs: Path, document: Any, *, skip: bool) -> Spooled:
    """Read the documents of a job that is named by them: ``spool.move()`` brings their text to its folder.

    What hosts that were killed while they read have left is swept; what others are reading is not.
    """
    folder = jobs / UNNAMED
    make_private(folder)
    with suppress(OSError):  # what is left is swept another time
        sweep_spools(folder)
    return spool_documents(folder, document, skip=skip, optional=True)


def check_documents(documents: Spooled) -> None:
    """ConfigError: there is no document; SourceError: all are empty or blank."""
    rows = documents.rows
    if not rows:
        raise ConfigError("there is no document", setting="document")
    if documents.blank:
        what = f"the document {rows[0].id!r} is" if len(rows) == 1 else f"all {len(rows)} documents are"
        how = "blank" if any(row.n_bytes for row in rows) else "empty"
        raise SourceError(f"{what} {how}: there is nothing to run the map function on", source=rows[0].id)


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
            f"a {kind.__name__} is no row of documents: give read_table(frame, text='note'), or a column of texts, as "
            "frame['text'], or [Document(id, text) for id, text in zip(frame['id'], frame['text'])]",
            setting="document",
        )
    return document


def _rows(series: Any) -> Iterator[Document]:
    for name, text in series.items():
        if text is None or text != text:
            message = f"the document {name!r} of the Series is missing: leave such rows out, with series.dropna()"
            raise ConfigError(message, setting="document")
        yield Document(" ".join(map(str, name)) if isinstance(name, tuple) else str(name), text)


def names_a_file(document: Any) -> str | None:
    """A str is text, also where it names a file or a page: whoever meant that should hear of it."""
    if isinstance(document, str) and re.fullmatch(r"https?://\S{3,2000}", document):
        return "the document is a str, so it is the text; it is a URL, too: for the page give Url(…)"
    if isinstance(document, str) and len(document) < 4096 and "\n" not in document and "\0" not in document:
        with suppress(OSError, ValueError):
            if os.path.isfile(document):
                return "the document is a str, so it is the text; it names a file, too: for that give Path(…)"
    return None
