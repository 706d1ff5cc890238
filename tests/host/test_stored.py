"""What a job's log says of its map function and models."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner, ModelSpec, ResumeEngine, map_prompt
from mrengine.errors import ConfigError, JobCancelled, LogError
from mrengine.host.stored import StoredJob, chunks_of, headings_of, stored_job
from mrengine.testing.llm_server import LLMServer


@pytest.fixture
def stored(state_dir: Path) -> StoredJob:
    MapReduceRunner("stored", models="fake", strategy="sequential").run("text", lambda chunk, context: 1)
    with ResumeEngine(state_dir / "jobs" / "stored") as view:
        return stored_job(view, "stored")


@pytest.mark.parametrize("models", [[["fake", None]], [3], "fake", [["fake", None, None, None, None]]])
def test_models_that_are_written_otherwise_are_an_error_of_the_log(stored: StoredJob, models: Any) -> None:
    """By name, with the way out; not a ValueError of the unpacking."""
    record = dataclasses.replace(stored.record, settings={**stored.record.settings, "models": models})
    with pytest.raises(LogError, match="job stored says nothing of its models"):
        StoredJob(record).models(None)


def test_a_prompt_of_other_fields_is_an_error_of_the_log(stored: StoredJob) -> None:
    """The same for the map function."""
    record = dataclasses.replace(stored.record, map_source={"template": "$text", "colour": "red"})
    with pytest.raises(LogError, match="job stored says nothing of its prompt"):
        StoredJob(record).map_fn()


@pytest.fixture(scope="module")
def somewhere() -> Iterator[LLMServer]:
    """An endpoint that only the log names; it keeps the headers that it is sent."""
    with LLMServer(record=100, latency_s=0.01) as server:  # so that a stop comes before the end
        yield server


SECRET = "the-value-of-any-variable"
CLAIMS = {
    "a variable and an address": lambda url: ModelSpec("m", base_url=url, api_key_env="SECRET"),
    "the same in a model's name": lambda url: ModelSpec(f"{url}#m", api_key_env="SECRET"),
    "several variables": lambda url: ModelSpec("m", base_url=url, api_key_env=["SECRET", "OPENAI_API_KEY"]),
}
KEYLESS = {
    "a vendor's model elsewhere": lambda url: ModelSpec("gpt-4o-mini", base_url=url),
    "anthropic's": lambda url: ModelSpec("claude-3-5-haiku-latest", base_url=url.removesuffix("/v1")),
}


def left_by_another(url: str, claim: str, job: str = "theirs") -> None:
    """A job folder in which there is something left to do."""
    runner = MapReduceRunner(job, workers=1, models=(CLAIMS | KEYLESS)[claim](url), target_tokens=None)
    runner.on("chunk:processed", lambda event: runner.stop())
    with pytest.raises(JobCancelled):
        runner.run([f"letter {n}" for n in range(40)], map_prompt("Diagnoses: $text"))


def sent(server: LLMServer) -> bool:
    return SECRET in str([request["headers"] for request in server.requests()])


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """One value in every variable that could be sent."""
    for name in ("SECRET", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, SECRET)


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_resume_by_id_sends_no_key_where_only_the_log_says_so(
    claim: str, somewhere: LLMServer, state_dir: Path
) -> None:
    """It is told which variable would go where; the model or the variable, named again, lets it go."""
    left_by_another(somewhere.url, claim)
    somewhere.reset(record=100, latency_s=0.01)
    with pytest.raises(ConfigError, match=r"send the value of .*SECRET.* to http://127.0.0.1.* named? .*again"):
        MapReduceRunner().resume("theirs")
    assert somewhere.stats().requests == 0
    done = MapReduceRunner().resume("theirs", api_key_env="SECRET")
    assert len(done.results) == 40
    assert sent(somewhere)


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("claim", ["a vendor's model elsewhere", pytest.param("anthropic's", marks=pytest.mark.system)])
def test_a_vendors_key_goes_to_no_other_host_when_a_job_is_resumed(
    claim: str, somewhere: LLMServer, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when it began: nobody is asked, for no key is sent. A variable that is named goes there."""
    somewhere.reset(record=100, latency_s=0.01)
    left_by_another(somewhere.url, claim)
    assert len(MapReduceRunner().resume("theirs").results) == 40
    assert not sent(somewhere)
    assert "goes on with model" in caplog.text
    left_by_another(somewhere.url, claim, "again")
    MapReduceRunner().resume("again", api_key_env="SECRET")
    assert sent(somewhere)


