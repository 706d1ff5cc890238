"""The errors of responses with status 200 that hold no answer.

Gateways answer 200 and put the real status into the body or its only choice; some servers answer 200 for a path that
they do not have; a model may think and then say nothing. Some of these pass, so they are tried again, but only a few
times, as each try may be billed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mrengine.errors import ModelError, ModelRefused, ModelUnavailable, RateLimited
from mrengine.providers.call import error_map
from mrengine.providers.call.counting import billed, reported_usage
from mrengine.records import Usage

__all__ = ["TRIES", "inner_error", "no_answer", "sampled_badly"]

TRIES = 4
_NO_SUCH_PATH = re.compile(
    r"(?:unexpected|unknown|invalid|no such|unsupported) (?:endpoint|path|route|url)|cannot post|page not found"
    r"|(?:endpoint|path|route|url) .{0,80}not (?:found|supported)|method not allowed",
    re.IGNORECASE | re.DOTALL,
)
_BASE_URL = "check the base URL (most end in /v1)"
# Groq refuses an answer of its own that is no JSON, or no call of the tool: by chance, so another try may succeed.
_BAD_SAMPLES = re.compile(rb'"code"\s*:\s*"(?:json_validate_failed|tool_use_failed)"')


def no_answer(model: str, why: str = "", usage: Usage | None = None, *, data: Any = None) -> ModelUnavailable:
    """The error of a body that is cut off, is not JSON, or is JSON of another shape (``data``)."""
    detail = f" {why}" if why else " that is no answer"
    advice = "" if isinstance(data, Mapping) and ("choices" in data or "content" in data) else f": {_BASE_URL}"
    error = ModelUnavailable(f"{model} sent a body{detail} (status 200){advice}", model=model, status=200)
    error.usage = billed(usage)
    error.tries = TRIES
    return error


def sampled_badly(model: str, status: int, body: bytes) -> ModelUnavailable | None:
    """The error of an answer that its own server found to be no JSON; None: it is another refusal."""
    if status != 400 or not _BAD_SAMPLES.search(body):
        return None
    error = ModelUnavailable(f"{model} wrote no valid JSON (status 400)", model=model, status=400)
    error.tries = TRIES
    return error


def inner_error(
    data: Any,
    headers: Mapping[str, str],
    *,
    model: str,
    hidden: Collection[str] = (),
    texts: Sequence[str] | None = None,
) -> ModelError | None:
    """The error that a body with status 200 holds, in itself or in its first choice; None: it holds none."""
    data = data[0] if isinstance(data, list) and len(data) == 1 else data  # Google answers with a list
    inner = _error_in(data)
    if inner is None:
        return None
    if isinstance(inner, str) and _NO_SUCH_PATH.search(inner):
        message = f"{model}: its server does not know the path that it was asked at: {_BASE_URL}"
        return ModelRefused(message, model=model, status=200, scope="model")
    fields = inner if isinstance(inner, Mapping) else {"message": inner}
    status = error_map.inner_status(fields)
    body = json.dumps({"error": inner}).encode("utf-8", "replace")
    error = error_map.from_status(status, headers, body, model=model, hidden=hidden, texts=texts)
    if not (fields.get("code") or fields.get("type") or fields.get("status")):
        error.args = (f"{error}: {_BASE_URL}", *error.args[1:])
    error.usage = billed(reported_usage(data.get("usage")))
    if error.transient and not isinstance(error, RateLimited):
        error.tries = TRIES
    return error


def _error_in(data: Any) -> Mapping[str, Any] | str | None:
    if not isinstance(data, Mapping):
        return None
    base = data.get("base_resp")  # MiniMax answers every error with status 200
    if isinstance(base, Mapping) and base.get("status_code"):
        return {"code": f"minimax:{base['status_code']}", "message": str(base.get("status_msg", ""))}
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    if error := choice.get("error"):
        return error if isinstance(error, (Mapping, str)) else None
    if choice:
        return None
    if error := data.get("error"):
        return error if isinstance(error, (Mapping, str)) else None
    # vLLM and Mistral: the body itself is the error.
    bare = data.get("object") == "error" or (data.get("type") == "error" and "message" in data)
    return data if bare else None
