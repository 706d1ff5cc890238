"""Documents are read as far as they are asked for, and in the same spool whichever way."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path

import pytest

from mrengine import Document
from mrengine.errors import ConfigError, SourceError
from mrengine.host.arguments import names_a_file
from mrengine.host.intake import UNNAMED, Intake, Opened, check_documents, is_read_once, spool_documents, spool_unnamed

LONG = "Größe – naïve café. " * 20_000


def given(folder: Path) -> list[Document]:
    path = folder / "long.txt"
    path.write_text(LONG)
    return [
        Document("a", "One."),
        Document("long", path),
        Document("halves", "\ud83d"),
        Document("z", "", fields={"n": 1}),
    ]


def test_what_is_read_at_once_and_piece_by_piece_is_the_same(tmp_path: Path) -> None:
    whole = Intake(tmp_path, given(tmp_path), skip=False)
    assert whole.advance()
    whole.spool.flush()
    pieces, texts = Intake(tmp_path, given(tmp_path), skip=False), {}
    pieces.advance(lambda: pieces.opened is not None)  # in the middle of the long one
    assert pieces.opened is not None
    assert pieces.opened.n_bytes < len(LONG.encode())
    for document, text in pieces.texts():
        name = document.source.id if isinstance(document, Opened) else document.id
        texts[name] = "".join(text)
    pieces.spool.flush()
    assert texts == {"a": "One.", "long": LONG, "halves": "\ud83d", "z": ""}
    assert pieces.summary == whole.summary
    assert pieces.spool.path.read_bytes() == whole.spool.path.read_bytes()
    assert (pieces.textless, pieces.has_facts, pieces.has_text) == (["z"], True, True)
    for intake in (whole, pieces):
        intake.discard()


def test_a_source_that_fails_ends_the_reading_where_it_may_not_be_left_out(tmp_path: Path) -> None:
    documents = ["one", tmp_path / "missing.txt", "two"]
    intake = Intake(tmp_path, documents, skip=False)
    intake.at_once = True
    with pytest.raises(SourceError, match="reading ended there"):
        intake.advance()
    intake.discard()
    intake = Intake(tmp_path, documents, skip=True)
    assert intake.advance()
    assert [row.id for row in intake.rows] == ["0", "2"]
    assert len(intake.reading.errors) == 1
    intake.discard()


def test_pipes_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    os.mkfifo(tmp_path / "pipe")
    assert is_read_once(tmp_path / "pipe")
    assert not is_read_once(path)
    assert not is_read_once("a text")
    assert not is_read_once(io.StringIO("text"))
    assert not is_read_once(tmp_path / "nothing")


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
    assert "missing.txt" in spooled.unread_message
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


def test_a_text_that_names_a_file_is_reported_of(tmp_path: Path) -> None:
    """It is text all the same."""
    (tmp_path / "visit.txt").write_text("text")
    assert "give Path(" in (names_a_file(str(tmp_path / "visit.txt")) or "")
    for text in ("no such file", "a\nb", "a\0b", tmp_path / "visit.txt", "x" * 5000):
        assert names_a_file(text) is None


def test_a_spool_is_held_against_the_one_of_an_earlier_run(tmp_path: Path) -> None:
    """By its bytes; texts of later rounds may stand behind. The one that it became has them, though it is closed."""
    spooled, place = spool_documents(tmp_path, ["one", "two"], skip=False), tmp_path / "spool-x"
    found = []
    for text in (None, "", "onetw", "onetwO", "onetwo", "onetwo and more"):
        if text is not None:
            place.write_text(text)
        found.append(spooled.spool.is_alike(place))
    assert found == [False, False, False, False, True, True]
    spooled.spool.publish(place)
    assert spooled.spool.is_alike(place)
