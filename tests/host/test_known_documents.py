"""Documents that are given again are compared with those of a log, at once or a piece at a time."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mrengine import Document
from mrengine.errors import JobMismatch
from mrengine.host.intake import Intake, spool_documents
from mrengine.host.known_documents import Comparison, compared_meanwhile, has_text_to_begin_with
from mrengine.log.format.chunk_rows import ChunkRow
from mrengine.log.format.job_records import DocumentRow

TEXTS = ["One.", "Größe", "", "The third, with some more words."]
LONG = "A long one that is read in pieces.\n" * 20_000


class Names(list[DocumentRow]):
    def get(self, index: int) -> DocumentRow | None:
        return self[index] if index < len(self) else None


def known_of(folder: Path, documents: list[Any], rows: int, opened: bool = False) -> Any:
    """What a log would have of documents: one row for each of the first ones, the last of them perhaps not read."""
    spooled = spool_documents(folder, documents, skip=False)
    names = Names(spooled.rows)
    table = [
        ChunkRow(index, "prose", 0, 1, 0, row.n_chars, row.spool_offset, row.spool_offset + row.n_bytes, row.digest)
        for index, row in enumerate(names[:rows])
    ]
    spooled.spool.discard()
    if opened:
        names[-1] = DocumentRow(names[-1].id, b"", names[-1].spool_offset, 0, 0)
    return SimpleNamespace(
        names=names,
        table=table,
        rows=rows,
        documents=len(names),
        document=max(0, rows - 1),
        end=table[-1].spool_to if table else 0,
        first_row=lambda document: document,
    )


def steps(comparison: Comparison, *, piecewise: bool) -> int:
    count = 1
    while not comparison.advance((lambda: True) if piecewise else lambda: False):
        count += 1
    return count


@pytest.mark.parametrize("piecewise", [False, True])
def test_documents_without_rows_stay_to_be_cut(tmp_path: Path, piecewise: bool) -> None:
    """And the last one that has some: it is cut once more. Some may have been read before."""
    known = known_of(tmp_path, TEXTS, rows=2)
    intake = Intake(tmp_path, [*TEXTS, "new"], skip=False)
    intake.advance(lambda: bool(intake.rows))
    comparison = Comparison(intake, known)
    assert steps(comparison, piecewise=piecewise) == (5 if piecewise else 1)
    assert (comparison.is_over, comparison.other) == (True, None)
    assert list(intake.rows) == known.names[1:]
    assert [text for _, text in intake.texts()] == [*TEXTS[1:], "new"]
    intake.discard()


@pytest.mark.parametrize("piecewise", [False, True])
@pytest.mark.parametrize(
    ("given", "other"), [(["One.", "other"], "1"), (["One."], "1"), ([Document("x", "One.")], "0"), ([], "0")]
)
def test_the_first_document_that_is_another_is_named(
    tmp_path: Path, given: list[Any], other: str, piecewise: bool
) -> None:
    known = known_of(tmp_path, TEXTS, rows=3)
    intake = Intake(tmp_path, given, skip=False)
    comparison = Comparison(intake, known)
    steps(comparison, piecewise=piecewise)
    assert comparison.other == other
    assert len(intake.rows) == len(given)  # all that was read stays
    with pytest.raises(JobMismatch, match=f"the document '{other}' is another"):
        list(compared_meanwhile(comparison, lambda: False, "j"))
    intake.discard()


@pytest.mark.parametrize("piecewise", [False, True])
def test_a_document_that_was_being_read_is_read_as_far_as_it_has_rows(tmp_path: Path, piecewise: bool) -> None:
    path = tmp_path / "long.txt"
    path.write_text(LONG)
    known = known_of(tmp_path, ["One.", path], rows=1, opened=True)
    begin = known.names[1].spool_offset
    piece = LONG[:100].encode()
    first = spool_documents(tmp_path, [piece], skip=False)
    digest = first.rows[0].digest
    first.spool.discard()
    known.table.append(ChunkRow(1, "prose", 0, 1, 0, 100, begin, begin + 100, digest))
    known.rows, known.document, known.end = 2, 1, begin + 100
    intake = Intake(tmp_path, ["One.", path], skip=False)
    comparison = Comparison(intake, known)
    steps(comparison, piecewise=piecewise)
    assert comparison.other is None
    assert intake.opened is not None
    assert 100 <= intake.opened.n_bytes < len(LONG)
    intake.discard()


def test_rows_of_the_log_can_be_run_if_the_earlier_spool_has_their_text(tmp_path: Path) -> None:
    known = known_of(tmp_path, TEXTS, rows=4)
    place = tmp_path / "spool-x"
    stored: Any = SimpleNamespace(chunk_table=lambda: known.table, pending=lambda: pending)
    pending: Any = iter([(1, -1), (3, -1)])
    assert not has_text_to_begin_with(stored, place, 60.0)
    place.write_bytes("".join(TEXTS).encode())
    pending = [(1, -1), (3, -1)]
    assert has_text_to_begin_with(stored, place, 60.0)
    assert not has_text_to_begin_with(stored, place, -1.0)  # it takes too long
    os.truncate(place, place.stat().st_size - 1)
    assert not has_text_to_begin_with(stored, place, 60.0)
    pending = [(1, -1)]
    assert has_text_to_begin_with(stored, place, 60.0)
    pending = []
    assert not has_text_to_begin_with(stored, place, 60.0)


def test_nothing_is_compared_of_a_job_that_is_new(tmp_path: Path) -> None:
    intake = Intake(tmp_path, ["new"], skip=False)
    comparison = Comparison(intake, known_of(tmp_path, [], rows=0))
    assert comparison.advance()
    assert intake.count == 0
    intake.discard()
