"""Owns the description of a reduce by prompt: results are joined in groups, a model answers for each, until one is
left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mrengine.errors import ConfigError
from mrengine.prompts import PromptMap, check_prompt

__all__ = ["TreeReduce", "tree_reduce"]


@dataclass(frozen=True, slots=True)
class TreeReduce:
    """A reduce that runs on the pool, a round a level. ``fan_in``: results a group; None: as many as a call holds."""

    prompt: Any = field(repr=False)  # a map function with a ``map_version``
    fan_in: int | None = None


def tree_reduce(
    prompt: str,
    *,
    max_tokens: int = 1024,
    response_model: Any = None,
    system: str | None = None,
    on_truncation: str = "error",
    fan_in: int | None = None,
) -> TreeReduce:
    """A reduce function that asks a model: ``$text`` in the prompt stands for the joined results.

    The calls are durable, budgeted and resumed as those of the map round. A single result is passed on as it is.
    """
    if fan_in is not None and (type(fan_in) is not int or fan_in < 2):
        raise ConfigError(f"fan_in={fan_in!r}: a whole number, as a group has at least 2 results", setting="fan_in")
    return TreeReduce(check_prompt(PromptMap(prompt, system, max_tokens, None, response_model, on_truncation)), fan_in)
