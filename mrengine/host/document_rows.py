"""The documents of a job as they are read; of those that the log already has, only the number is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from mrengine.log.file.row_reader import Batch, DocumentNames
from mrengine.log.format.job_records import DocumentRow, DocumentsDigest, document_row
from mrengine.log.view.job_view import ResumeEngine

__all__ = ["DocumentRows", "digest_of"]


class DocumentRows(Sequence[DocumentRow]):
    """Rows in order. ``summary``: count, bytes and digest of all; ``has_facts``: whether any has fields or pages;
    ``textless``: the ids of those without text.
    """

    def __init__(self, stored: ResumeEngine | None = None) -> None:
        """``stored``: a log whose documents may be the same."""
        # Kept as objects, the rows were most of a host's memory (docs/decisions/streaming-preparation.md).
        epoch = None if stored is None else stored.epoch
        self._batches: tuple[Batch, ...] = ()
        self._names: Sequence[DocumentRow] | DocumentNames = ()
        if stored is not None and epoch is not None and not epoch.lost_documents():
            self._batches = tuple(epoch.documents)
            # With a descriptor of its own: the view may be opened anew.
            self._names = DocumentNames(stored.reader.duplicate(), self._batches)
        packed = self._names.packed() if isinstance(self._names, DocumentNames) else ()
        self._ahead = chain.from_iterable(packed)  # packed rows: most are compared, and no object is made of them
        self._alike = 0  # how many of the first rows are those of the log
        self._others: list[DocumentRow] = []
        self.summary: tuple[int, int, bytes] = DocumentsDigest().summary()
        self.has_facts = False
        self.textless: Sequence[str] = ()

    def append(self, row: DocumentRow) -> None:
        """Add a row."""
        if not self._others and self._is_next(row):
            self._alike += 1
        else:
            self._others.append(row)

    def _is_next(self, row: DocumentRow) -> bool:
        """Whether the log has this row behind those that were found there."""
        known = next(self._ahead, None)
        return known is not None and ((known == [*row[:5]] and not row.facts) or document_row(known) == row)

    def __len__(self) -> int:
        return self._alike + len(self._others)

    def __iter__(self) -> Iterator[DocumentRow]:
        return chain(islice(self._names, self._alike), self._others)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return self._names[at] if at < self._alike else self._others[at - self._alike]

    def are_those_of(self, stored: ResumeEngine) -> bool:
        """Whether all rows were found in the DOCUMENTS records that a log has now."""
        epoch = stored.epoch
        return epoch is not None and not self._others and self._batches == tuple(epoch.documents)


def digest_of(rows: Sequence[DocumentRow]) -> tuple[int, int, bytes]:
    """(count, bytes, digest over all ids and digests)."""
    if isinstance(rows, DocumentRows):
        return rows.summary
    digest = DocumentsDigest()
    for row in rows:
        digest.add(row.id, row.identity, row.n_bytes)
    return digest.summary()
