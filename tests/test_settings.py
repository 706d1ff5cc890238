"""Settings: argument beats environment beats default, and mistakes are found before anything starts."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mrengine import Budget, MapReduceRunner
from mrengine.errors import ChunkingError, ConfigError
from mrengine.settings import RunnerSettings, Settings, setting_fields


def test_an_argument_beats_the_environment_which_beats_the_default() -> None:
    environ = {"MRENGINE_WORKERS": "7", "MRENGINE_TARGET_TOKENS": "none", "MRENGINE_MODELS": "gpt-4o, fake"}
    settings = Settings.of({"workers": 2}, environ)
    assert settings.workers == 2
    assert settings.target_tokens is None
    assert settings.models == ["gpt-4o", "fake"]
    assert settings.slots == 1
    assert Settings.of({}, environ).workers == 7


def test_an_argument_of_none_beats_the_environment() -> None:
    """None is a value: it asks for the default model, whatever the environment names."""
    assert Settings.of({"models": None}, {"MRENGINE_MODELS": "gpt-4o"}).models is None


def test_an_environment_variable_that_is_no_number_is_named() -> None:
    with pytest.raises(ConfigError, match="MRENGINE_WORKERS='many' is not a number"):
        Settings.of({}, {"MRENGINE_WORKERS": "many"})


def test_an_environment_variable_that_is_no_flag_is_named() -> None:
    with pytest.raises(ConfigError, match="MRENGINE_TELEMETRY='maybe' is neither 1 nor 0"):
        Settings.of({}, {"MRENGINE_TELEMETRY": "maybe"})


def test_an_environment_variable_without_a_name_names_no_model() -> None:
    """As an empty list does: the error comes from whoever resolves models."""
    assert Settings.of({}, {"MRENGINE_MODELS": " , "}).models == []


def test_a_value_from_the_environment_is_checked_like_an_argument() -> None:
    with pytest.raises(ConfigError, match="priority='high'"):
        Settings.of({}, {"MRENGINE_PRIORITY": "high"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "workers=0: it is a whole number, at least 1 and at most 1024"),
        ({"workers": True}, "workers=True"),
        ({"slots": 5000}, "at most 4096"),
        ({"chunk_timeout_s": float("nan")}, "chunk_timeout_s=nan: it is a number"),
        ({"drain_s": -1}, "drain_s=-1"),
        ({"max_failed": 1.5}, "max_failed=1.5: it is a whole number"),
        ({"max_worker_rss": 0}, "max_worker_rss=0"),
        ({"target_tokens": "6000"}, "target_tokens='6000'"),
        ({"balance": "random"}, "balance='random': it is one of None, 'round_robin'"),
        ({"batch": 5}, r"batch=5: it is True, False or a Batch"),
        ({"strict": "no"}, "strict='no': it is True or False"),
        ({"address": ""}, "address='': it is a str, and not empty"),
        ({"budget": 5}, r"budget=5: write Budget\("),
        ({"limits": {"gpt-4o": 60_000}}, "limits: write"),
        ({"wokers": 5}, "unknown setting: wokers; did you mean workers?"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.of(given, {})


def test_an_overlap_as_large_as_the_target_is_refused() -> None:
    with pytest.raises(ChunkingError, match="overlap_tokens=50 leaves no room in target_tokens=50"):
        Settings.of({"target_tokens": 50, "overlap_tokens": 50}, {})


def test_a_budget_is_a_budget() -> None:
    assert Settings.of({"budget": Budget(max_tokens=5)}, {}).budget == Budget(max_tokens=5)


def test_type_checkers_know_every_setting_with_its_type() -> None:
    """The TypedDict of the keyword arguments repeats the dataclass, so it must not drift from it."""
    assert RunnerSettings.__annotations__.keys() == setting_fields().keys()
    for name, one in setting_fields().items():
        assert RunnerSettings.__annotations__[name].__forward_arg__ == one.type, name


def test_the_runners_signature_shows_every_setting_with_its_default() -> None:
    shown = inspect.signature(MapReduceRunner).parameters
    assert list(shown) == ["job_id", *setting_fields()]
    assert shown["chunk_timeout_s"].default == 600.0
