"""Finds the document, fields and pages of a chunk by its id, for results and failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mrengine.errors import LogError, SourceError
from mrengine.log.file.reader import LogReader
from mrengine.log.file.row_reader import ChunkTable, DocumentNames, document_of
from mrengine.log.format.chunk_rows import stands_in
from mrengine.log.format.document_facts import pages_between, unpack_facts
from mrengine.log.view.replay import Epoch

__all__ = ["CUT_SHORT", "FACTS", "UNREAD", "ChunkFacts", "cut_short_of", "unread_facts", "unread_of"]

# Keys of JOB's settings: whether any document has fields or pages; [name, why] of each source that could not be read;
# ids of documents that broke off after chunks of them were given out.
FACTS = "document_facts"
UNREAD = "unread"
CUT_SHORT = "cut_short"
MOST_UNREAD, UNREAD_CHARS = 10_000, 1000  # what the log keeps of unreadable sources


def unread_facts(errors: Iterable[SourceError]) -> dict[str, list[list[str]]]:
    """The entry of JOB's settings for sources that could not be read."""
    unread = [[error.document_id or error.source or "", str(error)[:UNREAD_CHARS]] for error in errors]
    return {UNREAD: unread[:MOST_UNREAD]}


def unread_of(epoch: Epoch | None) -> list[tuple[str, str]]:
    """(name, why) of each source that could not be read."""
    pairs = epoch.job.settings.get(UNREAD) if epoch is not None else None
    listed = pairs if isinstance(pairs, list) else ()
    return [(str(pair[0]), str(pair[1])) for pair in listed if isinstance(pair, list) and len(pair) == 2]


def cut_short_of(epoch: Epoch | None) -> list[str]:
    """Ids of the documents that broke off while they were read, and stayed in the job."""
    names = epoch.job.settings.get(CUT_SHORT) if epoch is not None else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class ChunkFacts:
    """The document of a chunk, its fields and its pages, by chunk id."""

    # A chunk takes two reads of the log, mostly cached. Where no document has facts, there is none.

    def __init__(self, reader: LogReader, epoch: Epoch | None, round_: int = 0) -> None:
        """``reader`` stays the caller's."""
        self._reader, self._epoch, self._round = reader, epoch, round_
        self._wanted = epoch is not None and (epoch.reading or bool(epoch.job.settings.get(FACTS)))
        self._open()

    def _open(self) -> None:
        epoch = self._epoch
        self._table = ChunkTable(self._reader.fd, epoch.segments.get(self._round, []) if epoch else [])
        self._names = DocumentNames(self._reader, epoch.documents if epoch else [])

    def document_of(self, chunk_id: int) -> str:
        """The id of a chunk's document; "" if the log has lost it."""
        return document_of(self._table, self._names, chunk_id)

    def of(self, chunk_id: int) -> dict[str, Any]:
        """``fields`` and ``pages`` of a chunk, as a dict; empty if it has none, or the log has lost them."""
        if not self._wanted:
            return {}
        if chunk_id >= len(self._table):
            self._open()  # the table has grown
        try:
            row = self._table[chunk_id]
            document = self._names[row.document]
            facts = unpack_facts(document.facts)
        except (LogError, IndexError):
            return {}
        # A chunk of a reduce round is made of results: it has a document's fields, but lies on none of its pages.
        if self._round == 0 and not stands_in(row, document):
            return {}
        fields: Mapping[str, Any] = facts.fields
        marks = pages_between(facts.pages, row.start, row.end) if self._round == 0 else ()
        return {"fields": fields, "pages": tuple(number for number, _ in marks)}
