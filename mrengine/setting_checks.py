"""Checks of settings and arguments: ConfigError names a value that cannot work, before anything starts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrengine.errors import ConfigError
from mrengine.model_settings import Batch, Budget, RateLimit

__all__ = [
    "ANSWERS",
    "FLAG",
    "NAMES",
    "PLACE",
    "TEXT",
    "Check",
    "check_batch",
    "check_budget",
    "check_count",
    "check_limits",
    "check_number",
    "check_value",
    "must_be",
]

Check = Callable[[str, Any], None]  # ConfigError for the setting of this name, if the value, never None, cannot work


def must_be(what: str, is_sound: Callable[[Any], bool]) -> Check:
    """The check of a value that is sound or not; ``what`` says in words what it must be."""

    def check(name: str, value: Any) -> None:
        if not is_sound(value):
            raise ConfigError(f"{name}={value!r}: it is {what}", setting=name)

    return check


def _is_answers(value: Any) -> bool:
    # A str with a separator is a path; one without is most likely "shared", misspelt.
    return value in ("job", "shared") or isinstance(value, os.PathLike) or (isinstance(value, str) and os.sep in value)


def _are_names(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)


TEXT = must_be("a str", lambda value: isinstance(value, str))
FLAG = must_be("True or False", lambda value: isinstance(value, bool))
PLACE = must_be("a str or a Path", lambda value: isinstance(value, (str, os.PathLike)) and value != "")
ANSWERS = must_be('"job", "shared" or a Path', _is_answers)
NAMES = must_be("a list of modules' names", _are_names)


def check_value(name: str, value: Any, facts: Mapping[str, Any]) -> None:
    """ConfigError: the value is none of the setting's choices, out of its bounds, or fails its check. ``facts``: the
    metadata of its field.
    """
    choices, least = facts["choices"], facts["least"]
    if choices and value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{name}={value!r}: it is one of {listed}", setting=name)
    if value is None:
        return
    if facts["check"] is not None:
        facts["check"](name, value)
    if least is None or (name == "target_tokens" and value in ("auto", "fit")):
        return
    kinds = (int,) if facts["whole"] else (int, float)
    bounds = f"at least {least:g}" + (f" and at most {facts['most']:g}" if facts["most"] < math.inf else "")
    # A bool is an int to Python: workers=True would be one worker.
    if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value <= facts["most"]:
        what = "a whole number" if facts["whole"] else "a number"
        raise ConfigError(f"{name}={value!r}: it is {what}, {bounds}", setting=name)


def check_budget(setting: str, budget: Any) -> None:
    """ConfigError: it is no Budget, or one that limits nothing."""
    if not isinstance(budget, Budget):
        raise ConfigError(f"{setting}={budget!r}: write Budget(max_tokens=…, max_cost_usd=…)", setting=setting)
    check_number("Budget.max_tokens", budget.max_tokens, least=1, setting=setting)
    check_number("Budget.max_cost_usd", budget.max_cost_usd, least=0, setting=setting)
    if budget.max_tokens is None and budget.max_cost_usd is None:  # its author believes that something is limited
        raise ConfigError(f"{setting}=Budget() limits nothing: give it max_tokens= or max_cost_usd=", setting=setting)
    if budget.per not in ("job", "run"):
        raise ConfigError(f"Budget.per={budget.per!r}: it is one of 'job', 'run'", setting=setting)


def check_limits(setting: str, limits: Any) -> None:
    """ConfigError: it is no mapping of names to limits."""
    if not isinstance(limits, Mapping) or not all(isinstance(limit, RateLimit) for limit in limits.values()):
        raise ConfigError(f"{setting}: write {{'gpt-4o': RateLimit(tpm=…, rpm=…)}}", setting=setting)


def check_batch(setting: str, batch: Any) -> None:
    """ConfigError: it is neither a bool nor a Batch, or a field of it cannot work."""
    if isinstance(batch, bool):
        return
    if not isinstance(batch, Batch):
        raise ConfigError(f"{setting}={batch!r}: it is True, False or a Batch(…)", setting=setting)
    for name in ("max_wait_s", "poll_s", "deadline_s"):
        check_number(f"Batch.{name}", getattr(batch, name), least=0, setting=setting)
    for name in ("max_requests", "max_bytes", "max_tokens"):
        check_number(f"Batch.{name}", getattr(batch, name), least=1, setting=setting)
    if batch.finish not in ("direct", "fail"):
        raise ConfigError(f"Batch.finish={batch.finish!r}: it is one of 'direct', 'fail'", setting=setting)


def check_number(name: str, value: Any, *, least: float = -math.inf, setting: str = "") -> Any:
    """The value, if it is None or a finite number of at least ``least``; else ConfigError."""
    # NaN is less than nothing and more than nothing: as a limit it would never be reached.
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not (number and value >= least):
        bound = f", at least {least:g}" if least > -math.inf else ""
        raise ConfigError(f"{name}={value!r}: it is a number{bound}", setting=setting or name)
    return value


def check_count(name: str, value: Any, *, setting: str = "") -> None:
    """ConfigError: the value is neither None nor a whole number of 1 or more."""
    if value is not None and (type(value) is not int or value < 1):  # type(): True is an int, and no number of things
        raise ConfigError(f"{name}={value!r}: a whole number, 1 or more", setting=setting or name)
