"""Every answer that was paid for, refused ones and parts too: in the log, in the failure, and first in the next run."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from mrengine import Job, MapReduceRunner, map_prompt
from mrengine.errors import ConfigError, JobFailed
from mrengine.log.format.codec import CALL
from mrengine.log.format.task_records import CONTINUATION, FIRST, REASK, CallRecord, unpack_call
from mrengine.log.view.job_view import ResumeEngine
from mrengine.outputs.run_result import RunResult
from mrengine.records import Budget, ModelSpec, Price, Usage
from mrengine.testing.llm_server import LLMServer

pytestmark = pytest.mark.usefixtures("state_dir")
PRICE = Price(2.0, 10.0)


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def server(shared: LLMServer) -> LLMServer:
    shared.reset()
    return shared


class Odd(BaseModel):
    n: int
    model_config = {"title": "Number"}

    @field_validator("n")
    @classmethod
    def odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value


class Broken(BaseModel):
    n: int
    model_config = {"title": "Number"}

    @field_validator("n")
    @classmethod
    def slip(cls, value: int) -> int:
        raise TypeError("a slip")


class Mended(BaseModel):  # the same schema, without the bug
    n: int
    model_config = {"title": "Number"}


def in_turn(*answers: str) -> Callable[[str], str]:
    """Answers one after another, whatever is asked; the last one for ever."""
    left = list(answers)
    return lambda prompt: left.pop(0) if len(left) > 1 else left[0]


def run(server: LLMServer, response_model: Any = None, **settings: Any) -> RunResult:
    """One run of the job, by a map function that only differs in its validator."""
    options = {name: settings.pop(name) for name in ("on_truncation", "max_tokens") if name in settings}
    spec = settings.pop("models", None) or ModelSpec(f"{server.url}#m", price=PRICE, **settings.pop("spec", {}))

    def ask(chunk: Any, context: Any) -> Any:
        completion = context.complete("Count.", response_model=response_model, **options)
        return completion.text if response_model is None else completion.parsed.n

    settings = {"strategy": "sequential", "on_mismatch": "recompute", "target_tokens": None, **settings}
    return MapReduceRunner("j", models=spec, **settings).run("one", ask)


def calls(state_dir: Path) -> list[CallRecord]:
    """All CALLs of the job's log."""
    with ResumeEngine(state_dir / "jobs" / "j") as stored:
        frames = stored.reader.frames()
        return [unpack_call(frame.payload) for frame in frames if frame.kind == CALL]


def test_refused_answers_are_in_the_failure_and_in_the_log(server: LLMServer, state_dir: Path) -> None:
    """As the model said them, with what they cost."""
    server.reset(answer=in_turn('{"n": 2}', "Sorry!", '{"n": 4}'))
    with pytest.raises(JobFailed) as caught:
        run(server, Odd)
    (failure,) = caught.value.failures
    assert failure.answers == ('{"n": 2}', "Sorry!", '{"n": 4}')
    assert Job("j").failures()[0].answers == failure.answers
    assert "Sorry" not in repr(failure) + str(caught.value) + failure.message
    logged = calls(state_dir)
    assert [(call.text, call.turn) for call in logged] == [('{"n": 2}', FIRST), ("Sorry!", REASK), ('{"n": 4}', REASK)]
    stats = server.stats()
    assert sum(call.usage.input_tokens for call in logged) == stats.input_tokens
    assert caught.value.summary is not None
    assert caught.value.summary.cost_usd == pytest.approx(PRICE.cost(Usage(stats.input_tokens, stats.output_tokens)))


@pytest.mark.parametrize("refused", [('{"n": 2}', '{"n": 4}', '{"n": 6}'), ("Sorry!", "No.", '{"n": 6}')])
def test_a_mended_validator_buys_nothing_again(server: LLMServer, refused: tuple[str, ...]) -> None:
    """The answers that are there are validated first, each of them."""
    server.reset(answer=in_turn(*refused))
    with pytest.raises(JobFailed):
        run(server, Odd)
    result = run(server, Mended)
    assert result.result[0].result == (2 if "2" in refused[0] else 6)
    assert server.stats().requests == 3
    assert result.summary.usage == {}
    assert result.summary.reused_calls == 1
    assert result.results[0].usage.total_tokens > 0


