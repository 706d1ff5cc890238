"""Reads the body of a refusal, whatever its shape: its fields first, its prose last.

::

    {"error": {"code", "type", "param", "message"}}      OpenAI and those who copy it; Azure adds "innererror"
    [{"error": {"code", "status", "details": […]}}]      Google: google.rpc.RetryInfo, QuotaFailure, ErrorInfo
    {"type": "error", "error": {"type", "message"}}      Anthropic
    {"error": "…"}, {"error": "…", "error_type": "…"}     Ollama, LM Studio; TGI
    {"object": "error", "code", "type", "message"}       vLLM, Mistral
    {"detail": "…" | [{"loc", "msg"}]}, {"message": "…"}  FastAPI, Bedrock, Cohere
    {"base_resp": {"status_code", "status_msg"}}         MiniMax
    {"error": {"message": "Provider returned error", "metadata": {"raw": "{…}"}}}   OpenRouter: an error in an error
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mrengine.providers.http.rate_limit_headers import span

__all__ = ["ErrorBody", "read"]

_MOST = 64 * 1024  # bytes of a body that are read
_DEEP = 6  # errors within errors: a gateway's, its vendor's, and JSON within their messages
_REPR = 8000  # characters of a Python value that are parsed
_WRAPPED = re.compile(r"\berror code:? ([45]\d\d)\b", re.IGNORECASE)
_NUMBER = r"(\d[\d,_]{0,14})"
_URL = re.compile(r"https?://\S+")
_TAG = re.compile(r"<(?:script|style).*?</(?:script|style)>|<[^>]{0,500}>", re.DOTALL | re.IGNORECASE)
_AGAIN = re.compile(
    r"(?:try again|retry|please wait|available|reset\w*)[^.;\d]{0,40}?(?:in|after|for)\s+(?:about )?"
    r"((?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])\s*)+)"
    r"|(?:try again|retry) (?:in|after):? ((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)",
    re.IGNORECASE,
)
_WAITS = {"retry_after": 1.0, "retryAfter": 1.0, "retry_after_seconds": 1.0, "retry_after_ms": 0.001}
_UNITS = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_LIMIT = re.compile(rf"\blimit(?: of)?:? {_NUMBER}", re.IGNORECASE)
_REQUESTED = re.compile(rf"\brequested:? {_NUMBER}", re.IGNORECASE)
_DAILY = re.compile(
    r"per[ _-]?(?:day|week|month)|/ ?(?:day|month)\b|daily|monthly|weekly|\((?:TPD|RPD)\)|\b(?:TPD|RPD)\b",
    re.IGNORECASE,
)
_NONE_AT_ALL = re.compile(r"limit:\s*0\b(?!\.)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What a refusal says. ``codes``: all codes, types and reasons, the most precise first, in lower case.

    ``message``: its prose, without addresses. ``headers``: those that a gateway repeats in the body. ``status``: the
    one in the body. ``retry_s``: the wait it asks for. ``limit`` and ``requested``: of one request, if both are given.
    """

    codes: tuple[str, ...] = ()
    param: str = ""
    message: str = field(default="", repr=False)
    status: int = 0
    retry_s: float | None = None
    limit: int | None = None
    requested: int | None = None
    daily: bool = False
    none_at_all: bool = False  # the limit is 0: there is nothing to wait for
    filtered: bool = False  # it names what it found in the text
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class _Reader:
    """Collects the facts of one body from its nested objects, the innermost last."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.messages: list[str] = []
        self.param = ""
        self.status = 0
        self.retry_s: float | None = None
        self.quotas: list[str] = []
        self.filtered = False
        self.headers: dict[str, str] = {}

    def take(self, value: Any, depth: int = 0) -> None:
        """Read whatever an error may be: text, an object, a list of them, JSON within a text."""
        if depth > _DEEP:
            return
        if isinstance(value, str):
            inner = _json_in(value)
            if (wrapped := _WRAPPED.search(value[:200])) is not None:
                self._code(int(wrapped[1]))
            if inner is not None:
                self.take(inner, depth + 1)
            elif value.strip():
                self.messages.append(value.strip())
        elif isinstance(value, list):
            for item in value[:4]:
                self.take(item, depth + 1)
        elif isinstance(value, dict):
            self._object(value, depth)

    def _object(self, error: Mapping[str, Any], depth: int) -> None:
        if "loc" in error and "msg" in error:  # one of pydantic's; its "input" repeats the request, and is not read
            where = ".".join(str(part) for part in error["loc"] if part != "body") if type(error["loc"]) is list else ""
            self.param = self.param or where[:64]
            self.messages.append(f"{where}: {error['msg']}" if where else str(error["msg"]))
            return
        if isinstance(base := error.get("base_resp"), dict):
            self._code(f"minimax:{base.get('status_code')}")  # bare numbers would be those of other vendors, too
            self.take(base.get("status_msg"), depth + 1)
        for name in ("code", "error_code", "errorCode", "type", "error_type", "__type", "status", "reason"):
            self._code(error.get(name))
        if isinstance(param := error.get("param"), str) and not self.param:
            self.param = param
        for name, unit in _WAITS.items():
            value = error.get(name)
            if isinstance(value, (int, float, str)) and (wait := span(f"{value}".rstrip("s"))) is not None:
                self.retry_s = wait * unit
        self._google(error.get("details"))
        self._metadata(error.get("metadata"), depth)
        self.filtered |= any(map(error.get, ("refusal_reason", "content_filter_result", "content_filter_results")))
        for name in ("innererror", "message", "msg", "Message", "error_msg", "errorMessage", "detail", "title"):
            if error.get(name) is not None:
                self.take(error[name], depth + 1)
        for name in ("error", "errors", "fault", "faultstring"):
            if error.get(name) is not None and error[name] is not error.get("message"):
                self.take(error[name], depth + 1)

    def _code(self, value: Any) -> None:
        if isinstance(value, str) and value.isdigit() and len(value) == 3:
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            self.status = value
        elif isinstance(value, (int, str)) and not isinstance(value, bool):
            # AWS puts its namespace before the name: "com.amazon#ThrottlingException".
            self.codes.append(str(value).rpartition("#")[2].strip().lower()[:80])

    def _google(self, details: Any) -> None:
        for detail in details[:20] if isinstance(details, list) else ():
            if not isinstance(detail, dict):
                continue
            if isinstance(delay := detail.get("retryDelay"), str) and (wait := span(delay)) is not None:
                self.retry_s = wait
            self._code(detail.get("reason"))
            violations = detail.get("violations")
            for violation in violations if isinstance(violations, list) else ():
                if isinstance(violation, dict):
                    self.quotas.append(f"{violation.get('quotaId')} limit: {violation.get('quotaValue')}")

    def _metadata(self, metadata: Any, depth: int) -> None:
        if not isinstance(metadata, dict):
            return
        self.filtered |= bool(metadata.get("flagged_input") or metadata.get("reasons"))
        self._code(metadata.get("error_type"))
        headers = metadata.get("headers")
        if isinstance(headers, dict):
            self.headers.update({str(name).lower(): str(value) for name, value in headers.items()})
        self.take(metadata.get("raw"), depth + 1)


def _json_in(text: str) -> Any:
    """The JSON, or Python dict, that a gateway put into a message, perhaps behind a status and words of its own."""
    start = min((at for at in (text.find("{"), text.find("[{")) if at >= 0), default=-1)
    if start < 0:
        return None
    value = _value(text[start : text.rfind("]" if text[start] == "[" else "}") + 1])
    return value if isinstance(value, (dict, list)) and value else None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text) if len(text) <= _REPR else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def read(body: bytes, *, code: str = "") -> ErrorBody:
    """Read a body, whatever it holds; it never raises. ``code``: the error's name, if it came in a header."""
    reader = _Reader()
    reader._code(code.partition(":")[0] or None)
    text = body[:_MOST].decode("utf-8", "replace").lstrip("\ufeff").strip()
    try:
        reader.take(json.loads(text))
    except (ValueError, RecursionError):
        reader.take(_TAG.sub(" ", text[:8000]))
    message = " ".join(" ".join(_URL.sub("", part) for part in _distinct(reader.messages)).split())[:4000]
    quotas = " ".join(reader.quotas)
    limit, requested = _one_request(message)
    return ErrorBody(
        codes=tuple(dict.fromkeys(code for code in reversed(reader.codes) if code)),
        param=reader.param,
        message=message,
        status=reader.status,
        retry_s=reader.retry_s if reader.retry_s is not None else _wait(message),
        limit=limit,
        requested=requested,
        daily=_DAILY.search(quotas or " ".join([*reader.codes, message])) is not None,
        none_at_all=_NONE_AT_ALL.search(quotas or message) is not None,
        filtered=reader.filtered,
        headers=reader.headers,
    )


def _distinct(parts: list[str]) -> Iterator[str]:
    """The innermost message first; an outer one that only repeats it is left out."""
    kept: list[str] = []
    for part in reversed(parts):
        if not any(part in other for other in kept):
            kept.append(part)
            yield part


def _one_request(message: str) -> tuple[int | None, int | None]:
    """The limit that one request exceeds, and its own size."""
    limit, requested = _LIMIT.search(message), _REQUESTED.search(message)
    if limit is None or requested is None:
        return None, None
    return int(re.sub("[,_]", "", limit[1])), int(re.sub("[,_]", "", requested[1]))


def _wait(message: str) -> float | None:
    """Seconds from "try again in 9m38.016s" or "retry after 86400 seconds"."""
    again = _AGAIN.search(message)
    if again is None:
        return None
    parts = [(value, unit.lower()) for value, unit in _UNITS.findall(again[1] or again[2])]
    return span("".join(value + ("ms" if unit.startswith(("ms", "milli")) else unit[0]) for value, unit in parts))
