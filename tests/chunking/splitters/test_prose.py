"""Prose is cut at paragraphs, sentences, words, and grapheme clusters, in this order."""

from __future__ import annotations

import itertools
import random
import textwrap
import unicodedata
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import chunking_texts
from bench.chunking_cuts import ALL
from mrengine.chunking import safe_chunk
from mrengine.chunking.boundaries import Boundary
from mrengine.chunking.splitters.breaks import last_cluster
from mrengine.chunking.splitters.prose import Prose
from mrengine.chunking.splitters.sentences import sentence_begins
from tests.chunking.texts import assert_promises, recount


def _sentences(text: str) -> list[str]:
    cuts = [0, *sentence_begins(text, 0, len(text)), len(text)]
    return [text[a:b].strip() for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there! Three?", ["One here.", "Two there!", "Three?"]),
        ("Dr. Smith saw Mr. Jones, e.g. at 3.14 p.m. yesterday. He left.", None),
        ('He said: "Stop!" Then he left.', ['He said: "Stop!"', "Then he left."]),
        ("See Fig. 3 and No. 5. J. Doe agrees.", ["See Fig. 3 and No. 5.", "J. Doe agrees."]),
        ("What?! No... Yes. (Really.) Fine.", ["What?!", "No...", "Yes.", "(Really.)", "Fine."]),
        ("今天很好。明天呢？他说：“好的！”然后走了。", ["今天很好。", "明天呢？", "他说：“好的！”", "然后走了。"]),
        ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
        ("A line\nanother line", ["A line\nanother line"]),
    ],
)
def test_sentences_end_where_they_do(text: str, sentences: list[str] | None) -> None:
    """Abbreviations, initials and decimals do not end one; full-width marks need no blank."""
    expected = sentences or ["Dr. Smith saw Mr. Jones, e.g. at 3.14 p.m. yesterday.", "He left."]
    assert _sentences(text) == expected


def _paragraphs(seed: int, count: int) -> str:
    chance = random.Random(seed)
    sentence = (
        "The quick fox runs over the hill.",
        "It rains today in the old town!",
        "Who knows why the clock stopped?",
    )
    return "\n\n".join(" ".join(chance.choices(sentence, k=chance.randrange(1, 8))) for _ in range(count))


@pytest.mark.parametrize(("target", "least"), [(6000, 0.95), (512, 0.90), (100, 0.85)])
def test_chunks_are_full_and_end_with_sentences(target: int, least: float) -> None:
    """No cut inside a sentence, and the mean fill is what was promised."""
    text = _paragraphs(1, 12_000 if target > 1000 else 1500)
    chunks = list(safe_chunk(text, target_tokens=target, overlap_tokens=0))
    assert_promises(text, chunks, target)
    assert all(chunk.text.rstrip()[-1] in ".!?" for chunk in chunks)
    assert sum(chunk.tokens for chunk in chunks[:-1]) / (len(chunks) - 1) / target >= least


def test_chinese_is_cut_between_sentences() -> None:
    """Without a blank in sight."""
    text = "我们今天讨论了一个重要的问题，他们认为需要更多的数据。这个结果说明了什么？没有人知道！" * 300
    chunks = list(safe_chunk(text, target_tokens=200, overlap_tokens=30))
    assert_promises(text, chunks, 200)
    assert all(chunk.text[-1] in "。？！" for chunk in chunks)
    assert all(0 < recount(chunk.text[: chunk.overlap]) <= 30 for chunk in chunks[1:])


def test_paragraphs_without_blanks_are_no_records() -> None:
    """A line of Chinese begins with no pattern: to keep such lines whole would cost fill."""
    chunks = list(safe_chunk(chunking_texts.chinese(120_000), target_tokens=512, overlap_tokens=0))
    assert sum(chunk.tokens / 512 for chunk in chunks[:-1]) / (len(chunks) - 1) > 0.93


def test_an_overlap_is_whole_sentences_and_counts_towards_the_limit() -> None:
    """It ends where the chunk before ended, begins with a sentence, and is no longer than asked for."""
    text = _paragraphs(2, 400)
    chunks = list(safe_chunk(text, target_tokens=120, overlap_tokens=40))
    assert_promises(text, chunks, 120)
    for chunk in chunks[1:]:
        shared = chunk.text[: chunk.overlap]
        assert shared == text[chunk.start - chunk.overlap : chunk.start]
        assert recount(shared) <= 40
        assert shared.lstrip()[:3] in ("The", "It ", "Who")
    assert sum(chunk.overlap > 0 for chunk in chunks[1:]) > 0.9 * len(chunks)


