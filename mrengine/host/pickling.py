"""Owns how functions travel to workers: cloudpickle, and an error that names the variable that cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cloudpickle

from mrengine.errors import ConfigError

__all__ = ["pack_function"]


def pack_function(function: Any, *, setting: str) -> bytes:
    """The cloudpickle of a function. ConfigError: the variable that cannot travel, by name."""
    try:
        packed: bytes = cloudpickle.dumps(function)
    except Exception as error:  # noqa: BLE001  # whatever a value's own __reduce__ raises
        culprit = next((name for name, value in _variables(function) if not _travels(value)), None)
        what = f"it uses {culprit}, which" if culprit else "it"
        raise ConfigError(
            f"{setting} {_name(function)!r} cannot be sent to the workers: {what} cannot be pickled "
            f"({type(error).__name__}). Make it inside the function, or in initializer=",
            setting=setting,
        ) from None
    return packed


def _travels(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001
        return False
    return True


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _variables(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function refers to: closure, defaults, globals; the fields of an object, the arguments of a partial."""
    code = getattr(function, "__code__", None)
    if code is not None:
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
            try:
                yield f"the variable {name!r}", cell.cell_contents
            except ValueError:
                continue  # not assigned yet
        for value in function.__defaults__ or ():
            yield "a default argument", value
        for name in code.co_names:
            if name in function.__globals__:
                yield f"the global {name!r}", function.__globals__[name]
    for value in getattr(function, "args", ()) or ():
        yield "an argument of partial()", value
    for name, value in getattr(function, "__dict__", {}).items():
        yield f"the attribute {name!r}", value
    if getattr(function, "__self__", None) is not None:
        yield "the object it is a method of", function.__self__
