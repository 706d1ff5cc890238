"""Marks that are found all over a window at once are those that are found one by one."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.chunking import Chunker
from mrengine.chunking.splitters.marks import doubled, tripled
from mrengine.chunking.splitters.titles import Titles
from mrengine.records import above

_PIECES = st.lists(
    st.sampled_from(
        ("\n", "\n\n", "#", "##", "=", "===", "-", "---", " ", "\t", "a", "`", "```", "~~~~", "é", "文", "😀", "\ud800")
    )
)
_TEXTS = _PIECES.map("".join)


@settings(max_examples=300, deadline=None)
@given(_TEXTS, st.booleans())
def test_lines_begin_with_a_mark_twice_or_with_one_that_may_stand_alone(text: str, first: bool) -> None:
    begins = [*([0] if first else []), *(match.end() for match in re.finditer("\n", text))]
    wanted = re.compile(r"([#=~-])(?:\1|\Z)|[#=][\x00- ]")
    expected = [begin for begin in begins if begin < len(text) and wanted.match(text, begin)]
    assert doubled(text, "#=~-", first=first).tolist() == expected


@settings(max_examples=300, deadline=None)
@given(_TEXTS, st.sampled_from("`~"))
def test_three_in_a_row(text: str, mark: str) -> None:
    assert tripled(text, mark) == [match.start() for match in re.finditer(f"{mark}{{3,}}", text)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.sampled_from("aB9 .>[]é文\t'"), max_size=12), min_size=1, max_size=4))
def test_tokens_of_titles_are_summed_up_exactly(titles: list[str]) -> None:
    chunker = Chunker()
    said = above(tuple(titles), "")
    for _ in range(3):  # together with other new ones, by itself, and known
        assert chunker._titles_taken(tuple(titles)) in (0, chunker._tokenizer.count(said))
    if all(title.strip() == title != "" for title in titles):
        assert chunker._titles_taken(tuple(titles)) == chunker._tokenizer.count(said)


def test_makes_of_titles_nest_as_they_first_come() -> None:
    text = "====\nBook\n====\n\nPart\n~~~~\n\n.. note:: x\n\nMore\n----\n\n====\nNext\n====\n"
    titles = Titles()
    titles.see(text)
    assert titles.is_rst
    assert [titles.level(mark, over=over) for mark, over in (("=", True), ("~", False), ("-", False))] == [1, 2, 3]
    assert titles.read(text, text.index("~~~~")) == (2, "Part")
    assert [name for name in ("A :ref:`b`\n", "A :`b`\n", "\n.. _a: b\n", "\n^^^^ \n") if _is_rst(name)] == [
        "A :ref:`b`\n",
        "\n.. _a: b\n",
        "\n^^^^ \n",
    ]


def _is_rst(text: str) -> bool:
    titles = Titles()
    titles.see(text)
    return titles.is_rst
