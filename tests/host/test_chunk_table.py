"""A job's chunk table: every row says where its text stands in the spool."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from mrengine.chunking import Chunker
from mrengine.host.chunk_table import append_inputs, chunk_records, input_version
from mrengine.host.intake import spool_documents
from mrengine.log.format.chunk_rows import ROW_BYTES, unpack_chunks, unpack_row

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


ROWS = (
    TEXT,
    "A word.",
    " ",
    "",
    "key: value",
    "x" * 60,
    "fünf " * 9,
    '{"a": 1}',
    "\ud800 alone",
    "def f():",
    "a\n\nb",
) * 7


@pytest.mark.parametrize("splitter", ["auto", "markdown"])
def test_the_short_way_of_short_documents_makes_the_same_rows(tmp_path: Path, splitter: str) -> None:
    """Packed at once where a document is one chunk; the others stand between them, and blank ones are told of."""
    spooled = spool_documents(tmp_path, ROWS, skip=False)
    chunker, blank = Chunker(target_tokens=50, overlap_tokens=10, splitter=splitter), [0, 0]
    short: list[bool] = []

    def whole(text: str, name: str) -> tuple[int, str] | None:
        found = chunker.whole(text, name)
        short.append(found is not None)
        return found

    def note(way: int) -> None:
        blank[way] += 1

    def records(way: int, **how: Any) -> list[bytes]:
        return list(chunk_records(spooled.spool.path, spooled.rows, chunker.chunk, blank=lambda: note(way), **how))

    assert records(0) == records(1, whole=whole)
    assert blank[0] == blank[1] > 0
    assert (short.count(True), short.count(False)) == (49, 21)
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
    assert place.read_text().startswith("onetwo")


@pytest.mark.parametrize(
    "other", [("2", [("a", "xy")]), ("1", [("a", "x"), ("", "y")]), ("1", [("ax", "y")]), ("1", [])]
)
def test_a_later_round_is_known_by_its_function_and_its_texts(other: tuple[str, list[tuple[str, str]]]) -> None:
    """Where one text ends and another begins counts, too."""
    assert input_version("1", [("a", "xy")]) == input_version("1", [("a", "xy")]) != input_version(*other)