def test_a_word_is_cut_only_if_it_alone_does_not_fit() -> None:
    """A word that would fit begins a chunk of its own."""
    long, longer = "x1" * 30, "y2" * 300
    text = f"{'some words ' * 12}{long} {'more words ' * 12}{longer} end"
    chunks = list(safe_chunk(text, target_tokens=70, overlap_tokens=0))
    assert_promises(text, chunks, 70)
    assert any(long in chunk.text for chunk in chunks)
    assert sum("y2" in chunk.text for chunk in chunks) > 1


@pytest.mark.parametrize(
    ("before", "word", "after"),
    [
        ("ldap://server/dn?attributes?scope?filter?", "расширения", "\n\nи так далее"),
        ("a long-hyphenated-line-\n", "tryptophylvalylalanylaspartylvalylprolyl", "-\nnyl and more"),
        ("SSH fingerprint:  SHA256:", "X5z84raKBajUkWBQA6MVuanV1OcV2YIeD0NoCLLo90k", " (by letter)"),
        ("quoted—“in”—a—run—of—dashes—“", "internationalisation", "”—and—so—on—without—a—blank—"),
        ("❤️👍🏽👩‍👩‍👧🇩🇪❤️👍🏽👩‍👩‍👧👍🏽", "Straßenbahnhaltestelle", "🇫🇷👩‍👩‍👧❤️👍🏽"),
    ],
    ids=["another script", "with a hyphen", "behind a colon", "in quotes", "between emoji"],
)
@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_a_run_of_letters_that_fits_to_its_last_token_is_not_torn(
    before: str, word: str, after: str, encoding: str
) -> None:
    """However it stands inside of a longer word."""
    text = before + word + after
    for target in range(recount(word, encoding), recount(text, encoding)):
        chunks = list(safe_chunk(text, target_tokens=target, overlap_tokens=0, encoding=encoding, splitter="prose"))
        assert_promises(text, chunks, target, encoding)
        assert not any(len(before) < chunk.start < len(before) + len(word) for chunk in chunks)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("เขาไปโรงเรียนและเล่นเกม" * 40, "เแโใไ"),
        ("ខ្ញុំទៅផ្សារជាមួយម្តាយ" * 40, "ខទផជមត"),
        ("ကျွန်တော်ဈေးကိုသွားတယ်" * 40, "ကနတဈသယ"),
    ],
    ids=["Thai", "Khmer", "Burmese"],
)
def test_scripts_without_blanks_are_cut_before_a_syllable(text: str, begins: str) -> None:
    """Not between a vowel and its consonant, nor before a consonant that ends one."""
    chunks = list(safe_chunk(text, target_tokens=40, overlap_tokens=0))
    assert_promises(text, chunks, 40)
    assert all(chunk.text[0] in begins for chunk in chunks[1:])


_clusters = st.sampled_from(
    ["a", "é", "e\u0301\u0302", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "한", "\u1112\u1161\u11ab", "\r\n", "क्षि", "❤️", "中"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_clusters, min_size=1, max_size=40), st.data())
def test_no_grapheme_cluster_is_torn(clusters: list[str], data: st.DataObject) -> None:
    """Every cut is a boundary of the cluster before it, by the regex module's own reading of the whole text."""
    text = "".join(clusters)
    boundaries = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    high = data.draw(st.integers(1, len(text)))
    if first := [place for place in boundaries if 0 < place <= high]:
        assert last_cluster(text, 0, high) == max(first)


def test_chunks_of_emoji_end_between_emoji() -> None:
    """A family is not parted, nor is a base from its marks, unless it alone exceeds the limit."""
    for unit in ("👩‍👩‍👧‍👦", "🇩🇪", "e\u0301\u0302\u0303"):
        text = unit * 300
        for chunk in safe_chunk(text, target_tokens=50, overlap_tokens=0):
            assert len(chunk.text) % len(unit) == 0
    marks = "a" + "\u0301" * 400
    assert_promises(marks, list(safe_chunk(marks, target_tokens=50, overlap_tokens=0)), 50)
    assert unicodedata.combining(marks[1])


