"""A map function as the log knows it: its version, its name, and how a job that goes on by its id finds it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError
from mrengine.mapfn.digest import digest, parts
from mrengine.mapfn.module_origin import is_own
from mrengine.mapfn.pickling import pack_function
from mrengine.prompts import PromptMap

__all__ = ["MapFunction", "describe_map", "shown"]


@dataclass(frozen=True, slots=True)
class MapFunction:
    """A map function as the log knows it. ``source``: "module:qualname" or a prompt's fields, None where neither
    helps. ``result_type``: what its results are, where the caller says so; None: any.
    """

    version: str
    name: str
    python: str
    source: str | Mapping[str, Any] | None
    blob: bytes = field(default=b"", repr=False)
    function: Any = field(default=None, repr=False, compare=False)
    parts: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    folder: str = ""  # the entry of sys.path that a module of the user's own was found in
    result_type: Any = field(default=None, repr=False, compare=False)
    result_blob: bytes = field(default=b"", repr=False)


def shown(mapping: MapFunction) -> MapFunction:
    """The same function, whose answer is shown while it is written, where it is a prompt. Its version is the same."""
    function = mapping.function
    prompt = getattr(function, "prompt", function)
    if not isinstance(prompt, PromptMap) or prompt.response_model is not None:
        return mapping
    seen: Any = replace(prompt, shown=True)
    if function is not prompt:
        seen = replace(function, prompt=seen)
    return replace(mapping, function=seen, blob=pack_function(seen, setting="map_fn"))


def describe_map(map_fn: Callable[..., Any], *, version: str | None, named: bool, blob: bytes) -> MapFunction:
    """Name a map function's version. A job without a name is never resumed: there a function may have no digest."""
    prompt = getattr(map_fn, "prompt_fields", None)
    source: str | Mapping[str, Any] | None = prompt() if callable(prompt) else _importable(map_fn)
    name = getattr(map_fn, "__qualname__", type(map_fn).__qualname__)
    values: Mapping[str, str] = {}
    python = ""  # bytecode is another in each minor version; names are not
    known = version if version is not None else getattr(map_fn, "map_version", None)
    if not isinstance(known, str):
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        try:
            found = digest(map_fn)
            known, name, values = found.digest, found.name, parts(map_fn)
        except ConfigError:
            if named:
                raise
            known = ""
    folder = _folder_of(map_fn.__module__) if isinstance(source, str) else ""
    return MapFunction(known, name, python, source, blob, map_fn, values, folder)


def _importable(map_fn: Callable[..., Any]) -> str | None:
    module, name = getattr(map_fn, "__module__", None), getattr(map_fn, "__qualname__", "")
    if not module or not name or module == "__main__" or "<" in name:  # without a name: a partial, an object
        return None
    return f"{module}:{name}"


def _folder_of(name: str) -> str:
    """Where a job that goes on by its id finds this module again; "" for installed ones, which are found anyway."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(file, str) or not is_own(name):
        return ""
    path = Path(os.path.abspath(file))
    inside = name.count(".") + (path.stem == "__init__")
    return os.fspath(path.parents[inside])
