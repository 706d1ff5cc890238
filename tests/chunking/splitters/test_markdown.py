"""Markdown: fenced blocks that fit stay whole; headings stay with what they head."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.chunking import safe_chunk
from mrengine.chunking.splitters.fences import Fences
from mrengine.records import above
from tests.chunking.texts import assert_promises, recount

_BLOCKS = (
    "# Heading\n\n",
    "### Deeper heading\n\n",
    "A paragraph of some length. It has two sentences, and `code`.\n\n",
    "- one item\n- another item\n\n",
    "```python\ndef f():\n\n    return 1\n```\n\n",
    "~~~\n```\nnot the end\n~~~\n\n",
    "````\n```\nstill inside\n````\n\n",
    "  ```js\n  let a = 1;\n  ```\n",
    "| a | b |\n| - | - |\n| 1 | 2 |\n\n",
    "text ``` in a line\n\n",
)


def _fences(text: str) -> list[tuple[int, int]]:
    """The fenced blocks, line by line."""
    found, opened, marks, position = [], 0, "", 0
    for line in text.splitlines(keepends=True):
        match = re.match(r"[ \t]*(`{3,}|~{3,})(.*)", line)
        if match and not marks and not (match.group(1)[0] == "`" and "`" in match.group(2)):
            opened, marks = position, match.group(1)
        elif match and marks and match.group(1).startswith(marks) and not match.group(2).strip():
            found.append((opened, position + len(line)))
            marks = ""
        position += len(line)
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(_BLOCKS), min_size=5, max_size=80).map("".join), st.integers(40, 150))
def test_no_fenced_block_that_fits_is_torn(text: str, target: int) -> None:
    """Ticks or tildes, longer marks, indented, nested."""
    chunks = list(safe_chunk(text, target_tokens=target, overlap_tokens=0, splitter="markdown"))
    assert_promises(text, chunks, target)
    for begin, end in _fences(text):
        tokens = recount(text[begin:end])
        for chunk in chunks[:-1]:
            if begin < chunk.end < end:
                titles = above(chunk.headings, "")
                assert tokens + (recount(titles) + 2 if titles else 0) > target


def test_fences_are_found_whatever_pieces_the_text_is_seen_in() -> None:
    """A line that was not complete is read again; what is behind is forgotten."""
    text = "".join(random.Random(6).choices(_BLOCKS, k=400))
    whole = Fences()
    whole.see(text, 0)
    assert list(zip(whole._begins, whole._ends, strict=True)) == _fences(text)
    pieces, seen = Fences(), 0
    found: set[tuple[int, int]] = set()
    while seen < len(text):
        seen += 37
        base = max(0, seen - 500)
        pieces.see(text[base:seen], base)
        assert all(end > base for end in pieces._ends)
        found.update(zip(pieces._begins, pieces._ends, strict=False))
    assert sorted(found) == _fences(text)


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("marks", ["```", "~~~", "````"])
def test_a_fenced_block_that_fits_to_its_last_token_is_not_torn(marks: str, encoding: str) -> None:
    """That token may be one with the newline behind it, and blank lines may stand before the block."""
    for before in ("", "Some text.\n\n", "# Title\n\n\n"):
        for inside in ("", "x = 1\n", "one line, then\nanother.\n" * 9):
            block = f"{marks}python\n{inside}{marks}\n"
            room = recount("[Title]\n", encoding) + 2 if "Title" in before else 0
            text = before + block + "\n\nMore *text*, and more of it; so it goes on.\n" * 9
            target = recount(block, encoding) + room
            chunks = list(
                safe_chunk(text, target_tokens=target, overlap_tokens=0, encoding=encoding, splitter="markdown")
            )
            assert_promises(text, chunks, target, encoding)
            assert not any(len(before) < chunk.start < len(before) + len(block) for chunk in chunks)


def test_a_heading_is_not_parted_from_its_text() -> None:
    """No chunk ends with one."""
    text = "".join(
        f"## Section {number}\n\n" + "Some text stands here. " * (number % 23) + "\n\n" for number in range(300)
    )
    chunks = list(safe_chunk(text, target_tokens=200, overlap_tokens=0))
    assert_promises(text, chunks, 200)
    assert {chunk.kind for chunk in chunks} == {"markdown"}
    ends = [chunk.text.rstrip().splitlines()[-1] for chunk in chunks[:-1]]
    followed = [end for end in ends if not end.startswith("## ")]
    assert len(followed) >= 0.9 * len(ends)  # a section may have no text at all


def test_a_fenced_block_larger_than_a_chunk_is_cut_like_code() -> None:
    """At lines."""
    text = "# Code\n\nSome *text* before it.\n\n```\n" + "line of code(1);\n" * 400 + "```\n\nAfter.\n"
    chunks = list(safe_chunk(text, target_tokens=100, overlap_tokens=20))
    assert_promises(text, chunks, 100)
    assert all(chunk.text.endswith("\n") for chunk in chunks)