def test_answers_that_are_still_no_good_are_not_the_end(server: LLMServer, state_dir: Path) -> None:
    """The next run asks anew, and what it hears comes after them."""
    server.reset(answer=in_turn("a", "b", "c", "d", '{"n": 3}'))
    with pytest.raises(JobFailed):
        run(server, Odd)
    assert run(server, Odd).result[0].result == 3
    assert [call.text for call in calls(state_dir)] == ["a", "b", "c", "d", '{"n": 3}']
    assert run(server, Mended, map_version="other").result[0].result == 3
    assert server.stats().requests == 5


def test_a_validator_that_raises_costs_no_second_answer(server: LLMServer) -> None:
    """A TypeError is the validator's fault: nobody is asked again, then or later."""
    server.reset(answer='{"n": 2}')
    with pytest.raises(JobFailed) as caught:
        run(server, Broken)
    assert caught.value.failures[0].answers == ('{"n": 2}',)
    assert run(server, Mended).result[0].result == 2
    assert server.stats().requests == 1


def test_a_call_that_broke_off_goes_on_where_it_was(server: LLMServer) -> None:
    """The re-ask met a server that was down: the next run repeats the re-ask, not the question."""
    server.reset(answer=in_turn('{"n": 2}', '{"n": 3}'), script=[None, "400"])
    with pytest.raises(JobFailed):
        run(server, Odd)
    assert run(server, Odd).result[0].result == 3
    assert server.stats().ok == 2


class Deadly(BaseModel):
    n: int
    model_config = {"title": "Number"}

    @field_validator("n")
    @classmethod
    def dies(cls, value: int) -> int:
        mark = Path(os.environ["MRENGINE_STATE_DIR"]) / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return value


def test_an_answer_outlives_the_worker_that_looked_at_it(server: LLMServer) -> None:
    """It is in the log before it is validated: the second attempt takes it from there."""
    server.reset(answer='{"n": 3}')
    prompt = map_prompt("Count.", response_model=Deadly)
    settings: dict[str, Any] = {"workers": 1, "target_tokens": None, "backoff_s": 0.01}
    result = MapReduceRunner("j", models=f"{server.url}#m", **settings).run("one", prompt)
    assert result.results[0].attempt == 2
    assert result.summary.reused_calls == 1
    assert server.stats().requests == 1


LONG = " ".join(f"word{n}" for n in range(25))


def test_parts_are_kept_each_and_joined_again(server: LLMServer, state_dir: Path) -> None:
    """A continued answer in the log is its parts; a second run has the whole."""
    server.reset(answer=LONG)
    first = run(server, on_truncation="continue", max_tokens=10).result[0].result
    assert first == LONG
    assert [call.turn for call in calls(state_dir)] == [FIRST, CONTINUATION, CONTINUATION]
    again = run(server, on_truncation="continue", max_tokens=10, map_version="other")
    assert again.result[0].result == LONG
    assert server.stats().requests == 3
    stats = server.stats()
    assert sum(call.usage.output_tokens for call in calls(state_dir)) == stats.output_tokens


def test_a_cut_answer_is_taken_or_continued_by_a_later_run(server: LLMServer) -> None:
    """It was paid for: ``allow`` takes it as it is, ``continue`` asks for the rest alone."""
    server.reset(answer=LONG)
    with pytest.raises(JobFailed) as caught:
        run(server, max_tokens=10)
    assert caught.value.failures[0].answers == (" ".join(LONG.split()[:10]),)
    assert run(server, max_tokens=10, on_truncation="allow").result[0].result == " ".join(LONG.split()[:10])
    assert server.stats().requests == 1
    assert run(server, max_tokens=10, on_truncation="continue").result[0].result == LONG
    assert server.stats().requests == 3


def test_a_part_never_passes_for_a_whole(server: LLMServer) -> None:
    """An answer in parts, and then nobody wants it joined: it is asked anew, and cut again."""
    server.reset(answer=LONG)
    run(server, on_truncation="continue", max_tokens=10)
    with pytest.raises(JobFailed):
        run(server, max_tokens=10, on_truncation="error")
    assert server.stats().requests == 4


def test_no_part_is_bought_twice_whatever_came_before(server: LLMServer, state_dir: Path) -> None:
    """Cut, cut again, then continued, and broken off in the middle: the last is continued, in each run alike."""
    server.reset(answer=LONG, script=[None, None, None, "400"])
    for _ in range(2):
        with pytest.raises(JobFailed):
            run(server, max_tokens=10)
    with pytest.raises(JobFailed):
        run(server, max_tokens=10, on_truncation="continue")
    assert [call.turn for call in calls(state_dir) if call.text] == [FIRST, FIRST, CONTINUATION]
    assert run(server, max_tokens=10, on_truncation="continue").result[0].result == LONG
    assert server.stats().ok == 4


