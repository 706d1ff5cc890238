"""A chunk in a worker: read only when asked for, and what was looked at is known afterwards."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from mrengine import Chunk
from mrengine.errors import LogError
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ChunkRow, pack_chunks
from mrengine.log.format.job_records import DocumentRow, DocumentsRecord, pack_documents
from mrengine.worker.chunk_reader import ChunkReader, TrackedChunk, read_bytes
from tests.log.sample import begin, digest, result, row

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


def test_rows_that_were_added_are_found_past_the_outcomes_and_without_reading_them(tmp_path: Path) -> None:
    """Of a hundred thousand rows there are as many outcomes in between, of all workers."""
    (tmp_path / "spool").write_text("abcdefghij")
    with WriteAheadLog.create(tmp_path / "log", "j") as log:
        begin(log, "abc")
        log.commit()
        reader = ChunkReader(os.fspath(tmp_path), "spool", [], [], check=False)
        assert [reader.read(chunk).text for chunk in range(3)] == ["a", "b", "c"]
        at = log.append(codec.RESULT, result(0, value="x" * 3_000_000))
        for chunk in range(100):
            log.append(codec.RESULT, result(chunk))
        for first, text in ((3, "d"), (4, "e")):
            log.append(codec.CHUNKS, pack_chunks(0, first, row(0, text, first, first + 1)))
        log.commit()
        with (tmp_path / "log").open("r+b") as file:  # what nobody reads cannot be in the way
            file.seek(at + 1000)
            file.write(b"?")
        assert [reader.read(chunk).text for chunk in (4, 3)] == ["e", "d"]
        with pytest.raises(IndexError):
            reader.read(5)
        log.append(codec.DOCUMENTS, pack_documents(DocumentsRecord(1, (DocumentRow("later", digest("f"), 5, 5, 5),))))
        log.append(codec.CHUNKS, pack_chunks(0, 5, row(1, "f", 5, 6)))
        log.commit()
        assert (reader.read(5).text, reader.read(5).document_id) == ("f", "later")
        reader.close()
