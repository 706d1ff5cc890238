"""Describes reduces by prompt: groups of results are merged until one is left, or one text is refined step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mrengine.errors import ConfigError
from mrengine.log.format.values import normalise
from mrengine.prompt_template import PromptMap, check_prompt
from mrengine.records import ChunkResult

__all__ = ["Merge", "RefinePrompt", "TreeReduce", "ValueMerge", "check_group_by", "refine", "tree_reduce"]

SEPARATOR = "\n\n"


class Merge(Protocol):
    """How a reduce by prompt merges values: their text for a call, and the value that replaces them."""

    def first(self, results: Sequence[ChunkResult]) -> list[Any]:
        """A value for each result; None for a result that adds nothing."""

    def text(self, values: Sequence[Any]) -> str:
        """The text of these values for one call."""

    def merged(self, answer: Any, values: Sequence[Any]) -> Any:
        """The value that replaces these values, made of the call's answer."""


class ValueMerge:
    """Merges the results themselves, with a blank line between two."""

    def first(self, results: Sequence[ChunkResult]) -> list[Any]:
        """The results' values."""
        return [result.result for result in results]

    def text(self, values: Sequence[Any]) -> str:
        """The values as texts (a str itself, a dict's "text", else JSON), with a blank line between two."""
        return SEPARATOR.join(map(_as_text, values))

    def merged(self, answer: Any, values: Sequence[Any]) -> Any:
        """The call's answer as it is."""
        return answer


@dataclass(frozen=True, slots=True)
class TreeReduce:
    """A reduce that runs on the pool, one round for each level.

    ``fan_in``: how many results a group has; None: as many as fit into a call. ``running``: each level merges only the
    first two values that a document has left. ``most_tokens``: how large a group may be, where a call has room for more
    than a chunk of the job; None: as large as a chunk.
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
        """Ask the prompt with both texts."""
        summary, text = json.loads(chunk.text)
        return self.prompt.refined(context, summary, text, chunk.tokens)

    @property
    def map_version(self) -> str:
        """The version of the prompt, marked as one of a refine."""
        return f"refine-{self.prompt.map_version}"

    @property
    def result_type(self) -> Any:
        """The type of the prompt's answer."""
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
    # A level of groups of one would leave as many results as it began with. A bool is an int, and no number here.
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
    """A reduce function that goes through the results in order: ``$summary`` is the answer so far, ``$text`` the next
    result. It begins with the first result as the answer, so it makes one call fewer than there are results, in a row.
    """
    prompt_map = PromptMap(prompt, system, max_tokens, None, response_model, on_truncation, query=query)
    return TreeReduce(RefinePrompt(check_prompt(prompt_map)), running=True)


def check_group_by(group_by: Any) -> None:
    """ConfigError unless results can be grouped by this."""
    if group_by not in (None, "heading"):
        raise ConfigError(f"group_by={group_by!r}: it is None or 'heading'", setting="group_by")


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    value = normalise(value)  # results with a type are instances
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return json.dumps(value, ensure_ascii=False, default=str)
