"""Tables: records are not torn, whatever is in their quotes; the header goes with each chunk."""

from __future__ import annotations

import pytest

from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import detect
from tests.chunking.records import assert_cut_well, assert_same_in_pieces, assert_survives


@pytest.mark.parametrize("name", ["csv quoted", "csv sentences", "csv numbers"])
def test_records_stay_whole(name: str) -> None:
    """Fields over several lines, with sentences, with separators in quotes."""
    assert_cut_well(name, "csv")


def test_the_header_goes_with_each_chunk_but_the_first() -> None:
    """Of each separator; the first chunk has it in its text."""
    for separator in ",;\t|":
        head = separator.join(("id", "name", "note")) + "\n"
        text = head + "".join(f"{n}{separator}some name{separator}a note of words\n" for n in range(100))
        first, *others = safe_chunk(text, target_tokens=100, overlap_tokens=0)
        assert first.table_header == ""
        assert {chunk.table_header for chunk in others} == {head}


def test_values_are_no_header() -> None:
    """A table without names gives none."""
    text = "".join(f"{n},2024-01-0{n % 9 + 1},{n * 7}.5\n" for n in range(200))
    assert {chunk.table_header for chunk in safe_chunk(text, target_tokens=100, overlap_tokens=0)} == {""}


def test_a_quote_that_opens_nothing_spoils_nothing() -> None:
    """An inch sign, and a quote that nobody closes: the records behind are found again."""
    rows = [f'{n},a pipe of 5" and more,{n}' if n % 10 == 3 else f'{n},"a, name",{n}' for n in range(200)]
    rows[50] = '50,"never closed,1'
    text = "a,b,c\n" + "\n".join(rows) + "\n"
    chunks = list(safe_chunk(text, target_tokens=80, overlap_tokens=0, splitter="csv"))
    begins = [chunk.text.split(",")[0] for chunk in chunks[1:]]
    assert all(begin.isdigit() for begin in begins)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2,3\n4,5,6\n7,8,9\n",
        "name;value\nx;1\ny;2\nz;3\nw;4\n",
        'id\ttext\n1\t"two\nlines"\n2\tone\n3\tx\n',
        "seed, 0xdeadbeaf\n0, 0xbc\n1, 0xde\n2, 0x12\n3, 0xff\n",
    ],
)
def test_tables_are_reported_by_their_separators(text: str) -> None:
    """Few rows are enough."""
    assert detect(text) == "csv"


@pytest.mark.parametrize(
    "text",
    [
        "Dear Ann, thank you.\nI saw Bob, too.\nHe was well, I think.\nWe talked, then left.\n",
        "foo(a, b);\nbar(c, d);\nbaz(e, f);\nqux(g, h);\n",
        "| a | b |\n| - | - |\n| 1 | 2 |\n| 3 | 4 |\n",
    ],
)
def test_other_texts_with_commas_are_no_tables(text: str) -> None:
    """Letters, calls, Markdown."""
    assert detect(text) != "csv"


def test_any_pieces_and_hostile_texts() -> None:
    """The promises hold."""
    assert_same_in_pieces("csv quoted")
    for text in ('"' * 3000, ',"' * 2000, 'a,"b\n' * 1500, "a,b\r1,2\r" * 500, '"a\n' * 1001):
        assert_survives(text, "csv")
