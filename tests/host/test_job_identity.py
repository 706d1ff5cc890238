"""What a job is: how its documents are cut, and what its id, or its JOB record, tells of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mrengine import ModelSpec
from mrengine.host.chunk_limits import chunking_of, stored_chunking
from mrengine.host.job_identity import auto_job_id, job_record
from mrengine.log.format.job_records import DocumentRow
from mrengine.mapfn.describe import MapFunction
from mrengine.providers.models.model import resolve_models
from mrengine.settings import Settings

ROWS = [DocumentRow("a", b"1" * 16, 0, 4, 4), DocumentRow("b", b"2" * 16, 4, 4, 4)]
NAMED = MapFunction("digest", "half", "3.11", "mine:half", parts={"its code": "1"})
MODELS = resolve_models(["fake"])


def settings(**given: Any) -> Settings:
    return Settings.of(given)  # type: ignore[arg-type]


def auto(rows: Any = ROWS, given: Settings | None = None, models: Any = MODELS, mapping: MapFunction = NAMED) -> str:
    return auto_job_id(rows, given or settings(), models, mapping)


OTHERS: dict[str, Callable[[], str]] = {
    "a text": lambda: auto([ROWS[0], ROWS[1]._replace(digest=b"3" * 16)]),
    "an id": lambda: auto([ROWS[0], ROWS[1]._replace(id="c")]),
    "the order": lambda: auto(ROWS[::-1]),
    "the cut": lambda: auto(given=settings(target_tokens=100)),
    "a model": lambda: auto(models=resolve_models([ModelSpec("b", provider="fake")])),
    "the function's name": lambda: auto(mapping=replace(NAMED, source="mine:whole")),
    "a version that was given": lambda: auto(mapping=replace(NAMED, version="2", parts={})),
    "a prompt": lambda: auto(mapping=replace(NAMED, version="p2", source={"template": "x"})),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_inputs_are_another_job(what: str) -> None:
    assert OTHERS[what]() != auto()


def test_edited_code_is_the_same_job() -> None:
    """It goes on over the answers that were bought; where the bytes stand in a spool does not count, either."""
    assert auto(mapping=replace(NAMED, version="edited")) == auto()
    assert auto([ROWS[0]._replace(spool_offset=9), ROWS[1]]) == auto()
    assert auto().startswith("auto-")
    assert len(auto()) == len("auto-") + 16


def test_a_small_target_has_a_smaller_overlap() -> None:
    """A quarter of it, where none was asked for."""
    found = chunking_of(settings(target_tokens=100), ())
    assert (found.target_tokens, found.overlap_tokens) == (100, 25)
    assert chunking_of(settings(target_tokens=100, overlap_tokens=40), ()).overlap_tokens == 40


def test_the_smallest_model_says_what_a_chunk_may_have() -> None:
    """Beside its answer; no more than 6,000 tokens where all are large."""
    small = resolve_models([ModelSpec("s", provider="fake", context_window=4096), "fake"])
    assert chunking_of(settings(), small).target_tokens == int((4096 - 1280) / 1.3)
    large = resolve_models([ModelSpec("l", provider="fake", context_window=1_000_000)])
    assert chunking_of(settings(), large).target_tokens == 6000


def test_the_cut_of_a_stored_job_is_read_from_its_log() -> None:
    """Not one by a function of the caller's, nor what is written in no known way."""
    given = settings(target_tokens=100, splitter="prose")
    job = job_record("j", given, MODELS, NAMED, ROWS, chunking_of(given, MODELS), all_models=False)
    found = stored_chunking(job)
    assert found is not None
    assert found.fields() == job.chunking
    cut = stored_chunking(replace(job, settings={**job.settings, "cut_tokens": 40}))
    assert cut is not None
    assert (cut.target_tokens, cut.overlap_tokens) == (40, 10)
    for fields in ({}, {**job.chunking, "splitter": "0123abcd"}, {**job.chunking, "overlap_tokens": "many"}):
        assert stored_chunking(replace(job, chunking=fields)) is None