def test_what_a_model_said_to_decline_is_kept(server: LLMServer, state_dir: Path) -> None:
    """A refusal is paid for, too."""
    from mrengine.providers.http.apis import Refused, api

    message = {"content": None, "refusal": "I cannot help."}
    said = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    with pytest.raises(Refused) as caught:
        api("openai").answer(said, model="m")
    assert caught.value.text == "I cannot help."


UNKNOWN: list[Callable[[int, int], Any]] = [
    lambda i, o: None,
    lambda i, o: {},
    lambda i, o: {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    lambda i, o: {"prompt_tokens": None, "completion_tokens": None},
]


@pytest.mark.parametrize("usage", UNKNOWN)
@pytest.mark.parametrize("strategy", ["sequential", "parallel"])
def test_unknown_usage_is_estimated_and_spends_the_budget(
    server: LLMServer, state_dir: Path, usage: Callable[[int, int], Any], strategy: str
) -> None:
    """In summary, result, log and Budget, in this run and in the next: never 0."""
    server.reset(usage=usage, answer="one two three four five")
    documents = [f"document number {n} of some words" for n in range(30)]
    settings: dict[str, Any] = {"strategy": strategy, "workers": 2, "target_tokens": None, "max_failed": 30}
    model = ModelSpec(f"{server.url}#m", price=PRICE)
    spent = 0
    for _ in range(4):
        runner = MapReduceRunner("j", models=model, budget=Budget(max_tokens=800), **settings)
        try:
            summary = runner.run(documents, map_prompt("Say: $text", max_tokens=100)).summary
        except Exception as stopped:
            summary = stopped.summary  # type: ignore[attr-defined]
        used = summary.usage.get("m", Usage())
        spent += used.total_tokens
        assert used.estimated or not used.total_tokens
        assert ("m did not tell" in str(summary.warnings)) is used.estimated
    assert 0 < spent <= 800
    assert 0 < server.stats().ok < 30
    logged = calls(state_dir)
    assert all(call.usage.estimated and call.usage.input_tokens and call.usage.output_tokens for call in logged)
    assert sum(call.usage.total_tokens for call in logged) == spent


def test_known_usage_is_no_estimate(server: LLMServer) -> None:
    """The mark is for what was not told."""
    assert not run(server).summary.usage["m"].estimated


def test_a_schema_that_is_none_is_refused_before_anything_is_asked(server: LLMServer) -> None:
    """By map_prompt at once, by complete() in its chunk."""
    with pytest.raises(ConfigError, match="/type"):
        map_prompt("x", response_model={"type": "objekt"})
    with pytest.raises(JobFailed, match="no JSON schema"):
        run(server, {"type": "objekt"})
    assert server.stats().requests == 0


class Visit(BaseModel):
    day: int


def test_a_list_of_models_is_a_response_model(server: LLMServer) -> None:
    """Providers take objects alone, so that it is asked for in one, strictly; the values are instances."""
    server.reset(answer='Here: [{"day": 1}, {"day": 2},]', record=1)

    def ask(chunk: Any, context: Any) -> list[int]:
        return [visit.day for visit in context.complete("Days?", response_model=list[Visit]).parsed]

    settings: dict[str, Any] = {"strategy": "sequential", "target_tokens": None}
    result = MapReduceRunner("j", models=f"{server.url}#m", **settings).run("one", ask)
    assert result.results[0].result == [1, 2]
    wanted = server.requests()[0]["body"]["response_format"]["json_schema"]
    assert wanted["strict"]
    assert list(wanted["schema"]["properties"]) == ["answer"]


def test_the_model_is_reported_what_the_validator_said(server: LLMServer) -> None:
    """In its own words; logs and exceptions name place and kind only."""
    server.reset(answer=in_turn('{"n": 2}', '{"n": 3}'), record=2)
    run(server, Odd)
    again = server.requests()[-1]["body"]["messages"][-1]["content"]
    assert "/n: Value error, must be odd" in again


def test_failures_have_their_answers_as_plain_values(server: LLMServer) -> None:
    """For export and for ``mrengine show JOB --failures``."""
    server.reset(answer="no")
    with pytest.raises(JobFailed) as caught:
        run(server, Odd)
    assert dataclasses.asdict(caught.value.failures[0])["answers"] == ("no",)
