"""Edited documents in a job: what is asked again, and what Job.diff said of it before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner, map_prompt
from mrengine.records import Price
from mrengine.testing import fake
from tests.chunking.test_guide import prose

pytestmark = pytest.mark.usefixtures("state_dir")
PROMPT = map_prompt("Say: $text", max_tokens=50)


def run(document: Any, prompt: Any = PROMPT, **settings: Any) -> Any:
    spec = fake(lambda request: str(len(request.prompt)), name="m")
    model = replace(spec, price=settings.pop("price", Price(1.0, 2.0)))
    given = {"target_tokens": 500, "overlap_tokens": 50, "workers": 2, "on_mismatch": "recompute", **settings}
    return MapReduceRunner("j", models=model, **given).run(document, prompt)


def test_an_edit_costs_what_it_touched_and_diff_says_so(tmp_path: Path, state_dir: Path) -> None:
    """In one of several documents, again and again; whatever diff says is asked, and no more."""
    texts = [prose(40_000) for _ in range(3)]
    paths = [tmp_path / f"{n}.txt" for n in range(3)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    first = run(paths)
    told = Job("j").diff(paths)
    assert (told.asked, told.cost_usd, told.changed) == (0, 0.0, ())
    edited = texts[1]
    for round_ in range(3):
        at = 9_000 * (round_ + 1)
        edited = edited[:at] + " A sentence that was not there before." + edited[at:]
        paths[1].write_text(edited)
        told = Job("j").diff(paths)
        assert told.changed == (str(paths[1]),) or len(told.changed) == 1
        assert 0 < told.asked <= 3
        assert told.kept == told.chunks - told.asked
        done = run(paths)
        assert done.summary.processed_chunks == told.asked
        assert done.summary.total_chunks == told.chunks
        assert done.summary.cost_usd == pytest.approx(told.cost_usd, rel=0.5)
        assert len(done.results) == told.chunks
    assert first.summary.total_chunks <= told.chunks
    assert not [one.name for one in (state_dir / "jobs").rglob("*.new")]


def test_a_job_that_has_kept_no_text_cuts_freely(state_dir: Path) -> None:
    """There is no guide to what was cut before."""
    text = prose(30_000)
    run(text, keep="results")
    done = run("Another beginning. " + text, keep="results")
    assert len(done.results) == done.summary.total_chunks
