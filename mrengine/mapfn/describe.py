"""Describes a map function for the log: its version, its name, and where a job resumed by its id finds it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError
from mrengine.mapfn.digest import digest, name_of, parts
from mrengine.mapfn.module_origin import is_own
from mrengine.mapfn.pickling import pack_function
from mrengine.prompt_template import PromptMap

__all__ = ["MapFunction", "describe_map", "shown"]


@dataclass(frozen=True, slots=True)
class MapFunction:
    """A map function as the log describes it. ``source``: "module:qualname" or a prompt's fields; None: it cannot be
    found again by either. ``result_type``: the declared type of its results; None: any.
    """

    version: str
    name: str
    python: str
    source: str | Mapping[str, Any] | None
    blob: bytes = field(default=b"", repr=False)
    function: Any = field(default=None, repr=False, compare=False)
    parts: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    folder: str = ""  # the entry of sys.path with the user's own module
    result_type: Any = field(default=None, repr=False, compare=False)
    result_blob: bytes = field(default=b"", repr=False)


def shown(mapping: MapFunction) -> MapFunction:
    """The same function, of the same version; if it is a prompt, its answer is shown while it is written."""
    function = mapping.function
    prompt = getattr(function, "prompt", function)
    if not isinstance(prompt, PromptMap) or prompt.response_model is not None:
        return mapping
    showing: Any = replace(prompt, shown=True)
    if function is not prompt:
        showing = replace(function, prompt=showing)
    return replace(mapping, function=showing, blob=pack_function(showing, setting="map_fn"))


def describe_map(map_fn: Callable[..., Any], *, version: str | None, named: bool, blob: bytes) -> MapFunction:
    """Describe a map function. ``named``: the job has a name, so that ConfigError for a function without a digest."""
    prompt = getattr(map_fn, "prompt_fields", None)
    source: str | Mapping[str, Any] | None = prompt() if callable(prompt) else _importable(map_fn)
    name = getattr(map_fn, "__qualname__", type(map_fn).__qualname__)
    values: Mapping[str, str] = {}
    python = ""  # only for a digest: each minor version has other bytecode
    version = version if version is not None else getattr(map_fn, "map_version", None)
    if not isinstance(version, str):
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        try:
            version, name, values = digest(map_fn), name_of(map_fn), parts(map_fn)
        except ConfigError:
            if named:
                raise
            version = ""  # a job without a name is never resumed, and needs no version
    folder = _folder_of(map_fn.__module__) if isinstance(source, str) else ""
    return MapFunction(version, name, python, source, blob, map_fn, values, folder)


def _importable(map_fn: Callable[..., Any]) -> str | None:
    module, name = getattr(map_fn, "__module__", None), getattr(map_fn, "__qualname__", "")
    if not module or not name or module == "__main__" or "<" in name:  # a partial or an object has no name
        return None
    return f"{module}:{name}"


def _folder_of(name: str) -> str:
    """The folder in which a job resumed by its id finds this module; "" for an installed one, which needs none."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(file, str) or not is_own(name):
        return ""
    path = Path(os.path.abspath(file))
    inside = name.count(".") + (path.stem == "__init__")
    return os.fspath(path.parents[inside])
