"""Conversations and subtitles: turns, messages and cues stay whole."""

from __future__ import annotations

import pytest

from mrengine.chunking.detect import detect
from tests.chunking.records import assert_cut_well, assert_same_in_pieces, assert_survives


@pytest.mark.parametrize("name", ["chat speakers", "chat exports", "chat mail"])
def test_turns_stay_whole(name: str) -> None:
    """Of speakers, messengers, threads."""
    assert_cut_well(name, "chat", seeds=6)


def test_cues_stay_whole() -> None:
    """Number, times and lines, SRT and WebVTT."""
    assert_cut_well("subtitles", "subtitles", seeds=4)


@pytest.mark.parametrize(
    "text",
    [
        "Alice: Hello there, how are you?\nBob: I am well, thank you.\nAlice: That is good.\nBob: It is, yes.\n",
        "12/31/23, 10:15 PM - Ann: hi\n12/31/23, 10:16 PM - Bob: hello\nand more\n12/31/23, 10:17 PM - Ann: bye\n",
        "[31.12.23, 10:15:00] Ann: hi\n[31.12.23, 10:16:00] Bob: hello\n[31.12.23, 10:17:11] Ann: bye\n",
        "10:15 <ann> hi there\n10:16 <bob> hello\n10:16 <ann> bye\n",
        "Q. Where were you that day?\nA. I was at home, all day.\nQ. Who else was there?\nA. Nobody that I saw.\n",
        "From: A <a@b.c>\nTo: B\nSubject: x\n\nText here.\n\nFrom: B <b@b.c>\nTo: A\nSubject: Re: x\n\nMore text.\n",
    ],
)
def test_conversations_are_known(text: str) -> None:
    """By names that come again."""
    assert detect(text) == "chat"


@pytest.mark.parametrize(
    "text",
    [
        "Package: a\nVersion: 1\nDescription: some words here\n\nPackage: b\nVersion: 2\nDescription: more words here\n"
        * 3,
        "Note: this is one thing to know.\nHowever, it is not all.\nIt goes on for a while.\nAnd ends.\n",
        "Passed: compiler/a.java\nPassed: compiler/b.java\nFailed: compiler/c.java\nPassed: x/y.java\n",
    ],
)
def test_fields_and_notes_are_none(text: str) -> None:
    """Names that come once in each record, notes in prose, words before paths."""
    assert detect(text) != "chat"


def test_any_pieces_and_hostile_texts() -> None:
    """The promises hold."""
    assert_same_in_pieces("chat exports")
    assert_same_in_pieces("subtitles")
    for text in (
        "Ab " * 2000,
        "Ab: " * 900,
        "From: a\n" * 500,
        "A b c d\n" * 500,
        "12:00 <" * 500,
        "-->" * 900,
        "--> \n" * 900,
    ):
        assert_survives(text, "chat")
        assert_survives(text, "subtitles")
