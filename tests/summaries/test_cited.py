"""cite=True: every statement rests on a quote that code has found, and the text says which."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Summary, summarize
from mrengine.errors import ConfigError
from mrengine.records import ChunkResult
from mrengine.summaries.cited import CitedMerge, finished
from mrengine.summaries.contradictions import contradictions
from mrengine.testing import fake
from tests.summaries.models import claims, document, faithful, lying, options


def check(summary: Summary, *texts: tuple[str, str]) -> None:
    """What holds of any cited summary."""
    by_id = dict(texts)
    for number, claim in enumerate(summary.claims, 1):
        assert claim.verified == (claim.start is not None)
        if claim.verified:
            assert by_id[claim.document_id][claim.start : claim.end] == claim.quote
        assert (number <= len(summary.citations)) == (claim in summary.citations)
    marks = [int(one) for mark in re.findall(r"\[([\d, ]+)\]", summary.text) for one in mark.split(", ")]
    assert set(marks) == set(range(1, len(summary.citations) + 1))
    assert list(dict.fromkeys(marks)) == sorted(set(marks))  # numbered as they appear
    assert all(claim.verified for claim in summary.citations)


def test_planted_facts_reach_the_end_with_their_places(state_dir: Path) -> None:
    """All of them, over several levels of merges; and none is invented on the way."""
    text = document(30)
    summary = summarize(text, cite=True, models=fake(faithful), **options(state_dir))
    check(summary, ("document", text))
    assert [f"hall {at} holds {at * 37 + 11} crates" in summary.text for at in range(1, 31)] == [True] * 30
    assert len(summary.citations) == 30
    assert (summary.unsupported, summary.contradictions) == ((), ())
    assert set(summary.uncovered) == {result.chunk_id for result in summary.run.results if not result.result["claims"]}
    assert len(summary.run.results) > 10


@pytest.mark.parametrize("method", ["map_reduce", "refine"])
def test_what_a_model_invents_is_reported_apart(state_dir: Path, method: Any) -> None:
    """Quotes that are nowhere, numbers of no claim, figures that no quote has, and statements of nobody."""
    text = document(6)
    summary = summarize(text, cite=True, method=method, models=fake(lying), **options(state_dir))
    check(summary, ("document", text))
    assert "[99]" not in summary.text
    assert "4711" not in summary.text
    assert not any("cheese" in claim.quote or "900" in claim.text for claim in summary.claims if claim.verified)
    assert any("cheese" in claim.quote for claim in summary.claims if not claim.verified)
    told = " ".join(summary.unsupported)
    assert "cheese" in told
    assert "All were cured." in told
    assert "777" in told
    assert "crates" not in told


def test_an_answer_without_marks_is_unsupported_as_a_whole(state_dir: Path) -> None:
    def silent(request: Any) -> str:
        return faithful(request) if request.schema is not None else "All is well. Nothing was found!"

    summary = summarize(document(4), cite=True, models=fake(silent), **options(state_dir))
    assert summary.unsupported == ("All is well.", "Nothing was found!")
    assert summary.citations == ()
    assert set(summary.uncovered) == {result.chunk_id for result in summary.run.results}
    assert sum(claim.verified for claim in summary.claims) == 4


def test_contradictions_are_kept_and_reported(state_dir: Path) -> None:
    """Both statements, though the model's merge drops one of them."""

    def dropping(request: Any) -> str:
        if request.schema is not None:
            return faithful(request)
        return re.sub(r"[^.]*\b40 mg[^.]*\.", "", faithful(request))

    dose = "It is a fact that the daily dose of metformin is {} mg."
    text = f"{dose.format(20)} {document(5)} {dose.format(40)}"
    summary = summarize(text, cite=True, models=fake(dropping), **options(state_dir))
    check(summary, ("document", text))
    assert "20 mg" in summary.text
    assert "40 mg" in summary.text
    assert "but also" in summary.text
    assert [{a.text[-6:], b.text[-6:]} for a, b in summary.contradictions] == [{"20 mg.", "40 mg."}]


def test_documents_have_texts_of_their_own_and_one_numbering(state_dir: Path) -> None:
    texts = [("a", document(4)), ("b", document(1, words=50)), ("c", "Nothing happened here at all.")]
    sources = [Document(*one) for one in texts]
    summary = summarize(sources, cite=True, together=False, models=fake(faithful), **options(state_dir))
    check(summary, *texts)
    assert list(summary.texts) == ["a", "b", "c"]
    assert summary.texts["c"] == ""
    assert [claim.document_id for claim in summary.citations] == ["a"] * 4 + ["b"]
    assert summary.texts["b"].endswith("[5].")


def test_a_document_that_fits_is_one_call(state_dir: Path) -> None:
    """Its claims are the text, and no second call makes another one of them."""
    calls = summarize(document(3), cite=True, models=fake(faithful), state_dir=state_dir, strategy="sequential")
    assert len(calls.run.results) == 1
    assert calls.text.count("crates") == 3
    assert calls.unsupported == ()


def test_the_embedded_model_says_that_it_cannot(state_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"embedded model cannot do cite=True.*method='extract'"):
        summarize("Some text.", cite=True, models="local", state_dir=state_dir)


