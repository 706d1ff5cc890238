"""What a newcomer gets wrong is told before anything is asked: what it is, and what it should be."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from mrengine import Budget, MapReduceRunner, ModelSpec, map_prompt, read_jsonl, tree_reduce
from mrengine.errors import ConfigError
from mrengine.records import RateLimit


def text_of(chunk: Any, context: Any) -> str:
    return str(chunk.text)


async def later(results: Any) -> None:
    pass


SETTINGS = {
    "worker": (3, "did you mean workers"),
    "models": (5, "a list of these, not of type int"),
    "limits": ({"fake": RateLimit(tpm=-1)}, "tpm is -1: it must be above 0"),
    "budget": (Budget(), "limits nothing: give it max_tokens"),
    "initializer": ("setup", "it is a function"),
    "initargs": (5, "a tuple or list"),
    "preload": ("numpy", "a list of modules' names"),
    "state_dir": (5, "a str or a Path"),
    "map_version": (3, "it is a str"),
    "progress": ("yes", "True, False or None"),
    "strict": ("no", "True or False"),
    "encoding": (5, "it is a str"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_another_kind(name: str) -> None:
    """By its name, with its value, and what it is."""
    value, told = SETTINGS[name]
    with pytest.raises(ConfigError) as caught:
        MapReduceRunner(**{"models": "fake", name: value}).run("text", text_of)
    assert name in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.setting == name


@pytest.mark.parametrize("budget", [Budget(max_tokens=-1), Budget(max_tokens="9"), Budget(max_cost_usd=float("nan"))])  # type: ignore[arg-type]
def test_a_budget_that_is_none(budget: Budget) -> None:
    """It would stop nothing, or all."""
    with pytest.raises(ConfigError, match=r"Budget\.max_\w+="):
        MapReduceRunner(models="fake", budget=budget)
    with pytest.raises(ConfigError, match=r"Budget\.per='day': it is one of 'job', 'run'"):
        MapReduceRunner(models="fake", budget=Budget(max_tokens=1, per="day"))  # type: ignore[arg-type]


RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "a prompt for a function": ({"map_fn": "Say $text"}, "map_prompt(…) makes one"),
    "no function": ({"map_fn": None}, "of type NoneType, not a function"),
    "one argument": ({"map_fn": lambda chunk: 1}, "is called with (chunk, context): too many positional arguments"),
    "three arguments": ({"map_fn": lambda chunk, context, more: 1}, "missing a required argument: 'more'"),
    "a class": ({"map_fn": type("Empty", (), {})}, "map_fn Empty() is called with (chunk, context)"),
    "a reducer's name": ({"reduce_fn": "concatenate"}, "reduce_fn is of type str"),
    "a reducer of two": ({"reduce_fn": lambda results, more: 1}, "is called with (results): missing"),
    "an async reducer": ({"reduce_fn": later}, "reduce_fn is an async function"),
    "a timedelta": ({"timeout_s": datetime.timedelta(seconds=3)}, "timeout_s="),
    "a text for seconds": ({"timeout_s": "3"}, "timeout_s='3': it is a number"),
    "an empty id": ({"job_id": ""}, "job id ''"),
    "a pair": ({"document": [("id", "text")]}, "Document(id, text)"),
    "a nested list": ({"document": [["text"]]}, "one flat list"),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_run_that_cannot_work(case: str, state_dir: Path) -> None:
    """It is refused before a chunk is asked, or a reducer is called over what was paid for; no job is begun."""
    given, told = RUNS[case]
    arguments = {"document": "text", "map_fn": text_of, **given}
    with pytest.raises(ConfigError) as caught:
        MapReduceRunner(models="fake", strategy="sequential").run(**arguments)
    assert told in str(caught.value)
    assert not list((state_dir / "jobs").glob("*/log"))


def test_functions_with_room_for_more_are_taken(state_dir: Path) -> None:
    """Defaults, *args, methods, objects with __call__, and what inspect knows nothing of."""

    class Labels:
        def __call__(self, chunk: Any, context: Any, more: int = 1) -> int:
            return more

        def method(self, *both: Any) -> int:
            return len(both)

    runner = MapReduceRunner(models="fake", strategy="sequential")
    assert runner.run("text", Labels(), len).result == 1
    assert runner.run("text", Labels().method, max).result.result == 2


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: map_prompt(5), "prompt is a str, not of type int"),
        (lambda: map_prompt("$text", max_tokens=0), "max_tokens is a whole number"),
        (lambda: map_prompt("$text", temperature="hot"), "temperature is a number"),
        (lambda: map_prompt("$text", system=5), "system is a str"),
        (lambda: map_prompt("$text", on_truncation="retry"), "'error', 'allow', 'continue'"),
        (lambda: tree_reduce(5), "prompt is a str"),  # type: ignore[arg-type]
        (lambda: tree_reduce(" "), "the prompt is empty"),
        (lambda: tree_reduce("$text", response_model={"type": "objekt"}), "no JSON schema"),
        (lambda: tree_reduce("$text", fan_in=2.5), "fan_in=2.5"),  # type: ignore[arg-type]
        (lambda: list(read_jsonl(5)), "read_jsonl takes a path"),  # type: ignore[arg-type]
        (lambda: MapReduceRunner(models="fake").estimate("x", "y"), "map_prompt(…) makes one"),  # type: ignore[arg-type]
        (lambda: MapReduceRunner(models=ModelSpec("m", base_url=5)), "ModelSpec.base_url"),  # type: ignore[arg-type]
    ],
)
def test_what_is_made_first_is_checked_first(make: Any, told: str) -> None:
    """A prompt, a reducer, a model: not in each call."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert told in str(caught.value)
