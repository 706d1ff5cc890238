"""Rows of the chunk table and documents, read from a log by their numbers."""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mrengine.errors import LogError
from mrengine.log.file.reader import LogReader
from mrengine.log.file.row_reader import ChunkTable, DocumentNames
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import (
    MAX_ROWS,
    ROW_BYTES,
    ChunkRow,
    chunks_segment,
    heads_in,
    pack_chunks,
    pack_row,
    unpack_chunks,
)
from mrengine.log.format.heads import NO_HEADS, Head, HeadPlaces
from mrengine.log.format.job_records import DocumentRow, DocumentsRecord, pack_documents
from mrengine.log.format.packing import pack


def numbered(index: int) -> ChunkRow:
    return ChunkRow(index % 7, "prose", 0, 5, index, index + 1, index, index + 1, bytes(16))


def test_any_row_is_found_across_records(tmp_path: Path) -> None:
    """By one pread of the log, wherever other records stand between."""
    total = MAX_ROWS + 500
    wal = WriteAheadLog.create(tmp_path / "log", "j")
    segments = []
    for first in range(0, total, 9999):
        payload = pack_chunks(0, first, b"".join(pack_row(numbered(i)) for i in range(first, min(total, first + 9999))))
        segments.append(chunks_segment(payload, wal.append(codec.CHUNKS, payload)))
        wal.append(codec.ATTEMPT, b"between")
        wal.commit()
    table = ChunkTable(wal._fd, segments)
    assert len(table) == total
    for index in (0, 1, 9998, 9999, 10_000, total - 1):
        assert table[index] == numbered(index)
    assert [row.start for row in table] == list(range(total))
    for index in (-1, total):
        with pytest.raises(IndexError):
            table[index]
    wal.close()


def test_a_table_that_is_cut_off_is_an_error_not_a_row(tmp_path: Path) -> None:
    """LogError(reason="damaged")."""
    wal = WriteAheadLog.create(tmp_path / "log", "j")
    payload = pack_chunks(0, 0, pack_row(numbered(0)))
    segment = chunks_segment(payload, wal.append(codec.CHUNKS, payload))
    wal.commit()
    os.truncate(tmp_path / "log", codec.HEADER_BYTES + 50)
    with pytest.raises(LogError) as caught:
        ChunkTable(wal._fd, [segment])[0]
    assert caught.value.reason == "damaged"
    wal.close()


def test_documents_are_found_by_index_over_batches(tmp_path: Path) -> None:
    """Decoded when they are asked for; few batches are kept."""
    wal = WriteAheadLog.create(tmp_path / "log", "j")
    batches = []
    for first in range(0, 60, 3):
        batch = tuple(DocumentRow(f"d{i}", bytes(16), i, 1, 1) for i in range(first, first + 3))
        batches.append((first, 3, wal.append(codec.DOCUMENTS, pack_documents(DocumentsRecord(first, batch)))))
    wal.commit()
    with LogReader(tmp_path / "log") as reader:
        names = DocumentNames(reader, batches)
        assert [names[i].id for i in (59, 0, 31, 2, 3)] == ["d59", "d0", "d31", "d2", "d3"]
        assert [row.id for row in names] == [f"d{i}" for i in range(60)]
        assert len(names._cache) <= 8
        for index in (-1, 60):
            with pytest.raises(LogError, match="run the job again with its documents"):
                names[index]
            assert names.get(index) is None
    wal.close()


def test_rows_and_names_may_be_read_by_many_threads_at_once(tmp_path: Path) -> None:
    """The slots of a worker share them: no thread meets a cache that another is emptying."""
    wal = WriteAheadLog.create(tmp_path / "log", "j")
    payload = pack_chunks(0, 0, b"".join(pack_row(numbered(i)) for i in range(300)))
    segment = chunks_segment(payload, wal.append(codec.CHUNKS, payload))
    batches = [
        (
            i,
            1,
            wal.append(
                codec.DOCUMENTS, pack_documents(DocumentsRecord(i, (DocumentRow(f"d{i}", bytes(16), i, 1, 1),)))
            ),
        )
        for i in range(300)
    ]
    wal.commit()
    table, before = ChunkTable(wal._fd, [segment]), sys.getswitchinterval()
    with LogReader(tmp_path / "log") as reader, ThreadPoolExecutor(8) as threads:
        names = DocumentNames(reader, batches)
        sys.setswitchinterval(1e-6)

        def read(seed: int) -> None:
            chance = random.Random(seed)
            for i in (chance.randrange(300) for _ in range(8000)):
                assert (table[i], names[i].id) == (numbered(i), f"d{i}")

        try:
            list(threads.map(read, range(8)))
        finally:
            sys.setswitchinterval(before)
    wal.close()


def test_what_stands_above_a_chunk_is_found_with_its_row(tmp_path: Path) -> None:
    """Behind the rows of the record, each list of headings once; rows without any have none."""
    heads = [HeadPlaces(bytes(16), (Head(3, 7), Head(9, 2**40, 2))), HeadPlaces(b"d" * 16, (), (Head(1, 4, 1),))]
    rows = [numbered(i)._replace(context=(0, 1, 1, 2)[i % 4]) for i in range(8)]
    wal = WriteAheadLog.create(tmp_path / "log", "j")
    segments = []
    for first in (0, 8):
        payload = pack_chunks(0, first, b"".join(map(pack_row, rows)), heads)
        assert unpack_chunks(payload) == (0, first, b"".join(map(pack_row, rows)))
        assert heads_in(payload) == heads
        segments.append(chunks_segment(payload, wal.append(codec.CHUNKS, payload)))
    wal.commit()
    table = ChunkTable(wal._fd, segments)
    wanted = [NO_HEADS, heads[0], heads[0], heads[1]] * 4
    assert [table.heads(index, row) for index, row in enumerate(table)] == wanted
    with pytest.raises(LogError):
        table.heads(3, table[3]._replace(context=3))
    rows_only = payload[: 22 + 8 * ROW_BYTES]
    other_form = pack([[bytes(16), [[3, 7, 4]], []]])
    for bad in (payload[:-1], rows_only + b"\x91\xc0", rows_only + other_form):
        with pytest.raises(LogError):
            heads_in(bad)
    wal.close()
