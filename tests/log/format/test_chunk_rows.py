"""The chunk table: rows of 64 bytes, one pread each."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.errors import LogError
from mrengine.log.format.chunk_rows import (
    KINDS,
    MAX_ROWS,
    ROW_BYTES,
    ChunkRow,
    chunks_segment,
    pack_chunks,
    pack_row,
    unpack_chunks,
    unpack_row,
)

small, large = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
rows = st.builds(
    ChunkRow,
    small,
    st.sampled_from(KINDS),
    small,
    small,
    large,
    large,
    large,
    large,
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**24 - 1),
)


@settings(deadline=None)
@given(rows)
def test_a_row_has_64_bytes_and_is_read_back(row: ChunkRow) -> None:
    """As docs/log-format.md draws it."""
    data = pack_row(row)
    assert len(data) == ROW_BYTES
    assert unpack_row(data) == row
    numbers = (
        row.document,
        KINDS.index(row.kind) + (row.context << 8),
        row.overlap,
        row.tokens,
        row.start,
        row.end,
        row.spool_from,
        row.spool_to,
    )
    assert data == struct.pack("<IIIIQQQQ", *numbers) + row.digest


def test_a_kind_without_a_number_is_other() -> None:
    """A new splitter does not break the table."""
    assert unpack_row(pack_row(ChunkRow(0, "runes", 0, 1, 0, 1, 0, 1, bytes(16)))).kind == "other"


def numbered(index: int) -> ChunkRow:
    return ChunkRow(index % 7, "prose", 0, 5, index, index + 1, index, index + 1, bytes(16))


@pytest.mark.parametrize("data", [b"", bytes(63), bytes((MAX_ROWS + 1) * ROW_BYTES)])
def test_only_whole_rows_and_not_too_many_make_a_record(data: bytes) -> None:
    """At most 1 MiB."""
    with pytest.raises(ValueError, match="rows"):
        pack_chunks(0, 0, data)


def test_a_chunks_record_that_lies_about_its_size_is_refused() -> None:
    """Rows are found by arithmetic: it must be right."""
    payload = pack_chunks(3, 9, pack_row(numbered(0)))
    assert unpack_chunks(payload) == (3, 9, pack_row(numbered(0)))
    for bad in (payload[:-1], payload + b"x", b"", payload[:22], b"\x93" + payload[1:]):
        with pytest.raises(LogError):
            chunks_segment(bad, 0)
