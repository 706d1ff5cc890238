"""Reducers that join or count the results: collect, vote, concatenate, and the medical report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mrengine.log.format.values import normalise
from mrengine.records import ChunkFailure, ChunkResult

__all__ = [
    "collect",
    "concatenate",
    "failures_of",
    "in_order",
    "label_of",
    "medical_report_aggregator",
    "text_of",
    "vote",
]

Key = str | Callable[[Any], Any]

RULE = "\n\n---\n\n"  # with blank lines: right under a line of text, markdown takes --- for a heading's underline


def collect(
    results: Sequence[ChunkResult] | None = None, *, unique: bool | Key = False, count: bool | Key = False
) -> Any:
    """The results' values as a list, in chunk order. ``collect(unique=True)`` is a reduce function with an option.

    ``unique``: each value once, in the order of first appearance; lists contribute their items one by one, and None is
    left out. A function, or the name of a field, is the key by which values are the same. ``count``: ``{value: how
    often}`` instead, the most frequent first; values other than str become their JSON. TypeError for a value without
    that field.
    """
    if results is None:
        return partial(collect, unique=unique, count=count)
    values = [item.result for item in in_order(results)]
    if unique is False and count is False:
        return values
    key = _key(unique if isinstance(count, bool) else count)
    singles = [one for value in values for one in (value if isinstance(value, (list, tuple)) else (value,))]
    singles = [one for one in singles if one is not None]
    if count is not False:
        return dict(Counter(label_of(key(one)) for one in singles).most_common())
    first: dict[str, Any] = {}  # by JSON: lists and dicts cannot be hashed
    for one in singles:
        first.setdefault(label_of(key(one)), one)
    return list(first.values())


def _key(option: bool | Key) -> Callable[[Any], Any]:
    if isinstance(option, bool):
        return lambda value: value
    if isinstance(option, str):
        return lambda value: value[option] if isinstance(value, Mapping) else getattr(value, option)
    return option


def label_of(value: Any) -> str:
    """A str as it is, anything else as JSON: equal values have one label, whatever the order of their keys."""
    plain = normalise(value)
    return plain if isinstance(plain, str) else json.dumps(plain, sort_keys=True, ensure_ascii=False, default=repr)


def vote(results: Sequence[ChunkResult]) -> dict[str, Any]:
    """The most frequent value over all chunks: ``{"value", "share", "votes"}``.

    ``votes`` counts each value (by its JSON, unless it is a str), the most frequent first; ``share`` is the winner's
    part of all votes. A result with a ``"prediction"`` votes for that; None is no vote. A tie goes to the value that
    came first. ``value`` is None if there are no votes.
    """
    values = [normalise(item.result) for item in in_order(results)]
    ballots = [one.get("prediction") if isinstance(one, Mapping) and "prediction" in one else one for one in values]
    ballots = [one for one in ballots if one is not None]
    counts = Counter(label_of(one) for one in ballots)
    if not counts:
        return {"value": None, "share": 0.0, "votes": {}}
    winner, votes = counts.most_common(1)[0]
    value = next(one for one in ballots if label_of(one) == winner)  # the value itself, of which the winner is the JSON
    return {"value": value, "share": votes / len(ballots), "votes": dict(counts.most_common())}


def concatenate(results: Sequence[ChunkResult]) -> str:
    """The results' texts in chunk order, with a blank line between two. None adds nothing.

    TypeError for a result without a text (see ``text_of``).
    """
    return "\n\n".join(text for item in in_order(results) if (text := text_of(item)) is not None)


def medical_report_aggregator(results: Sequence[ChunkResult]) -> dict[str, Any]:
    """Join the sections of a report, in chunk order, with metadata.

    Returns ``{"full_report": str, "metadata": {"total_sections": int, "models": [str, …] in order of appearance,
    "total_output_tokens": int, "missing": [chunk id, …]}}``. ``missing``: the chunks without a section, which failed or
    whose result is None. TypeError for a result without a text (see ``text_of``).
    """
    ordered = in_order(results)
    sections = [(item, text) for item in ordered if (text := text_of(item)) is not None]
    present = {item.chunk_id for item, _ in sections}
    all_chunks = {item.chunk_id for item in ordered} | {failure.chunk_id for failure in failures_of(results)}
    return {
        "full_report": RULE.join(text for _, text in sections),
        "metadata": {
            "total_sections": len(sections),
            "models": list(dict.fromkeys(item.model for item, _ in sections if item.model is not None)),
            "total_output_tokens": sum(item.usage.output_tokens for item in ordered),
            "missing": sorted(all_chunks - present),
        },
    }


def in_order(results: Sequence[ChunkResult]) -> list[ChunkResult]:
    """The results sorted by chunk; those of one chunk keep their order, which is that of the models."""
    return sorted(results, key=lambda item: item.chunk_id)


def failures_of(results: Sequence[ChunkResult]) -> Sequence[ChunkFailure]:
    """The failures that come with a run's results; a plain list has none."""
    failures: Sequence[ChunkFailure] = getattr(results, "failures", ())
    return failures


def text_of(item: ChunkResult) -> str | None:
    """The result itself if it is a str, else its ``text``; None for a result of None.

    TypeError for anything else, with the chunk and the type.
    """
    # The message never shows the value: text of a document stands in no exception (docs/design.md, promise 7).
    value = item.result
    # A str has no attribute ``text``, and stands for itself.
    text = value.get("text") if isinstance(value, Mapping) else getattr(value, "text", value)
    if text is None and value is None:
        return None
    if not isinstance(text, str):
        kind = type(value).__name__
        raise TypeError(f'chunk {item.chunk_id}: a str or a dict with a str under "text" is needed, not {kind}')
    return text
