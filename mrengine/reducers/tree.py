"""Describes reduces by prompt: groups that are merged until one is left, or one text that is continued."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mrengine.errors import ConfigError
from mrengine.log.format.values import normalise
from mrengine.prompt_template import PromptMap, check_prompt
from mrengine.records import ChunkResult

__all__ = ["Merge", "RefinePrompt", "TreeReduce", "refine", "tree_reduce"]

SEPARATOR = "\n\n"


class Merge(Protocol):
    """The values that are merged, and their form in a call."""

    def first(self, results: Sequence[ChunkResult]) -> list[Any]:
        """A value for each result; None for one that adds nothing."""

    def text(self, values: Sequence[Any]) -> str:
        """The text of these values for one call."""

    def merged(self, answer: Any, values: Sequence[Any]) -> Any:
        """The value that replaces these values, by the call's answer."""


class ValueMerge:
    """Merges the results themselves, with a blank line between two."""

    def first(self, results: Sequence[ChunkResult]) -> list[Any]:
        """The results' values."""
        return [result.result for result in results]

    def text(self, values: Sequence[Any]) -> str:
        """Each as text: itself, its "text", or JSON."""
        return SEPARATOR.join(map(_as_text, values))

    def merged(self, answer: Any, values: Sequence[Any]) -> Any:
        """The answer."""
        return answer


@dataclass(frozen=True, slots=True)
class TreeReduce:
    """A reduce that runs on the pool, one round for each level. ``fan_in``: results in a group; None: as many as a call
    holds.

    ``running``: a level merges only the first two values that a document has left. ``most_tokens``: of a group, if a
    call has room for more than a chunk of the job; None: as many as a chunk.
    """

    prompt: Any = field(repr=False)  # a map function with a ``map_version``
    fan_in: int | None = None
    group_by: Literal["heading"] | None = None
    running: bool = False
    most_tokens: int | None = None
    merge: Merge = field(default_factory=ValueMerge)


@dataclass(frozen=True)
class RefinePrompt:
    """A prompt with two texts: ``$summary``, the answer so far, and ``$text``, the next result.

    Its chunk is a JSON list of both.
    """

    prompt: PromptMap

    def __call__(self, chunk: Any, context: Any) -> Any:
        """The answer over both."""
        summary, text = json.loads(chunk.text)
        return self.prompt.asked(context, (text, summary), chunk.tokens)

    @property
    def map_version(self) -> str:
        """The prompt's."""
        return f"refine-{self.prompt.map_version}"

    @property
    def result_type(self) -> Any:
        """The prompt's."""
        return self.prompt.result_type


def tree_reduce(
    prompt: str,
    *,
    group_by: Literal["heading"] | None = None,
    max_tokens: int | None = 1024,
    response_model: Any = None,
    system: str | None = None,
    on_truncation: str = "error",
    fan_in: int | None = None,
    query: str | None = None,
) -> TreeReduce:
    """A reduce function that asks a model: ``$text`` in the prompt stands for the joined results.

    The calls are durable, budgeted and resumed like those of the map round. A single result is passed on as it is.
    ``group_by="heading"``: sections are merged first, if documents have headings. ``max_tokens`` None: half as many as
    the joined results have. ``query``: stands for ``$query``, as data.
    """
    if fan_in is not None and (type(fan_in) is not int or fan_in < 2):
        raise ConfigError(f"fan_in={fan_in!r}: a whole number, as a group has at least 2 results", setting="fan_in")
    check_group_by(group_by)
    prompt_map = PromptMap(prompt, system, max_tokens, None, response_model, on_truncation, query=query)
    return TreeReduce(check_prompt(prompt_map), fan_in, group_by)


def refine(
    prompt: str,
    *,
    max_tokens: int | None = 1024,
    response_model: Any = None,
    system: str | None = None,
    on_truncation: str = "error",
    query: str | None = None,
) -> TreeReduce:
    """A reduce function that goes through the results in order: ``$summary`` is the answer so far (at first, the first
    result), ``$text`` the next result. It makes one call fewer than there are results, one after the other.
    """
    prompt_map = PromptMap(prompt, system, max_tokens, None, response_model, on_truncation, query=query)
    return TreeReduce(RefinePrompt(check_prompt(prompt_map)), running=True)


def check_group_by(group_by: Any) -> None:
    """ConfigError for anything by which results are not grouped."""
    if group_by not in (None, "heading"):
        raise ConfigError(f"group_by={group_by!r}: it is None or 'heading'", setting="group_by")


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    value = normalise(value)  # results with a type are instances
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return json.dumps(value, ensure_ascii=False, default=str)