def test_an_overlap_begins_at_a_paragraph_where_one_is_near() -> None:
    """A sentence is taken only where no paragraph begins in the first part of its reach."""
    paragraph = "A sentence of some words stands here. Another one follows it. And a third one.\n\n"
    text = paragraph * 300
    chunks = list(safe_chunk(text, target_tokens=400, overlap_tokens=101, splitter="prose"))
    leads = [chunk.start - chunk.overlap for chunk in chunks[1:] if chunk.overlap]
    assert len(leads) == len(chunks) - 1
    assert all(text[:lead].endswith("\n\n") for lead in leads)


def test_lines_of_blanks_are_no_running_heads() -> None:
    """They come again and again in wrapped text as running heads do, and nothing stands in them."""
    paragraph = "the words of a long sentence go on from one line to the next without\n" * 5 + "     \n"
    text = paragraph * 20
    assert_promises(text, list(safe_chunk(text, target_tokens=200, overlap_tokens=0)), 200)


def _contract(seed: int, width: int) -> str:
    """Clauses and items whose lines are wrapped, or not (0), with page numbers and rows of tables between them."""
    chance = random.Random(seed)
    words = (
        "the",
        "party",
        "shall",
        "Mr.",
        "river",
        "1.46",
        "under",
        "U.S.",
        "before;",
        "although",
        "No. 5",
        "patient",
    )
    lines: list[str] = []
    while len(lines) < 400:
        said = " ".join(chance.choices(words, k=chance.randrange(6, 60))).capitalize() + chance.choice(".?!:;")
        kind, name = chance.randrange(12), "".join(chance.choices("abcdefgh", k=7))
        if kind < 2:
            lines += [f"ARTICLE {chance.choice(('II', 'IV', 'XI'))}.", f"OF {name.upper()} NOTICES"]
        elif kind == 2:
            lines += chance.choice((["", "[9]", ""], ["17"], [f"a | {name} | c"] * 2, [f"rate    12  {name}"] * 2))
        else:
            lead = chance.choice(("(a) ", "(b) ", "3.1 ", "", "- "))
            lines += textwrap.wrap(lead + said, width) if width else [lead + said]
        lines += [""] * (chance.random() < 0.3)
    return "\n".join(lines)


@pytest.mark.parametrize("width", [0, 60, 76, 100])
def test_expressions_find_what_looking_at_each_line_finds(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The items that a cut would tear, and where units end, are found by one expression where they can be."""

    def found() -> list[object]:
        answers: list[object] = []
        for seed in range(3):
            text = _contract(seed, width)
            prose = Prose(512)
            prose.see(text, 0)
            assert prose.is_wrapped == (width > 0)
            for high in range(2000, len(text) - 2000, 83):
                answers += [_torn(prose.far(text, high - 1200, high, below), below) for below in (501, 503, 511, 515)]
                answers += [prose.after(text, level, high, high + 1500) for level in (500, 502, 510)]
        return answers

    asked: list[bool] = []
    is_quick = Prose._is_quick
    monkeypatch.setattr(Prose, "_is_quick", lambda *given: asked.append(is_quick(*given)) or asked[-1])
    quick = found()
    assert sum(asked) > 0.9 * len(asked)
    monkeypatch.setattr(Prose, "_is_quick", lambda _self, _text, _low: False)
    assert found() == quick
    assert sum(map(bool, quick)) > len(quick) / 3


def _torn(found: list[Boundary], below: int) -> list[Boundary]:
    """Those of the boundaries whose level is less than that of all behind them, if they are to stay whole."""
    chain = []
    for boundary in reversed(found):
        if boundary[1] < below:
            below = boundary[1]
            chain.append(boundary)
    return [boundary for boundary in chain if boundary[2]]


def test_few_lines_of_a_wrapped_contract_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all that a cut would tear: of some forty lines of a chunk three are judged."""
    text = ALL["wild contract article"](random.Random(1), 60_000).text
    looked = 0
    line = Prose.line

    def counted(self: Prose, *given: Any) -> Any:
        nonlocal looked
        looked += 1
        return line(self, *given)

    monkeypatch.setattr(Prose, "line", counted)
    chunks = list(safe_chunk(text, target_tokens=512, overlap_tokens=0, splitter="prose"))
    assert len(text.splitlines()) > 30 * len(chunks)
    assert looked < 5 * len(chunks)
