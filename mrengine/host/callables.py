"""Checks the caller's functions before any work: plain functions that accept what they will be passed."""

from __future__ import annotations

import inspect
from typing import Any

from mrengine.errors import ConfigError
from mrengine.reducers.tree import TreeReduce

__all__ = ["check_map", "check_reduce"]


def check_map(map_fn: Any) -> None:
    """ConfigError: it is no function of (chunk, context) that returns its result."""
    if not callable(map_fn):
        made = "; map_prompt(…) makes one of a prompt" if isinstance(map_fn, str) else ""
        raise ConfigError(f"map_fn is of type {type(map_fn).__name__}, not a function{made}", setting="map_fn")
    if _is_async(map_fn):
        way = "make it a plain function, which may end in asyncio.run(…): workers have no event loop"
        raise ConfigError(f"map_fn is an async function: {way}", setting="map_fn")
    if any(inspect.isgeneratorfunction(function) for function in (map_fn, type(map_fn).__call__)):
        raise ConfigError("map_fn is a generator function (it yields): return a list", setting="map_fn")
    _check_arguments(map_fn, "map_fn", "chunk", "context")


def check_reduce(reduce_fn: Any) -> None:
    """ConfigError: it is neither None, a reduce by prompt, nor a function of (results)."""
    if reduce_fn is None or isinstance(reduce_fn, TreeReduce):
        return
    if not callable(reduce_fn):
        made = "; tree_reduce(…) makes one of a prompt" if isinstance(reduce_fn, str) else ""
        raise ConfigError(f"reduce_fn is of type {type(reduce_fn).__name__}, not a function{made}", setting="reduce_fn")
    if _is_async(reduce_fn):
        raise ConfigError("reduce_fn is an async function: make it a plain one", setting="reduce_fn")
    _check_arguments(reduce_fn, "reduce_fn", "results")


def _is_async(function: Any) -> bool:
    both = (function, type(function).__call__)
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in both)


def _check_arguments(function: Any, setting: str, *names: str) -> None:
    """A function that cannot be called so would fail in each chunk, or when all of them are paid for."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of C, or with a signature of its own making
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        name = getattr(function, "__qualname__", type(function).__qualname__)
        message = f"{setting} {name}{signature} is called with ({', '.join(names)})"
        raise ConfigError(f"{message}: {error}", setting=setting) from None
