"""A chunk in a worker: read only when asked for, and what was looked at is known afterwards."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from mrengine import Chunk
from mrengine.errors import LogError
from mrengine.log.format.chunk_rows import ChunkRow
from mrengine.worker.chunk_reader import TrackedChunk, read_bytes

ROW = ChunkRow(0, "prose", 0, 4, 10, 14, 0, 1, b"")


def tracked(reads: list[int]) -> TrackedChunk:
    def text_of(chunk: int, row: ChunkRow) -> str:
        reads.append(chunk)
        return "text"

    return TrackedChunk(3, "doc", ROW, text_of)


def test_the_text_is_read_once_and_only_when_asked_for() -> None:
    """A map function that needs only the id costs no read of the spool."""
    reads: list[int] = []
    chunk = tracked(reads)
    assert (chunk.document_id, reads) == ("doc", [])
    assert (chunk.text, chunk.text, reads) == ("text", "text", [3])


@pytest.mark.parametrize("name", ["id", "start", "end"])
def test_a_look_at_its_place_is_noted(name: str) -> None:
    """Such a result cannot be carried over when documents are added before it."""
    chunk = tracked([])
    assert (chunk.text, chunk.position_read) == ("text", False)
    getattr(chunk, name)
    assert (chunk.position_read, chunk.facts_read) == (True, False)


def test_a_text_that_cannot_be_read_is_no_second_error() -> None:
    """A failure's message is cleaned of the text where there is one."""

    def damaged(chunk: int, row: ChunkRow) -> str:
        raise LogError("the text is damaged", reason="damaged")

    assert TrackedChunk(3, "doc", ROW, damaged).text_or_nothing == ""


def test_in_another_process_it_is_a_plain_chunk() -> None:
    """What reads its text stays in the worker."""
    copy = pickle.loads(pickle.dumps(tracked([])))
    assert type(copy) is Chunk
    assert (copy.id, copy.start, copy.end, copy.text) == (3, 10, 14, "text")


def test_a_span_that_the_spool_does_not_hold_is_nothing(tmp_path: Path) -> None:
    """A damaged row may name any bytes."""
    (tmp_path / "spool").write_bytes(b"0123456789")
    fd = os.open(tmp_path / "spool", os.O_RDONLY)
    try:
        assert read_bytes(fd, 2, 5) == b"234"
        wild = ((5, 2), (8, 11), (0, 1 << 50), (11, 11), (1 << 62, (1 << 62) + 1), (2**64 - 2, 2**64 - 1))
        assert [read_bytes(fd, *span) for span in wild] == [None] * len(wild)
    finally:
        os.close(fd)
