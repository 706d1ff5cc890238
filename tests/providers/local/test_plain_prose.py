"""Prose for a small model, sentences from it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.providers.local.plain_prose import LEAST_WORDS, prose, sentences

PLAIN = "The harbour committee of Porto Velho met on Monday (in the old hall). 3 * 4 is 12, and a_b_c stays < d > e."


def test_prose_stays_as_it_is() -> None:
    """Arithmetic, underscores, brackets and comparisons are no markup."""
    assert prose(PLAIN) == PLAIN


def test_markdown_around_prose_is_left_out() -> None:
    """Badges, headings, code, tables, definitions and addresses go; the words of links and emphasis stay."""
    text = (
        "# Title\n\n[![badge](https://img.example/x.svg)](https://example.org)\n<p align='center'>logo</p>\n\n"
        "**Ships** come to the [harbour](https://example.org/a) at `noon`, see https://example.org/b for all the times "
        "of the day.\n\n```python\nimport ship\n```\n\n| a | b |\n| - | - |\n\n    indented()\n\n[ref]: https://example.org\n"
    )
    assert " ".join(prose(text).split()) == "logo Ships come to the harbour at noon, see for all the times of the day."


def test_code_whose_end_is_in_the_next_chunk_is_left_out() -> None:
    """A chunk may end inside a block."""
    assert prose(PLAIN + "\n\n```sh\npip install ship\n") == PLAIN


def test_too_little_prose_is_none() -> None:
    """A list of badges has nothing to summarise."""
    assert prose("word " * (LEAST_WORDS - 1)) == ""
    assert prose("word " * LEAST_WORDS) != ""
    assert prose("```\n" + PLAIN + "\n```") == ""


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("One. Two.\n\n# More of the document", "One. Two."),
        ("  One,\nstill one. And then it was c", "One, still one."),
        ("No end at all", "No end at all"),
        ('He said "no." Version 1.5 of it', 'He said "no."'),
        ("", ""),
    ],
)
def test_whole_sentences_of_the_first_paragraph(answer: str, kept: str) -> None:
    """What the model wrote after its answer, or could not finish, is left out."""
    assert sentences(answer) == kept


@given(st.text(alphabet="<>[]()!`*|#~\n ab:/", max_size=300))
def test_any_text_is_taken(text: str) -> None:
    """Neither raises, neither makes a text longer."""
    assert len(prose(text)) <= len(text)
    assert len(sentences(text)) <= len(text)


@pytest.mark.parametrize("unit", ["[", "<a", "![", "`", "*a", "```\n", "[](", "a://", "|", "\n", "# "])
def test_time_grows_with_the_length_only(unit: str) -> None:
    """Ten times the text takes about ten times the time, not a hundred."""

    def cost(text: str) -> float:
        begun = time.process_time()
        prose(text)
        return time.process_time() - begun

    short = min(cost(unit * 2000) for _ in range(5))
    assert cost(unit * 20_000) < 40 * max(short, 0.0005)
