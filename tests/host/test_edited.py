"""Edited documents in a job: what is asked again, and what Job.diff said of it before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner, map_prompt
from mrengine.errors import JobNotFound
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


def test_added_and_removed_documents_are_told() -> None:
    """A price that is unknown stays unknown."""
    texts = {name: prose(5_000) for name in "abc"}
    run([Document(name, text) for name, text in texts.items()], price=None)
    told = Job("j").diff([Document("a", texts["a"]), Document("d", texts["b"])])
    assert (told.added, told.removed, told.changed) == (("d",), ("b", "c"), ())
    assert told.cost_usd is None
    assert told.kept > 0


def test_a_job_that_has_kept_no_text_cuts_freely(state_dir: Path) -> None:
    """And a job that is not there has no diff."""
    text = prose(30_000)
    run(text, keep="results")
    done = run("Another beginning. " + text, keep="results")
    assert len(done.results) == done.summary.total_chunks
    with pytest.raises(JobNotFound):
        Job("nobody").diff("text")


def test_the_command_line_says_what_diff_says(tmp_path: Path) -> None:
    """For people and for programs."""
    import json

    from click.testing import CliRunner

    from mrengine.cli import main

    path = tmp_path / "a.txt"
    path.write_text(text := prose(20_000))
    run([Document(str(path), path)])
    path.write_text(text[:9_000] + " A sentence more." + text[9_000:])
    told = Job("j").diff([Document(str(path), path)])
    shown = CliRunner().invoke(main, ["diff", "j", str(path), "--json"])
    facts = json.loads(shown.output)
    assert (facts["asked"], facts["chunks"], facts["changed"]) == (told.asked, told.chunks, [str(path)])
    page = CliRunner().invoke(main, ["diff", "j", str(path)])
    assert page.exit_code == 0
    assert f"{told.asked} of {told.chunks} chunks" in page.output
    assert "changed:" in page.output
