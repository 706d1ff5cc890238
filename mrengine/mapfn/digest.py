"""The digest of a map function: equal in every process, different after every edit that matters.

It covers, in canonical msgpack and never by repr, marshal or pickle: bytecode, constants, names, defaults, closure
values, and the values of the globals that the code names, recursively through the user's modules (functions, classes,
strings, numbers, containers with sets sorted); installed packages by name and version. File names and line numbers are
left out. Dicts keep their order, which code can observe; annotations count in classes only, where dataclasses and
pydantic read them.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from mrengine.errors import ConfigError
from mrengine.mapfn import hash_code
from mrengine.mapfn.hash_values import Fingerprint, Undigestible

__all__ = ["digest", "name_of", "parts"]

MOST_PARTS = 64  # they only explain a mismatch, and each JOB record holds them


def digest(function: Callable[..., Any]) -> str:
    """The digest of a map function, 32 hex digits. ConfigError names a value in it that has none."""
    name = name_of(function)
    try:
        return Fingerprint().of(function, name)
    except Undigestible as error:
        message = (
            f"{error.path} ({error.what}) is used by {name} and has no digest, by which a resumed job would know that "
            "it is unchanged; make it inside the function or in initializer=, or name the version yourself: "
            "map_version='1', and another one after every edit that matters"
        )
        raise ConfigError(message, setting="map_version") from None


def name_of(function: object) -> str:
    """The name of a function, of what a partial calls, or of an object's class, as module:qualname."""
    inner = getattr(function, "func", function)
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{getattr(named, '__module__', '?')}:{getattr(named, '__qualname__', '?')}"


def parts(function: Callable[..., Any]) -> dict[str, str]:
    """Short digests of the parts of a map function, by name: its code, its defaults, and what it names.

    They show what was edited; ``digest`` decides whether anything was. Empty for a callable without Python code.
    """
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(getattr(inner, "__func__", inner))
    if not isinstance(inner, types.FunctionType):
        return {}
    globals_, attributes, _ = hash_code.names_of(inner.__code__)
    named = {name: inner.__globals__[name] for name in globals_ if name in inner.__globals__}
    named |= hash_code.closed_over(inner)
    digests = {
        "its code": _short(lambda fp: hash_code.code(fp, inner.__code__, "code")),
        "its defaults": _short(lambda fp: fp.add([inner.__defaults__, inner.__kwdefaults__], "defaults")),
    }
    for name, value in list(named.items())[:MOST_PARTS]:
        digests[name] = _short(lambda fp, value=value, name=name: hash_code.named(fp, value, name, attributes))  # type: ignore[misc]
    return digests


def _short(enter: Callable[[Fingerprint], None]) -> str:
    fp = Fingerprint()
    enter(fp)
    return fp.hexdigest()[:8]
