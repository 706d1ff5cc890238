"""Anthropic's message batches: https://platform.claude.com/docs/en/build-with-claude/batch-processing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO

from mrengine.providers.batches.client import UNDONE, Answer, BatchClient, BatchStatus, Limits
from mrengine.providers.http.anthropic_messages import PATH

__all__ = ["AnthropicBatches"]

_STATES = {"canceling": "cancelling", "ended": "ended"}
_STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip
_ROOT = f"{PATH}/batches"


class AnthropicBatches(BatchClient):
    """The create call holds all requests, and one file all results. There are no metadata."""

    ROOT, AFTER = _ROOT, "after_id"
    LIMITS = Limits(100_000, 256_000_000)
    OPENING = b'{"requests":['
    CLOSING = b"]}"

    def line(self, custom_id: str, body: bytes, *, first: bool) -> bytes:
        return b'%b{"custom_id":"%b","params":%b}' % (b"" if first else b",\n", custom_id.encode(), body)

    def prepare(self, file: BinaryIO, *, token: str, job: str) -> str:
        """Send nothing: the create call has all of it."""
        return ""

    def create(self, file: BinaryIO, prepared: str, *, token: str, job: str) -> BatchStatus:
        return self.read_batch(self.ask("POST", _ROOT, file))

    def batch_in(self, data: Mapping[str, Any]) -> BatchStatus:
        counts = data.get("request_counts") or {}
        word = data["processing_status"]
        lost = sum(int(counts.get(name) or 0) for name in ("errored", "canceled", "expired"))
        total = sum(int(count) for count in counts.values() if isinstance(count, int))
        return BatchStatus(
            name=data["id"],
            state=_STATES.get(word, "working"),
            word=word,
            total=total,
            done=int(counts.get("succeeded") or 0),
            failed=lost,
            created=_seconds(data.get("created_at")),
        )

    def tidy(self, batch: BatchStatus) -> None:
        """Do nothing: only the batch itself was uploaded, and the vendor removes it after a month."""

    def answers(self, batch: BatchStatus) -> Iterator[Answer]:
        # Not from ``results_url``: the key goes nowhere but to the endpoint itself.
        with self.download(f"{_ROOT}/{batch.name}/results") as values:
            yield from map(_answer, values)


def _seconds(stamp: Any) -> float:
    """The seconds since the epoch of an RFC 3339 time; 0 if it is none."""
    try:
        return datetime.fromisoformat(str(stamp).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _answer(line: Mapping[str, Any]) -> Answer:
    result: Mapping[str, Any] = line["result"] if isinstance(line.get("result"), Mapping) else {}
    if result.get("type") == "succeeded":
        return Answer(line["custom_id"], 200, _bytes(result.get("message")))
    if result.get("type") != "errored":
        return Answer(line["custom_id"], UNDONE, b"")
    error: Mapping[str, Any] = result["error"] if isinstance(result.get("error"), Mapping) else {}
    inner: Mapping[str, Any] = error["error"] if isinstance(error.get("error"), Mapping) else error
    return Answer(line["custom_id"], _STATUS.get(str(inner.get("type")), 500), _bytes(error))


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
