"""Markdown: fenced blocks that fit stay whole; headings stay with what they head."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.chunking import safe_chunk
from mrengine.chunking.boundaries import Boundary
from mrengine.chunking.splitters.fences import Fences
from mrengine.chunking.splitters.markdown import Markdown
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


def _mixed(random_: random.Random) -> str:
    """reStructuredText with titles of all makes, some badly made, and long fenced blocks of records."""

    def words(most: int) -> str:
        return " ".join(random_.choices(("alpha", "beta.", "gamma,", "1.", "(a)", "e.g.", "The", "§"), k=most))

    def block() -> str:
        mark, size = random_.choice("=-^=-^'.:"), random_.choice((2, 4, 4, 9, 9, 20))
        rule, other = mark * size, random_.choice("=-^+") * size
        event = f"2024-01-02 10:00:00 INFO {words(6)}\n"
        trace = f"Caused by: x\n\tat a.b(C.java:1)\n\n{words(3)}\n"
        records = random_.choice(((f'{{"x": "{words(5)}"}}\n', f"[{words(2)}\n", " \n"), (event, event, trace)))
        return random_.choice(
            (
                f"{words(3)}\n{rule}\n",
                *(f"Title\n{other * 3}\n",) * 3,
                f"{rule}\n{words(2)}\n{random_.choice((rule, other))}\n",
                f" {rule}\n" if random_.random() < 0.3 else f"{words(30)}\n",
                f":param a: {words(9)}\n:param b: {words(5)}\n",
                f".. note::\n\n   {words(12)}\n",
                "```\n" + "".join(random_.choices(records, k=random_.choice((5, 40)))) + "```\n",
            )
        )

    gaps = (*("\n",) * 9, "", " \n")
    return "".join((".. _a: b\n\n", *(block() + random_.choice(gaps) for _ in range(120))))


def _counting(found: list[Boundary], low: int, below: int = 1 << 30) -> list[Boundary]:
    """Those behind ``low`` with a level less than ``below`` behind which none lies as far out."""
    behind = [boundary for boundary in found if boundary[0] > low and boundary[1] < below]
    return [boundary for at, boundary in enumerate(behind) if all(boundary[1] < b[1] for b in behind[at + 1 :])]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_what_is_not_listed_near_a_cut_does_not_count(newline: str) -> None:
    random_ = random.Random(15)
    titles = records = 0
    for _ in range(8):
        text = _mixed(random_).replace("\n", newline)
        kind = Markdown(200)
        kind.see(text, 0)
        places = [match.start() for match in re.finditer("Title", text)]
        for _ in range(200):
            low = random_.choice((random_.randrange(len(text)), max(0, random_.choice(places) - 90)))
            high = min(len(text), low + random_.choice((90, 150, 200, 800)))
            every = kind.boundaries(text, low, high)
            below = random_.choice((1 << 30, 1201, 1200, 700))
            few = kind._listed(text, low, high, below)
            assert _counting(few, low, below) == _counting(every, low, below)
            records += len(few) < len(every)
            if (title := kind._ruled(text, low, high)) is not None:
                assert title == _counting(every, low)[0]
                titles += 1
    assert records > 50 or newline == "\r"
    assert titles > 50 or newline != "\n"


def test_a_line_right_below_a_fenced_block_stands_behind_no_blank_one() -> None:
    text = "```\n" + "x = 1\n" * 90 + "```\nA line below.\nAnother one.\n\nThe next paragraph.\n"
    levels = []
    for newline in ("\n", "\r\n"):
        kind = Markdown(20)
        kind.see(text := text.replace("\n", newline), 0)
        levels.append([level for _, level, _ in kind.boundaries(text, text.index("A line") - 2, len(text))])
    assert levels[0] == levels[1]
    assert len(levels[0]) == 3
