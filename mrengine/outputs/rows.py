"""Makes rows of outcomes, lazily: a dict for each result and failure, in chunk order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mrengine.log.format.values import Unstorable, normalise
from mrengine.records import ChunkFailure, ChunkResult

__all__ = ["flat", "rows_of"]

_LAST = 1 << 62  # a failure of a whole source has no chunk: it comes behind all others


def rows_of(results: Iterable[ChunkResult], failures: Iterable[ChunkFailure]) -> Iterator[dict[str, Any]]:
    """The rows of results and failures, both given in chunk order.

    Their keys are ``document_id``, ``chunk_id`` (None: a whole source), ``fields``, ``pages``, ``result``, ``model``,
    ``usage``, ``cost_usd`` and ``failure`` (None: there is a result), and ``result.NAME`` for each item of a dict.
    """
    done = ((result.chunk_id, _of_result(result)) for result in results)
    failed = ((_LAST if one.chunk_id < 0 else one.chunk_id, _of_failure(one)) for one in failures)
    for _, row in heapq.merge(done, failed, key=lambda item: item[0]):  # a merge reads both lazily
        yield row


def _of_result(r: ChunkResult) -> dict[str, Any]:
    try:
        value = normalise(r.result)
    except Unstorable:  # ``result_type`` may ask for a set, which has no plain form
        value = r.result
    parts = {f"result.{name}": item for name, item in value.items()} if isinstance(value, dict) else {}
    usage = {"input_tokens": r.usage.input_tokens, "output_tokens": r.usage.output_tokens}
    return _row(r) | {"result": value, "usage": usage, "cost_usd": r.cost_usd} | parts


def _of_failure(f: ChunkFailure) -> dict[str, Any]:
    return _row(f) | {"failure": f"{f.kind}: {f.message}"}


def _row(outcome: ChunkResult | ChunkFailure) -> dict[str, Any]:
    """The columns of an outcome, in their order."""
    return {
        "document_id": outcome.document_id,
        "chunk_id": outcome.chunk_id if outcome.chunk_id >= 0 else None,
        "fields": dict(outcome.fields),
        "pages": list(outcome.pages),
        "result": None,
        "model": outcome.model,
        "usage": None,
        "cost_usd": None,
        "failure": None,
    }


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as cells of a table: one for each field (``fields.NAME``) and number of tokens; pages as "3, 4"."""
    cells: dict[str, Any] = {}
    whole = not any(name.startswith("result.") for name in row)  # else its items have columns of their own
    for name, value in row.items():
        if name == "fields":
            cells |= {f"fields.{key}": item for key, item in value.items()}
        elif name == "usage":
            cells |= value or {"input_tokens": None, "output_tokens": None}
        elif name == "pages":
            cells["pages"] = ", ".join(map(str, value)) or None
        elif name != "result" or whole:
            cells[name] = value
    return cells
