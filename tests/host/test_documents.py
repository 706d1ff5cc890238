"""What the caller gives as documents: read once into a spool, and held in no memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from mrengine import Document
from mrengine.errors import ConfigError, SourceError
from mrengine.host.documents import UNNAMED, check_documents, names_a_file, spool_documents, spool_unnamed

PIECE = "the same line again and again, \n" * 2000


class LongStream:
    """64 MB, which nobody has at once."""

    def __init__(self) -> None:
        self.left = (64 << 20) // len(PIECE)

    def read(self, _size: int = -1) -> str:
        self.left -= 1
        return PIECE if self.left >= 0 else ""


def test_a_stream_is_never_held_whole(tmp_path: Path) -> None:
    """It goes to the disk piece by piece, while it is digested."""
    tracemalloc.start()
    spooled = spool_unnamed(tmp_path, LongStream(), skip=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spooled.rows[0].n_bytes > 60 << 20
    assert peak < 16 << 20
    spooled.spool.discard()


def test_a_spool_without_a_name_moves_to_its_job(tmp_path: Path) -> None:
    """It stays locked, so that no other run takes it for a leftover, and is published there."""
    spooled = spool_unnamed(tmp_path, ["one", "two"], skip=False)
    (tmp_path / "job").mkdir()
    spooled.spool.move(tmp_path / "job")
    spool_unnamed(tmp_path, "another", skip=False).spool.discard()
    assert list((tmp_path / UNNAMED).iterdir()) == []
    assert spooled.spool.path.read_text() == "onetwo"
    spooled.spool.publish(tmp_path / "job" / "spool-x")
    assert os.listdir(tmp_path / "job") == ["spool-x"]


def test_a_spool_that_cannot_move_is_an_error_when_it_is_needed(tmp_path: Path) -> None:
    """A finished job needs no more than its digests."""
    spooled = spool_unnamed(tmp_path, "text", skip=False)
    spooled.spool.move(tmp_path / "nowhere")
    assert spooled.rows[0].n_chars == 4
    with pytest.raises(SourceError, match="cannot be kept in"):
        spooled.spool.require()
    assert list((tmp_path / UNNAMED).iterdir()) == []


def test_sources_that_cannot_be_read_are_left_out_or_refused(tmp_path: Path) -> None:
    """Where they may be: with their names, and with nothing of them in the spool."""
    documents = [Document("good", "text"), Document("bad", tmp_path / "missing.txt"), Document("last", "more")]
    with pytest.raises(SourceError, match=r"missing\.txt"):
        spool_documents(tmp_path, documents, skip=False)
    assert os.listdir(tmp_path) == []
    spooled = spool_documents(tmp_path, documents, skip=True)
    assert [row.id for row in spooled.rows] == ["good", "last"]
    assert "missing.txt" in spooled.told
    assert len(spooled.unread) == 1
    assert spooled.spool.path.read_text() == "textmore"
    spooled.spool.discard()


@pytest.mark.parametrize(
    ("documents", "error", "told"),
    [
        ([], ConfigError, "there is no document"),
        ("", SourceError, "the document 'document' is empty"),
        (["", ""], SourceError, "all 2 documents are empty"),
        ([" ", "\n"], SourceError, "all 2 documents are blank"),
    ],
)
def test_documents_without_text_are_refused(
    documents: object, error: type[Exception], told: str, tmp_path: Path
) -> None:
    """One that has some is enough."""
    spooled = spool_documents(tmp_path, documents, skip=False)
    with pytest.raises(error, match=told):
        check_documents(spooled)
    spooled.spool.discard()
    with_text = spool_documents(tmp_path, ["", "a"], skip=False)
    check_documents(with_text)
    with_text.spool.discard()


def test_a_text_that_names_a_file_is_told_of(tmp_path: Path) -> None:
    """It is text all the same."""
    (tmp_path / "visit.txt").write_text("text")
    assert "give Path(" in (names_a_file(str(tmp_path / "visit.txt")) or "")
    for text in ("no such file", "a\nb", "a\0b", tmp_path / "visit.txt", "x" * 5000):
        assert names_a_file(text) is None
