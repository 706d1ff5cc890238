"""Reducers that join or count what they are given: collect, vote, concatenate, and the medical report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from mrengine.log.format.values import normalise
from mrengine.records import ChunkFailure, ChunkResult

__all__ = ["collect", "concatenate", "failures_of", "in_order", "medical_report_aggregator", "text_of", "vote"]

Key = str | Callable[[Any], Any]

RULE = "\n\n---\n\n"  # with blank lines: right under a line of text, markdown takes --- for a heading's underline


def collect(
    results: Sequence[ChunkResult] | None = None, *, unique: bool | Key = False, count: bool | Key = False
) -> Any:
    """The results' values as a list, in chunk order. ``collect(unique=True)`` is a reduce function with an option.

    ``unique``: each value once, as it came first; the values of results that are lists are taken one by one, and None
    is left out. A function, or the name of a field, says what makes two the same. ``count``: ``{value: how often}``
    instead, the most frequent first; what is no str is named by its JSON. Raises TypeError for a value that has no such
    field.
    """
    if results is None:
        return partial(collect, unique=unique, count=count)
    values = [item.result for item in in_order(results)]
    if unique is False and count is False:
        return values
    key = next((_key(option) for option in (count, unique) if option is not False and option is not True), _plain)
    singles = [one for value in values for one in (value if isinstance(value, (list, tuple)) else (value,))]
    singles = [one for one in singles if one is not None]
    if count is not False:
        return dict(Counter(_named(key(one)) for one in singles).most_common())
    first: dict[str, Any] = {}
    for one in singles:
        first.setdefault(_named(key(one)), one)
    return list(first.values())


def _key(option: Any) -> Callable[[Any], Any]:
    if callable(option):
        return cast("Callable[[Any], Any]", option)
    return lambda value: value[option] if isinstance(value, Mapping) else getattr(value, option)


def _plain(value: Any) -> Any:
    return value


def _named(value: Any) -> str:
    plain = normalise(value)
    return plain if isinstance(plain, str) else json.dumps(plain, sort_keys=True, ensure_ascii=False, default=repr)


def vote(results: Sequence[ChunkResult]) -> dict[str, Any]:
    """What most results say, over all chunks: ``{"value", "share", "votes"}``.

    ``votes`` counts each value (by its JSON, where it is no str), the most frequent first; ``share`` is that of
    ``value``. A result with a ``"prediction"`` votes for this; None is no vote. A tie goes to the value that came
    first. ``value`` is None where nobody voted.
    """
    values = [normalise(item.result) for item in in_order(results)]
    said = [one.get("prediction") if isinstance(one, Mapping) and "prediction" in one else one for one in values]
    said = [one for one in said if one is not None]
    counts = Counter(_named(one) for one in said)
    if not counts:
        return {"value": None, "share": 0.0, "votes": {}}
    winner, votes = counts.most_common(1)[0]
    value = next(one for one in said if _named(one) == winner)
    return {"value": value, "share": votes / len(said), "votes": dict(counts.most_common())}


def concatenate(results: Sequence[ChunkResult]) -> str:
    """The results' texts in chunk order, a blank line between two. A result of None adds nothing.

    Raises TypeError for a result that is no text and has none (see ``text_of``).
    """
    return "\n\n".join(text for item in in_order(results) if (text := text_of(item)) is not None)


def medical_report_aggregator(results: Sequence[ChunkResult]) -> dict[str, Any]:
    """Join the sections of a report, in chunk order, and say what it is made of.

    Returns ``{"full_report": str, "metadata": {"total_sections": int, "models": [str, …] in order of appearance,
    "total_output_tokens": int, "missing": [chunk id, …]}}``. ``missing`` are the chunks without a section: those that
    failed, and those whose result is None. Raises TypeError for a result that has no text (see ``text_of``).
    """
    ordered = in_order(results)
    sections = [(item, text) for item in ordered if (text := text_of(item)) is not None]
    present = {item.chunk_id for item, _ in sections}
    known = {item.chunk_id for item in ordered} | {failure.chunk_id for failure in failures_of(results)}
    return {
        "full_report": RULE.join(text for _, text in sections),
        "metadata": {
            "total_sections": len(sections),
            "models": list(dict.fromkeys(item.model for item, _ in sections if item.model is not None)),
            "total_output_tokens": sum(item.usage.output_tokens for item in ordered),
            "missing": sorted(known - present),
        },
    }


def in_order(results: Sequence[ChunkResult]) -> list[ChunkResult]:
    """By chunk; several results of one chunk stay as they come, which is the order of the models."""
    return sorted(results, key=lambda item: item.chunk_id)


def failures_of(results: Sequence[ChunkResult]) -> Sequence[ChunkFailure]:
    """The failures that came with the results; a plain list has none."""
    failures: Sequence[ChunkFailure] = getattr(results, "failures", ())
    return failures


def text_of(item: ChunkResult) -> str | None:
    """The result itself if it is a str, else its ``text``; None for a result of None.

    Raises TypeError for anything else. The message names the chunk and the type, never the value.
    """
    value = item.result
    text = value.get("text") if isinstance(value, Mapping) else getattr(value, "text", value)
    if text is None and value is None:
        return None
    if not isinstance(text, str):
        kind = type(value).__name__
        raise TypeError(f'chunk {item.chunk_id}: a str or a dict with a str under "text" is needed, not {kind}')
    return text
