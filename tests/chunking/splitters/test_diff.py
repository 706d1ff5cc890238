"""Diffs: hunks stay whole, heads stay with their first hunk."""

from __future__ import annotations

import pytest

from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import detect
from tests.chunking.records import assert_cut_well, assert_same_in_pieces, assert_survives


@pytest.mark.parametrize("name", ["diff", "diff context", "diff commits"])
def test_hunks_stay_whole(name: str) -> None:
    """Unified, in context, behind the messages of commits."""
    assert_cut_well(name, "diff", seeds=8)  # of the cuts of three, none may be wrong


def test_no_chunk_ends_with_a_head() -> None:
    """Of a file or of a commit."""
    hunk = "@@ -1,3 +1,3 @@\n a line\n-another line\n+a third line\n"
    text = "".join(
        f"commit {n:040x}\nAuthor: A\nDate:   B\n\n    Why. What for.\n\n"
        "diff --git a/x b/x\nindex 1234567..89abcde\n--- a/x\n+++ b/x\n" + hunk * (n % 5 + 1) + "\n"
        for n in range(60)
    )
    assert detect(text) == "diff"
    for chunk in safe_chunk(text, target_tokens=300, overlap_tokens=0):
        assert chunk.text.startswith(("commit", "@@", "diff"))


@pytest.mark.parametrize(
    "text",
    [
        "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n",
        "Index: x\n=====\n--- x\t(r1)\n+++ x\t(r2)\n@@ -1 +1 @@\n-b\n+# Title\n",
        "*** a/x\tdate\n--- b/x\tdate\n***************\n*** 1,2 ****\n  a\n! b\n--- 1,2 ----\n  a\n! c\n",
    ],
)
def test_diffs_are_known(text: str) -> None:
    """Of several makes."""
    assert detect(text) == "diff"


def test_any_pieces_and_hostile_texts() -> None:
    """The promises hold."""
    assert_same_in_pieces("diff commits")
    for text in ("@@ -1 +1 @@\n" * 300, "--- a\n" * 500, "--- a\n+++ b\n" * 300, "commit 1234567\n" * 200, "*" * 3000):
        assert_survives(text, "diff")