def test_scripts_without_spaces(state_dir: Path) -> None:
    """Marks behind a full stop of another script, quotes over the lines of a page."""

    def answer(request: Any) -> str:
        import json

        if request.schema is not None:
            return json.dumps({"claims": [{"text": "患者发热三天。", "quote": "患者发热三天"}]})
        return "患者发热三天。[1]"

    text = "入院记录。患者\n发热三天，伴咳嗽。" + "无其他不适。" * 300
    summary = summarize(text, cite=True, models=fake(answer), **options(state_dir))
    check(summary, ("document", text))
    assert summary.unsupported == ()
    assert summary.citations[0].quote == "患者\n发热三天"


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("The dose of metformin is 20 mg.", "The dose of metformin is 40 mg.", True),
        ("Two people died in the crash.", "Three people died in the crash.", True),
        ("The mill burned down in 1987.", "The mill burned down in 1989.", True),
        ("The patient has a fever.", "The patient has no fever.", True),
        ("患者有糖尿病史", "患者没有糖尿病史", True),
        ("Der Patient raucht täglich.", "Der Patient raucht nicht täglich.", True),
        ("Patient Anna takes 20 mg.", "Patient Berta takes 40 mg.", False),
        ("Room 3 has 20 beds.", "Room 4 has 20 beds.", False),
        ("In 2020 revenue was 5 million.", "In 2021 revenue was 7 million.", False),
        ("On 3 May the dose was 20 mg.", "On 4 May the dose was 20 mg.", False),
        ("Hall 1 holds 48 crates of tea.", "Hall 2 holds 85 crates of tea.", False),
        ("The dose is 20 mg.", "The dose is 20 mg.", False),
    ],
)
def test_contradictions_as_code_can_tell_them(one: str, other: str, told: bool) -> None:
    assert bool(contradictions([one, "Something else was said here.", other])) == told


SAID = {
    1: "Hall 1 holds 48 crates of tea.",
    2: "Hall 2 holds 85 crates of tea.",
    3: "The patient has no fever.",
    4: "The bridge was built by two brothers.",
    5: "患者发热三天。",
}


@pytest.mark.parametrize(
    ("sentence", "stands"),
    [
        ("Hall 1 holds 48 crates of tea [1].", True),
        ("There are 48 crates of tea in hall 1 [1].", True),
        ("Hall 1 holds 48 and hall 2 holds 85 crates [1, 2].", True),
        ("The halls hold 48 and 85 crates [1, 2].", True),
        ("Two brothers built the bridge [4].", True),
        ("The patient is free of fever [3].", True),
        ("患者发热三天 [5]。", True),
        ("Hall 1 holds 85 crates of tea [1, 2].", False),  # merged: a number of the other's
        ("Hall 1 holds 85 crates of tea [2, 1].", False),
        ("Hall 2 holds 48 crates of tea [1, 2].", False),
        ("Hall 1 holds 85 crates of tea [1].", False),
        ("There are 2 crates of tea in the halls [1, 3].", False),  # two claims are no two crates
        ("The patient has a fever [3].", False),
        ("The bridge was built by two brothers [3].", False),  # moved: the number of another claim
        ("The moon is made of cheese [1].", False),
        ("The mayor of the town is a friend of the people [4].", False),
        ("Hall 1 holds 48 crates of tea.", False),
        ("Hall 1 holds 48 crates of tea [77].", False),
        ("桥是两兄弟建的 [5]。", False),
    ],
)
def test_a_sentence_is_held_against_the_claims_that_it_names(state_dir: Path, sentence: str, stands: bool) -> None:
    """Claims moved to other statements, and statements made of two."""

    def answer(request: Any) -> str:
        if request.schema is not None:
            part = request.prompt
            return claims([said for said in SAID.values() if said in part])
        return sentence

    filler = "Nothing else was said of it at all. " * 25
    text = "\n\n".join(f"{said} {filler}" for said in SAID.values())
    summary = summarize(text, cite=True, models=fake(answer), **options(state_dir, target_tokens=250, overlap_tokens=0))
    check(summary, ("document", text))
    bare = re.sub(r"\s*\[[\d, ]+\]", "", sentence)
    assert [re.sub(r"\s*\[[\d, ]+\]", "", one) for one in summary.unsupported] == ([] if stands else [bare])


def test_what_is_uncovered_is_a_chunk_that_nothing_is_said_of(state_dir: Path) -> None:
    """Blank chunks hold nothing; a fact that stands in the overlap of two chunks covers both; boilerplate is told."""
    fact = "It is a fact that hall 9 holds 11 crates of tea."
    boiler = "Page intentionally left blank, all rights reserved by the owner. " * 60
    text = f"{boiler}\n\n{fact}\n\n{boiler}\n\n{chr(10) * 40_000}\n\n{fact.replace('9', '8')}"
    how = options(state_dir, target_tokens=300, overlap_tokens=30)
    summary = summarize(text, cite=True, models=fake(faithful), **how)
    check(summary, ("document", text))
    seen = {r.chunk_id: [c["quote"] for c in r.result["claims"]] for r in summary.run.results}
    assert set(summary.uncovered) == {chunk for chunk, quotes in seen.items() if not quotes}
    both = {"claims": [{"text": fact, "quote": fact, "start": 1, "end": 2, "page": None, "verified": True}]}
    merge = CitedMerge()
    values = merge.first([ChunkResult(at, "d", None, 0, both) for at in (0, 1)])
    assert finished(merge, {"all": merge.merged("Hall 9 holds 11 crates [1].", values[:1])}).covered == {0, 1}
