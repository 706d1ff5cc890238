"""Logs: an event keeps its lines."""

from __future__ import annotations

import pytest

from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import detect
from tests.chunking.records import assert_cut_well, assert_same_in_pieces, assert_survives


@pytest.mark.parametrize(
    "name", ["log java", "log python", "log go", "log node", "log dotnet", "log json", "log access"]
)
def test_events_stay_whole(name: str) -> None:
    """With their stack traces, objects, long lines."""
    assert_cut_well(name, "log")


_HEADS = (
    "2024-03-01 12:00:{:02},123 INFO [main] app - ",
    "2024-03-01T12:00:{:02}.123Z ",
    "[2024-03-01 12:00:{:02}] app.INFO: ",
    "Mar  1 12:00:{:02} host sshd[42]: ",
    "<34>1 2024-03-01T12:00:{:02}Z host app - - - ",
    "[Fri Mar 01 12:00:{:02} 2024] [error] ",
    "10.0.0.1 - - [01/Mar/2024:12:00:{:02} +0000] ",
    "ERROR 2024-03-01 12:00:{:02} ",
    "I0301 12:00:{:02}.123456 1 main.go:1] ",
    "[   12.0000{:02}] usb 1-1: ",
    "web_1  | 2024-03-01 12:00:{:02} ",
    "03-01 12:00:{:02}.123  100  200 I Tag: ",
    "time=2024-03-01T12:00:{:02}Z level=info msg=",
    "01-Mar-2024 12:00:{:02}.123 SEVERE [main] ",
    "INFO:root:{:02} ",
)


@pytest.mark.parametrize("head", _HEADS)
def test_heads_of_many_makes_are_known(head: str) -> None:
    """Each line with one begins an event, and each without goes on with it."""
    trace = "went wrong\n    at a.b.c(D.java:1)\n    at e.f(G.java:2)\nCaused by: x.Y: no. Really\n    ... 2 more\n"
    text = "".join(head.format(n % 60) + (trace if n % 3 == 0 else "all is well. Go on.\n") for n in range(200))
    assert detect(text) == "log"
    chunks = list(safe_chunk(text, target_tokens=500, overlap_tokens=0))
    begin = head.split("{", maxsplit=1)[0]
    assert all(chunk.text.startswith(begin) for chunk in chunks)


def test_any_pieces_and_hostile_texts() -> None:
    """The promises hold."""
    assert_same_in_pieces("log java")
    for text in ("2024-01-01 12:00:00\n" * 300, "12:00:00 " * 900, "[a]" * 2000, "x\n" * 2000, "INFO " * 1000):
        assert_survives(text, "log")
