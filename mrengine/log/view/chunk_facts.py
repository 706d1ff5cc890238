"""The fields and pages of a chunk, by its id, for whoever reads outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mrengine.errors import LogError, SourceError
from mrengine.log.file.reader import LogReader
from mrengine.log.format.chunk_rows import ChunkTable, DocumentNames, stands_in
from mrengine.log.format.document_facts import pages_between, unpack_facts

if TYPE_CHECKING:
    from mrengine.log.view.replay import Epoch

__all__ = ["CUT_SHORT", "FACTS", "UNREAD", "ChunkFacts", "cut_short_of", "unread_facts", "unread_of"]

FACTS = "document_facts"  # of JOB's settings: whether any document has fields or pages
UNREAD = "unread"  # of JOB's settings: [name, why] of each source that could not be read


CUT_SHORT = "cut_short"  # of JOB's settings: ids of documents that broke off when chunks of them were given out
MOST_UNREAD, UNREAD_CHARS = 10_000, 1000  # what the log keeps of sources that could not be read


def unread_facts(errors: Iterable[SourceError]) -> dict[str, list[list[str]]]:
    """What JOB's settings say of sources that could not be read."""
    unread = [[error.document_id or error.source or "", str(error)[:UNREAD_CHARS]] for error in errors]
    return {UNREAD: unread[:MOST_UNREAD]}


def unread_of(epoch: Epoch | None) -> list[tuple[str, str]]:
    """(name, why) of the sources that a job was begun without."""
    found = epoch.job.settings.get(UNREAD) if epoch is not None else None
    return [(str(pair[0]), str(pair[1])) for pair in found or () if isinstance(pair, list) and len(pair) == 2]


def cut_short_of(epoch: Epoch | None) -> list[str]:
    """Ids of the documents of a job that stayed though they broke off."""
    found = epoch.job.settings.get(CUT_SHORT) if epoch is not None else None
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


class ChunkFacts:
    """Two reads of the log for a chunk, most of them of what was read last; none where no document has facts."""

    def __init__(self, reader: LogReader, epoch: Epoch | None, round_: int = 0) -> None:
        """``reader`` stays the caller's."""
        self._reader, self._epoch, self._round = reader, epoch, round_
        self._wanted = epoch is not None and (epoch.reading or bool(epoch.job.settings.get(FACTS)))
        self._open()

    def _open(self) -> None:
        epoch = self._epoch if self._wanted else None
        self._table = ChunkTable(self._reader.fd, epoch.segments.get(self._round, []) if epoch else [])
        self._names = DocumentNames(self._reader, epoch.documents if epoch else [])

    def of(self, chunk_id: int) -> dict[str, Any]:
        """``fields`` and ``pages`` of an outcome; nothing where there are none, or the log has lost them."""
        if not self._wanted:
            return {}
        if chunk_id >= len(self._table):
            self._open()  # it has grown
        try:
            row = self._table[chunk_id]
            document = self._names[row.document]
            facts = unpack_facts(document.facts)
        except (LogError, IndexError):
            return {}
        if self._round == 0 and not stands_in(row, document):
            return {}
        fields: Mapping[str, Any] = facts.fields
        marks = pages_between(facts.pages, row.start, row.end) if self._round == 0 else ()
        return {"fields": fields, "pages": tuple(number for number, _ in marks)}
