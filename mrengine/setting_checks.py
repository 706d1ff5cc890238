"""Checks of single settings: types, choices and bounds."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrengine.errors import ConfigError
from mrengine.profiling import PerformanceCollector
from mrengine.records import Batch

__all__ = ["KINDS", "check_value"]


def _is_answers(value: Any) -> bool:
    # A str with a separator is a path; one without is most likely "shared", misspelt.
    return value in ("job", "shared") or isinstance(value, os.PathLike) or (isinstance(value, str) and os.sep in value)


def _are_names(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)


KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "address": ("a str", lambda value: isinstance(value, str) and value != ""),
    "batch": ("True, False or a Batch(…)", lambda value: isinstance(value, (bool, Batch))),
    "backend": ("the name of one", lambda value: isinstance(value, str)),
    "encoding": ("a str", lambda value: isinstance(value, str)),
    "map_version": ("a str", lambda value: isinstance(value, str)),
    "initializer": ("a function", callable),
    "initargs": ("a tuple or list of arguments", lambda value: isinstance(value, (tuple, list))),
    "preload": ("a list of modules' names", _are_names),
    "state_dir": ("a str or a Path", lambda value: isinstance(value, (str, os.PathLike)) and value != ""),
    "answers": ('"job", "shared" or a Path', _is_answers),
    "single_flight": ("True or False", lambda value: isinstance(value, bool)),
    "collector": ("a PerformanceCollector", lambda value: isinstance(value, PerformanceCollector)),
    "strict": ("True or False", lambda value: isinstance(value, bool)),
    "progress": ("True, False or None", lambda value: isinstance(value, bool)),
}


def check_value(name: str, value: Any, facts: Mapping[str, Any]) -> None:
    """ConfigError: the value is not among the choices in the setting's metadata, or is out of its bounds."""
    choices, least = facts["choices"], facts["least"]
    if choices and value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{name}={value!r}: it is one of {listed}", setting=name)
    if least is None or value is None or (name == "target_tokens" and value in ("auto", "fit")):
        return
    kinds = (int,) if facts["whole"] else (int, float)
    bounds = f"at least {least:g}" + (f" and at most {facts['most']:g}" if facts["most"] < math.inf else "")
    # A bool is an int to Python: workers=True would be one worker.
    if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value <= facts["most"]:
        what = "a whole number" if facts["whole"] else "a number"
        raise ConfigError(f"{name}={value!r}: it is {what}, {bounds}", setting=name)
