"""Documents are read as far as they are asked for, and in the same spool whichever way."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from mrengine import Document
from mrengine.errors import SourceError
from mrengine.host.intake import Intake, Opened, is_read_once

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
