"""What a job would cost: what is assumed is said, calls can be told or measured, and no key is needed."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine import MapReduceRunner, ModelSpec, Price, map_prompt
from mrengine.errors import ConfigError

TEXT = "".join(f"On day {day} the patient slept well, and the fever fell. " for day in range(200))


def runner(**settings: Any) -> MapReduceRunner:
    priced = ModelSpec("fake", price=Price(1.0, 2.0))
    return MapReduceRunner(**{"models": priced, "target_tokens": 100, "overlap_tokens": 0, **settings})


def three(chunk: Any, context: Any) -> list[str]:
    said = [context.complete(f"{n} {chunk.text}", max_tokens=100).text for n in range(2)]
    with context.budget(50, max_tokens=10) as grant:
        grant.used(40)
    return said


def parser(chunk: Any, context: Any) -> int:
    return int(context.complete(chunk.text).text) + int(context.complete("more").text)


def test_what_is_assumed_is_said() -> None:
    """One call of a function that is not known; nothing calls it an upper bound."""
    found = runner().estimate(TEXT, three)
    assert found.calls == found.chunks > 10
    assert found.output_tokens == 1024 * found.chunks
    assert "is not known" in found.assumed[0]
    assert "bound" not in (found.__doc__ or "").replace("no upper bound", "")
    prompt = runner().estimate(TEXT, map_prompt("Say: $text", max_tokens=10))
    assert (prompt.calls, prompt.output_tokens) == (found.chunks, 10 * found.chunks)
    assert prompt.assumed[0] == "one call a chunk, and answers of 10 tokens"
    assert all("not counted" in estimate.assumed[1] for estimate in (found, prompt))


def test_calls_can_be_given() -> None:
    """Three calls a chunk are three times the tokens and the money; a fraction is rounded up over all."""
    one, three_ = runner().estimate(TEXT, three), runner().estimate(TEXT, three, calls_per_chunk=3)
    assert (three_.calls, three_.input_tokens) == (3 * one.calls, 3 * one.input_tokens)
    assert three_.cost_usd == pytest.approx(3 * one.cost_usd, rel=0.01)  # type: ignore[operator]
    half = runner().estimate(TEXT, three, calls_per_chunk=0.5)
    assert half.calls == -(-one.chunks // 2)
    both = runner(models=["fake", ModelSpec("b", provider="fake")], balance="all").estimate(TEXT, calls_per_chunk=3)
    assert both.calls == 6 * one.chunks


def test_calls_can_be_measured() -> None:
    """A few chunks run against a fake model: calls, own calls, their tokens and limits."""
    found = runner().estimate(TEXT, three, sample=3)
    assert found.calls_per_chunk == 3
    assert found.calls == 3 * found.chunks
    assert found.output_tokens == found.chunks * 210
    told = runner().estimate(TEXT, three, calls_per_chunk=2)
    assert found.input_tokens == pytest.approx(told.input_tokens + 50 * found.chunks, rel=0.05)
    assert "measured over 3 chunks" in found.assumed[0]
    stopped = runner().estimate(TEXT, parser, sample=2)
    assert stopped.calls_per_chunk == 1
    assert "2 raised ValueError" in stopped.assumed[0]
    assert runner().estimate("short", three, sample=50).calls == 3


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"calls_per_chunk": -1}, "calls_per_chunk"),
        ({"calls_per_chunk": "3"}, "calls_per_chunk"),
        ({"sample": 1.5}, "sample"),
        ({"sample": 3, "calls_per_chunk": 3}, "choose one"),
        ({"sample": 3}, "give it"),
    ],
)
def test_what_makes_no_sense_is_refused(how: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        runner().estimate(TEXT, **how)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "claude-sonnet-4-5", ModelSpec("m", base_url="https://x/v1", api_key_env="LAB")]
)
def test_no_key_is_needed(model: Any, state_dir: Any) -> None:
    """Only run() needs it, and says so before anything is read, or a job is begun."""
    runner_ = runner(models=model)
    assert runner_.estimate(TEXT).calls > 10
    with pytest.raises(ConfigError, match="no key"):
        runner_.run(iter(lambda: 1 / 0, None), three)  # type: ignore[arg-type]
    assert not state_dir.exists()


def test_a_key_that_comes_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    runner_ = runner(models="gpt-4o")
    runner_.estimate(TEXT)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert runner_._resolve(keys=True)[0].key_env == "OPENAI_API_KEY"
