"""What an earlier run has left is looked at in bulk, and found wrong where one row is."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mrengine.host.table_checks import first_row, lacking_text, rows_follow, tells_of_others
from mrengine.log.format.chunk_rows import ChunkRow, pack_row, unpack_row
from mrengine.log.format.job_records import DocumentRow

DOCUMENTS = [
    DocumentRow("a", b"a" * 16, 0, 10, 10),
    DocumentRow("b", b"b" * 16, 10, 5, 5),
    DocumentRow("c", b"c" * 16, 15, 0, 0),
    DocumentRow("d", b"", 15, 0, 0),
]
ROWS = [(0, 0, 6), (0, 4, 10), (1, 10, 15), (3, 15, 40), (3, 38, 90)]  # document, from, to


def row(document: int, first: int, end: int) -> ChunkRow:
    return ChunkRow(document, "prose", 0, 1, 0, 9, first, end, b"d" * 16)


class Table(list[ChunkRow]):
    def blocks(self) -> Iterable[bytes]:
        for at in range(0, len(self), 2):
            yield b"".join(map(pack_row, self[at : at + 2]))


def stored(rows: list[tuple[int, int, int]]) -> Any:
    return SimpleNamespace(chunk_table=lambda: Table(row(*values) for values in rows))


@pytest.mark.parametrize(
    ("at", "other"),
    [
        (0, (0, 4, 3)),  # it ends before it begins
        (1, (0, 4, 11)),  # beyond its document
        (2, (1, 9, 15)),  # before its document
        (3, (4, 15, 40)),  # of a document that there is not
        (4, (1, 10, 15)),  # of an earlier document, in another record
    ],
)
def test_rows_follow_one_another_each_in_its_document(at: int, other: tuple[int, int, int]) -> None:
    changed = [*ROWS[:at], other, *ROWS[at + 1 :]]
    assert not rows_follow(stored(changed), DOCUMENTS)
    assert rows_follow(stored(ROWS), DOCUMENTS)
    assert rows_follow(stored([]), DOCUMENTS)
    assert rows_follow(stored([*ROWS, (3, 1 << 63, (1 << 64) - 1)]), DOCUMENTS)  # of one that is still being read
    assert not rows_follow(stored(ROWS), [DOCUMENTS[0]._replace(n_bytes=-11), *DOCUMENTS[1:]])


def test_the_first_row_of_a_document_is_found() -> None:
    table: Any = Table(row(*values) for values in ROWS)
    assert [first_row(table, document) for document in range(5)] == [0, 2, 3, 3, 5]
    assert unpack_row(pack_row(table[4])) == table[4]


def test_documents_are_compared_record_by_record() -> None:
    """Those that the log has lost, or that the caller has not, say nothing."""

    def names(*batches: tuple[int, int]) -> Any:
        found = [(first, tuple(DOCUMENTS[first:stop])) for first, stop in batches]
        return SimpleNamespace(documents=lambda: SimpleNamespace(batches=lambda: iter(found)))

    assert not tells_of_others(names((0, 2), (2, 4)), DOCUMENTS)
    assert not tells_of_others(names((2, 4)), DOCUMENTS[:3])
    for index in range(4):
        others = [one._replace(n_chars=7) if at == index else one for at, one in enumerate(DOCUMENTS)]
        assert tells_of_others(names((0, 2), (2, 4)), others)


def test_a_spool_that_lacks_its_documents_says_why(tmp_path: Path) -> None:
    place = tmp_path / "spool-x"
    row = DocumentRow("d", blake2b(b"text", digest_size=16).digest(), 0, 4, 4)
    assert lacking_text(place, [row]) == ""
    place.write_text("tex")
    assert "is damaged" in (lacking_text(place, [row]) or "")
    place.unlink()
    place.mkdir()
    assert "a folder" in (lacking_text(place, [row]) or "")
    place.rmdir()
    place.write_text("text and more")
    assert lacking_text(place, [row]) is None
