"""Owns what a reduce function is given: all results, or those of one document, with the failures beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mrengine.log.view.results import Results
from mrengine.records import ChunkFailure, ChunkResult

__all__ = ["reduced"]


def reduced(results: Results, reduce_fn: Callable[[Any], Any] | None, *, per_document: bool) -> Any:
    """The value of ``reduce_fn`` over all results, or over those of each document; the results where there is none."""
    if not per_document:
        return results if reduce_fn is None else reduce_fn(results)
    groups: dict[str, _Group] = {}
    for result in results:
        groups.setdefault(result.document_id, _Group()).append(result)
    for failure in results.failures:
        if failure.document_id in groups:
            groups[failure.document_id].failures.append(failure)
    return {name: group if reduce_fn is None else reduce_fn(group) for name, group in groups.items()}


class _Group(list[ChunkResult]):
    """The results of one document, with its failures beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[ChunkFailure] = []