def test_a_model_that_is_named_again_gets_its_key(
    somewhere: LLMServer, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller has said where it goes."""
    monkeypatch.setenv("SECRET", SECRET)
    claim = "a variable and an address"
    left_by_another(somewhere.url, claim)
    assert len(MapReduceRunner(models=CLAIMS[claim](somewhere.url)).resume("theirs").results) == 40


def test_an_address_of_the_log_is_shown_before_anything_is_sent(
    somewhere: LLMServer, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a key it may go on: the text is in the caller's own folder."""
    runner = MapReduceRunner("plain", workers=1, models=f"{somewhere.url}#m", target_tokens=None)
    runner.on("chunk:processed", lambda event: runner.stop())
    with pytest.raises(JobCancelled):
        runner.run([f"letter {n}" for n in range(40)], map_prompt("Diagnoses: $text"))
    again = MapReduceRunner()
    before: list[str] = []
    again.on("job:start", lambda event: before.extend(record.getMessage() for record in caplog.records))
    with caplog.at_level(logging.WARNING, "mrengine"):
        again.resume("plain")
    assert f"job plain goes on with model m at {somewhere.url}" in before


BODY = "The *river* rose, and the **mill** stood in the water.\n\n- a boat\n- a bridge\n\n" * 6
TEXT = f"# One\n\n{BODY}\n\n## Inner\n\n{BODY}\n\n# Two\n\n{BODY}\n" * 2


def test_chunks_and_their_headings_come_from_log_and_spool(state_dir: Path) -> None:
    """A chunk that begins with a heading has it, in the place of its like."""
    runner = MapReduceRunner("j", strategy="sequential", models="fake", target_tokens=120, overlap_tokens=0)
    runner.run(TEXT, lambda chunk, context: 1)
    folder = Path(Job("j").status().folder)
    with ResumeEngine(folder) as view:
        (spool,) = [path for path in folder.iterdir() if path.name.startswith("spool")]
        found = [(chunk, chunk.text) for chunk in chunks_of(view, spool)]  # read while it is open
        heads = headings_of(view, spool)
        without = headings_of(view, folder / "is-not-there")
    assert "".join(text for _, text in found) == TEXT
    chunks = [chunk for chunk, _ in found]
    assert list(heads) == [chunk.id for chunk in chunks]
    for chunk in chunks:
        above = TEXT[: chunk.start] + chunk.text.lstrip().split("\n")[0]
        last = [line.lstrip("# ") for line in above.splitlines() if line.startswith("#")][-1]
        assert heads[chunk.id][-1] == last
    assert (heads[0], heads[2]) == (("One",), ("One", "Inner"))
    assert set(without.values()) == {()}  # they are in the spool alone


def test_headings_of_another_spool_are_told_as_damage(state_dir: Path) -> None:
    """The log vouches for them by a digest: a chunk is never given another's title."""
    runner = MapReduceRunner("j", strategy="sequential", models="fake", target_tokens=120, overlap_tokens=0)
    runner.run(TEXT, lambda chunk, context: 1)
    folder = Path(Job("j").status().folder)
    (spool,) = [path for path in folder.iterdir() if path.name.startswith("spool")]
    spool.write_bytes(spool.read_bytes().replace(b"## Inner", b"## Other"))
    with ResumeEngine(folder) as view:
        table = view.chunk_table()
        below = [chunk for chunk, row in enumerate(table) if len(table.heads(chunk, row).titles) > 1]
        chunks = chunks_of(view, spool)
        for _ in range(below[0]):
            next(chunks)
        with pytest.raises(LogError, match=f"chunk {below[0]} in the spool is damaged"):
            next(chunks)
