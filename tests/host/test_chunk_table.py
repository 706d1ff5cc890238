"""A job's chunk table: every row says where its text stands in the spool."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import pytest

from mrengine.chunking import Chunker
from mrengine.host.chunk_table import append_inputs, chunk_records, input_version, lacking_text
from mrengine.host.intake import spool_documents
from mrengine.log.format.chunk_rows import ROW_BYTES, unpack_chunks, unpack_row
from mrengine.log.format.job_records import DocumentRow

TEXT = "Größe – 你好 \ud800, naïve café. The patient slept well, and the fever fell. " * 40


def test_rows_find_the_bytes_of_their_chunks(tmp_path: Path) -> None:
    """Over documents of more than one byte a character, with overlaps."""
    spooled = spool_documents(tmp_path, [TEXT, "short", TEXT[7:]], skip=False)
    chunker = Chunker(target_tokens=50, overlap_tokens=10)
    data = spooled.spool.path.read_bytes()
    texts = {row.id: text for row, text in zip(spooled.rows, [TEXT, "short", TEXT[7:]], strict=True)}
    seen = 0
    for payload in chunk_records(spooled.spool.path, spooled.rows, chunker.chunk):
        _, first, rows = unpack_chunks(payload)
        assert first == seen
        for at in range(0, len(rows), ROW_BYTES):
            row = unpack_row(rows[at : at + ROW_BYTES])
            found = data[row.spool_from : row.spool_to]
            text = texts[spooled.rows[row.document].id]
            assert found.decode("utf-8", "surrogatepass") == text[row.start - row.overlap : row.end]
            assert row.digest == blake2b(found, digest_size=16).digest()
            seen += 1
    assert seen > 20
    spooled.spool.discard()


def test_texts_of_a_later_round_stand_behind_the_documents(tmp_path: Path) -> None:
    """The documents are still what they were."""
    spooled = spool_documents(tmp_path, ["one", "two"], skip=False)
    place = tmp_path / "spool-x"
    spooled.spool.publish(place)
    ((_, payload),) = append_inputs(place, 1, [(1, "joined: é"), (0, "more")])
    round_, first, rows = unpack_chunks(payload)
    found = [unpack_row(rows[at : at + ROW_BYTES]) for at in range(0, len(rows), ROW_BYTES)]
    assert (round_, first, [row.document for row in found]) == (1, 0, [1, 0])
    data = place.read_bytes()
    assert [data[row.spool_from : row.spool_to].decode() for row in found] == ["joined: é", "more"]
    assert lacking_text(place, spooled.rows) is None


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


@pytest.mark.parametrize(
    "other", [("2", [("a", "xy")]), ("1", [("a", "x"), ("", "y")]), ("1", [("ax", "y")]), ("1", [])]
)
def test_a_later_round_is_known_by_its_function_and_its_texts(other: tuple[str, list[tuple[str, str]]]) -> None:
    """Where one text ends and another begins counts, too."""
    assert input_version("1", [("a", "xy")]) == input_version("1", [("a", "xy")]) != input_version(*other)
