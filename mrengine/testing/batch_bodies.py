"""The JSON of the test server's batch APIs: lines, files and batches in the shapes of OpenAI and Anthropic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrengine.testing.batch_server import Run

__all__ = ["RequestLine", "openai_line", "shown_file", "shown_message_batch", "shown_openai"]


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request of a batch."""

    custom_id: str
    body: Mapping[str, Any] = field(repr=False)

    @property
    def prompt(self) -> str:
        """The text of the first user message."""
        content = next((m["content"] for m in self.body["messages"] if m["role"] == "user"), "")
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    def openai(self, at: int, status: int, body: bytes) -> dict[str, Any]:
        """A line of an output or error file."""
        response = {"status_code": status, "request_id": f"req_{at}", "body": json.loads(body)}
        return {"id": f"batch_req_{at}", "custom_id": self.custom_id, "response": response, "error": None}

    def undone(self, code: str) -> dict[str, Any]:
        """A line of an error file, for a request that was not executed."""
        message = "This request could not be executed before the completion window expired."
        fault = {"code": code, "message": message}
        return {"id": "batch_req_x", "custom_id": self.custom_id, "response": None, "error": fault}

    def anthropic(self, answer: tuple[int, bytes] | None, state: str) -> dict[str, Any]:
        """A line of the results. ``answer`` None: the request was not executed."""
        if answer is None:
            result: dict[str, Any] = {"type": "canceled" if state == "cancelled" else "expired"}
        elif answer[0] == 200:
            result = {"type": "succeeded", "message": json.loads(answer[1])}
        else:
            result = {"type": "errored", "error": _typed(answer)}
        return {"custom_id": self.custom_id, "result": result}


# Anthropic's names of HTTP statuses, in the results of its batches.
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}  # fmt: skip


def _typed(answer: tuple[int, bytes]) -> dict[str, Any]:
    message = json.loads(answer[1])["error"]["message"]
    return {"type": "error", "error": {"type": _TYPES.get(answer[0], "api_error"), "message": message}}


def openai_line(line: bytes) -> RequestLine:
    """The request in a line of an input file. KeyError, ValueError: the line is invalid."""
    data = json.loads(line)
    if data["method"] != "POST" or data["url"] != "/v1/chat/completions":
        raise ValueError("a line is a POST to /v1/chat/completions")
    return RequestLine(data["custom_id"], data["body"])


def shown_file(name: str, data: bytes, filename: str, purpose: str, now: float) -> dict[str, Any]:
    """A file object."""
    return {
        "id": name,
        "object": "file",
        "bytes": len(data),
        "created_at": int(now),
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
        "expires_at": None,
        "status_details": None,
    }


def _counts(run: Run) -> tuple[int, int]:
    good = sum(status == 200 for status, _ in run.results.values())
    return good, len(run.results) - good


def shown_openai(run: Run, state: str, window_s: float) -> dict[str, Any]:
    """A batch object."""
    good, bad = _counts(run)
    # No file for no lines: clients must not expect an error file, nor an output file where all failed.
    output, errors = (name if name not in ("", "-") else None for name in run.outputs)
    steps = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    listed = None
    if run.failure is not None and state == "failed":
        row = {"code": run.failure[0], "message": run.failure[1], "param": None, "line": None}
        listed = {"object": "list", "data": [row]}
    return {
        "id": run.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": listed,
        "input_file_id": run.file,
        "completion_window": "24h",
        "status": state,
        "output_file_id": output,
        "error_file_id": errors,
        "created_at": int(run.created),
        "expires_at": int(run.created + window_s),
        **{f"{step}_at": None for step in steps},
        "request_counts": {"total": len(run.lines), "completed": good, "failed": bad},
        "metadata": run.metadata or None,
    }


def shown_message_batch(run: Run, state: str, window_s: float, root: str) -> dict[str, Any]:
    """A message batch. Anthropic counts requests only once it has ended: until then all are ``processing``."""
    ended = state in ("completed", "expired", "cancelled", "failed")
    good, bad = _counts(run) if ended else (0, 0)
    left = len(run.lines) - good - bad
    counts = {"processing": 0, "succeeded": good, "errored": bad, "canceled": 0, "expired": 0}
    counts["processing" if not ended else "canceled" if state == "cancelled" else "expired"] = left
    status = "ended" if ended else "canceling" if state == "cancelling" else "in_progress"
    return {
        "id": run.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": _stamp(run.created),
        "expires_at": _stamp(run.created + window_s),
        "ended_at": _stamp(run.created) if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None if run.cancel_at is None else _stamp(run.cancel_at),
        "results_url": f"{root}/v1/messages/batches/{run.id}/results" if ended else None,
    }


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat().replace("+00:00", "Z")
