"""Owns the levels of a reduce by prompt: which results go into one call, until each document has one answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mrengine.host.job_identity import AUTO_TARGET, MapFunction
from mrengine.host.job_run import JobRun
from mrengine.mapfn.pickling import pack_function
from mrengine.records import ChunkResult
from mrengine.reducers.tree import TreeReduce

__all__ = ["groups_of", "play_tree"]

SEPARATOR = "\n\n"
Item = tuple[str, Any]


def play_tree(run: JobRun, tree: TreeReduce, results: Sequence[ChunkResult], *, per_document: bool) -> Any:
    """The answer over all results, or ``{document_id: answer}``. Raises what a round raises."""
    first = results[0].document_id
    items: list[Item] = [(r.document_id if per_document else first, r.result) for r in results if r.result is not None]
    mapping = MapFunction(
        version=tree.prompt.map_version,
        name="tree_reduce",
        python="",
        source=None,
        blob=pack_function(tree.prompt, setting="reduce_fn"),
        function=tree.prompt,
    )
    limit = run.cut_tokens() or AUTO_TARGET
    level = 0
    while len({name for name, _ in items}) < len(items):
        level += 1
        groups = groups_of(items, limit, tree.fan_in)
        played = run.play_round(level, groups, mapping)
        items = [(result.document_id, result.result) for result in played if result.result is not None]
    answers = {result.document_id: None for result in results} | dict(items)
    return answers if per_document else answers[first]


def groups_of(items: Sequence[Item], limit: int, fan_in: int | None) -> list[tuple[str, str]]:
    """Texts for one call each, of neighbours of one document: as many as ``limit`` tokens hold, and two at least."""
    from mrengine.chunking.tokens import tokenizer

    groups: list[tuple[str, list[str], int]] = []
    for name, value in items:
        text = as_text(value)
        size = tokenizer.count(text)
        if groups and groups[-1][0] == name and _has_room(groups[-1], size, limit, fan_in):
            _, texts, total = groups.pop()
            groups.append((name, [*texts, text], total + size))
        else:
            groups.append((name, [text], size))
    return [(name, SEPARATOR.join(texts)) for name, texts, _ in groups]


def _has_room(group: tuple[str, list[str], int], size: int, limit: int, fan_in: int | None) -> bool:
    _, texts, total = group
    if len(texts) < 2:
        return True  # else a level could leave as many as it found
    return len(texts) < fan_in if fan_in is not None else total + size <= limit


def as_text(value: Any) -> str:
    """A result as text for a prompt: itself, its "text", or JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return json.dumps(value, ensure_ascii=False, default=str)
