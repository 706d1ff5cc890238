"""The spool has what was read, as far as it was read; a full disk is an error where it matters."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import pytest

from mrengine.errors import SourceError
from mrengine.sources import part_writer
from mrengine.sources.spool import Spool, SpoolReader, whole_surrogates

PART = bytes(range(256)) * 16


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_writer, "BATCH_BYTES", 2 * len(PART))


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """No file of this process may be longer than this."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_short_and_long_documents_stand_in_their_order(tmp_path: Path) -> None:
    spool, digest = Spool(tmp_path), blake2b(digest_size=16)
    assert spool.write(b"short") == 0
    for _ in range(9):
        spool.write_part(PART, digest)
    assert spool.size == 5 + 9 * len(PART)
    assert spool.write(b"end") == 5 + 9 * len(PART)  # without waiting for the long one first
    assert digest.digest() == blake2b(9 * PART, digest_size=16).digest()
    assert spool.read(0, spool.size) == b"short" + 9 * PART + b"end"
    spool.publish(tmp_path / "spool")
    assert (tmp_path / "spool").read_bytes() == b"short" + 9 * PART + b"end"
    spool.discard()


def test_what_was_flushed_is_read_without_waiting_for_the_rest(tmp_path: Path) -> None:
    spool, digest = Spool(tmp_path), blake2b()
    spool.write_part(PART, digest)
    spool.flush()
    spool.write_part(b"more", digest)
    assert spool.read(10, len(PART)) == PART[10:]
    assert os.path.getsize(spool.path) == len(PART)
    assert spool.read(len(PART), len(PART) + 4) == b"more"
    spool.discard()


def test_a_document_that_broke_off_is_taken_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(b"before")
    for _ in range(7):
        spool.write_part(PART, blake2b())
    assert spool.read(6, 6 + len(PART)) == PART
    spool.take_back(6)
    assert spool.read(6, 7) is None
    spool.write(b"after")
    assert spool.read(0, 11) == b"beforeafter"
    spool.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_before_anything_is_given_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path)

    def write() -> None:
        for _ in range(2000):  # more than the file object keeps to itself
            spool.write_part(PART, blake2b())
        spool.flush()

    with full_disk(5 * len(PART)), pytest.raises(SourceError, match="cannot be kept in"):
        write()
    assert list(tmp_path.iterdir()) == []  # the room is free again
    assert spool.read(0, 1) is None
    spool.discard()


def test_a_full_disk_does_not_matter_where_only_the_digest_is_asked_for(tmp_path: Path) -> None:
    spool, digest = Spool(tmp_path, optional=True), blake2b(digest_size=16)
    with full_disk(5 * len(PART)):
        for _ in range(2000):
            spool.write_part(PART, digest)
        spool.flush()
    assert digest.digest() == blake2b(2000 * PART, digest_size=16).digest()
    with pytest.raises(SourceError, match="cannot be kept in"):
        spool.require()
    spool.discard()


def test_a_spool_is_read_while_it_is_written(tmp_path: Path) -> None:
    spool, text = Spool(tmp_path), "Größe – naïve café. " * 2000
    data = text.encode()
    for at in range(0, len(data), 999):
        spool.write_part(data[at : at + 999], blake2b())
    spool.settle(tmp_path / "spool")
    with SpoolReader(tmp_path / "spool") as reader:
        assert "".join(reader.pieces(0, len(data))) == text
        spool.write_part(b"more", blake2b())
        assert reader.read(0, len(data) + 4) is None
        spool.flush()
        assert reader.read(len(data), len(data) + 4) == b"more"
    spool.discard()
    assert (tmp_path / "spool").exists()


@pytest.mark.parametrize("pieces", [["\ud83d", "\ude00"], ["a\ud83d", "\ude00b"], ["\ud83d\ude00"], ["ab", "", "c"]])
def test_halves_of_a_character_are_joined(pieces: list[str]) -> None:
    whole = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    assert "".join(whole_surrogates(pieces)) == whole
