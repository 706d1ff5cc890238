"""The one error map: whatever goes wrong at a provider becomes an ``errors.ModelError``.

``error_body`` reads a refusal, ``classify`` is the table of what it means, and ``shown_prose`` decides how much of its
prose may be shown. Codes, types and parameters are shown if they look like identifiers and are not part of a header.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from mrengine.errors import ContextOverflow, ModelError, ModelRefused, ModelUnavailable, RateLimited
from mrengine.providers.call import shown_prose
from mrengine.providers.call.classify import DIAGNOSES, LONG_S, Diagnosis, classify
from mrengine.providers.call.counting import billed
from mrengine.providers.call.error_body import ErrorBody, read
from mrengine.providers.http.http1 import Malformed
from mrengine.providers.http.rate_limit_headers import exhausted_s, observed
from mrengine.records import Observed, Usage

__all__ = [
    "LONG_S", "from_exception", "from_status", "given_up", "inner_status", "lasting", "overflow", "refused",
    "turned_away",
]  # fmt: skip

# With these statuses, or for these reasons, no model has worked on the request: it is not billed.
_TURNED_AWAY = frozenset({400, 401, 402, 403, 404, 405, 413, 422, 429, 498})
_FINAL = frozenset({"overflow", "too_large", "money", "key", "forbidden", "place", "no_model", "used_up", "limit"})
# The sizes of window and prompt, in the words of each vendor and server (tests/providers/refusals.py).
_WINDOW = re.compile(
    r'(?:length (?:is|of)(?: only)?|context size \(|"n_ctx":|tokens >|\+ \d{1,9} >|tokens allowed \(|model with'
    r"|n_ctx \(|be <=|less than|prompt length is|limit of|token limit:|should be \[1,|cannot exceed|context length \("
    r"|supports up to"
    r"|maximum input length \(|maximum model length of|context window (?:is|of))\s*(\d{1,9})",
    re.IGNORECASE,
)
_TOKENS = re.compile(
    r'(?:requested(?: about)?:?|resulted in|too long:|request \(|"n_prompt_tokens":|token count (?:of |is )?\(?'
    r"|contains(?: at least)?|n_keep \(|keep the first|received|prompt is|input \(|length \(|prompt \(length|given:"
    r"|total of(?: at least)?)"
    r"\s*(\d{1,9})",
    re.IGNORECASE,
)
_SUM = re.compile(
    r"context limit: (\d{1,9}) \+ (\d{1,9}) >|given: (\d{1,9}) `?inputs`? tokens and (\d{1,9})", re.IGNORECASE
)
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,63}|\d{3,6}")
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})  # of OpenSSL's codes, X509_V_ERR_*
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
# Gateways put the vendor's error into a body with status 200: its type says which status it had.
_STATUS = {
    "authentication_error": 401, "invalid_api_key": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "model_not_found": 404, "invalid_request_error": 400, "context_length_exceeded": 400,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "insufficient_quota": 429, "overloaded_error": 529,
}  # fmt: skip
_YEAR_S = 366 * 86400.0  # a provider of the user's may name any wait, even one beyond what datetime can hold
_SECRET = 8  # characters; a shorter word is no key, and may be part of one by chance
_VAGUE = frozenset({"error", "none", "null", "invalid_request_error", "unknown_error", "api_error", "bad_request"})


def from_status(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    model: str,
    hidden: Collection[str] = (),
    texts: Sequence[str] | None = None,
    now: Callable[[], float] = time.time,
) -> ModelError:
    """Map an answer that is no success. ``headers``: names in lower case. ``hidden``: the values of the request's
    headers, which no message may repeat. ``texts``: the request's texts; without them none of the provider's prose is
    shown.
    """
    error_body = read(body, code=headers.get("x-amzn-errortype", ""))
    if texts:
        # Before the words are classified: a quoted document that speaks of rate limits must not look like one.
        error_body = replace(error_body, message=shown_prose.unechoed(error_body.message, texts))
    all_headers = {**error_body.headers, **headers}
    limits = observed(all_headers, now=now)
    wait_s = _wait_s(status, limits, error_body, all_headers, now)
    diagnosis = classify(_stated_status(status, error_body), error_body, wait_s=wait_s)
    words = "" if texts is None else shown_prose.shown(error_body.message, texts, hidden)
    error = _of(diagnosis, _Refusal(model, status, _codes(error_body, hidden), words, body, error_body.message), now)
    if diagnosis.transient and wait_s is not None:
        limits = replace(limits or Observed(), retry_after_s=wait_s)
    error.observed, error.param = limits, _identifier(error_body.param, hidden)
    error.reason, error.certain = diagnosis.reason, diagnosis.certain
    return error


def _stated_status(status: int, body: ErrorBody) -> int:
    """A gateway that fails because its own vendor refused says 500, and the refusal's status in the body."""
    return body.status if status >= 500 and 400 <= body.status < 500 else status


def _wait_s(
    status: int, limits: Observed | None, body: ErrorBody, headers: Mapping[str, str], now: Callable[[], float]
) -> float | None:
    """The longer of the waits that header and body ask for; without one, the time until the used-up limit resets."""
    waits = [wait for wait in (limits.retry_after_s if limits else None, body.retry_s) if wait is not None]
    if waits:
        return max(waits)
    return exhausted_s(headers, now=now) if status in (403, 429) else None


def turned_away(error: ModelError) -> bool:
    """Whether no model has worked on a call, so that it is not billed and its reservation is returned."""
    return not error.sent or error.status in _TURNED_AWAY or error.reason in _FINAL


def inner_status(error: Mapping[str, Any]) -> int:
    """The status of an error that a gateway sends in a body with status 200; 502 if the error names none."""
    for code in (error.get("code"), error.get("type")):
        status = _STATUS.get(code, 0) if isinstance(code, str) else code if type(code) is int else 0
        if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
            status = int(code)
        if 400 <= status < 600:
            return status
    return 502  # the vendor failed behind the gateway: transient


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The parts of an error's message. ``codes``: in brackets; ``words``: the provider's prose, safe to show.

    ``body`` and ``message`` are as they came, and only searched for numbers.
    """

    model: str
    status: int
    codes: str
    words: str
    body: bytes
    message: str

    def line(self, what: str, advice: str = "") -> str:
        """``model what (codes): words: advice``."""
        parts = [f"{self.model} {what}{self.codes}", self.words, advice]
        return ": ".join(part for part in parts if part)


def _of(diagnosis: Diagnosis, refusal: _Refusal, now: Callable[[], float]) -> ModelError:
    facts: dict[str, Any] = {
        "model": refusal.model, "status": refusal.status, "retry_after_s": diagnosis.wait_s, "scope": diagnosis.hits,
    }  # fmt: skip
    reason = diagnosis.reason
    if reason == "limit":
        return RateLimited(refusal.line("is over its rate limit"), **facts)
    if reason in ("used_up", "away"):
        return _for_long(diagnosis, refusal, facts, now)
    if reason == "unavailable":
        return ModelUnavailable(refusal.line(f"is unavailable: status {refusal.status}"), **facts)
    if reason == "overflow":
        return _overflow_of(refusal, facts)
    if reason in ("no_model", "no_route"):
        what = "is not known there" if reason == "no_model" else f"is not served there (status {refusal.status})"
        return ModelRefused(refusal.line(what, diagnosis.advice), **facts)
    if reason == "redirect":
        return ModelRefused(f"{refusal.model}'s base URL redirects (status {refusal.status}): use its target", **facts)
    return ModelRefused(refusal.line(f"refused with status {refusal.status}", diagnosis.advice), **facts)


def _for_long(diagnosis: Diagnosis, refusal: _Refusal, facts: dict[str, Any], now: Callable[[], float]) -> ModelError:
    """The error of a model that is away for hours or days: no job waits for it, and the message says until when."""
    until = "for longer than a job waits" if diagnosis.wait_s is None else f"until {_instant(diagnosis.wait_s, now)}"
    if diagnosis.reason == "away":
        error: ModelError = ModelUnavailable(refusal.line(f"is unavailable {until}", diagnosis.advice), **facts)
    else:
        error = RateLimited(refusal.line(f"has used up its limit {until}", diagnosis.advice), **facts)
    error.transient = False
    return error


def lasting(error: ModelError) -> ModelError:
    """Make a transient error that lasts for hours final for its model, whichever provider raised it."""
    if error.transient and error.retry_after_s is not None and error.retry_after_s >= LONG_S:
        error.args = (f"{error} (not before {_instant(min(error.retry_after_s, _YEAR_S), time.time)})", *error.args[1:])
        error.transient, error.scope = False, "model"
        error.reason = "used_up" if isinstance(error, RateLimited) else "away"
    return error


def _instant(wait_s: float, now: Callable[[], float]) -> str:
    return f"{datetime.fromtimestamp(now() + wait_s, timezone.utc):%Y-%m-%d %H:%M} UTC"


def given_up(error: RateLimited) -> None:
    """Make a limit final for its model after it has refused one call over and over."""
    advice = "run the job again later, lower limits=, or add a model or a key"
    error.args = (f"{error}: it has refused this call all along: {advice}", *error.args[1:])
    # Not certain: another call may have more luck.
    error.transient, error.scope, error.reason, error.certain = False, "model", "used_up", False


def _codes(body: ErrorBody, hidden: Collection[str]) -> str:
    """The two most precise codes, and the parameter, as far as they are identifiers."""
    named = (_identifier(code, hidden) for code in body.codes)
    codes = [code for code in named if code and code not in _VAGUE]
    param = _identifier(body.param, hidden)
    facts = ", ".join([*codes[:2], *([f"parameter {param}"] if param else [])])
    return f" ({facts})" if facts else ""


def _identifier(value: Any, hidden: Collection[str]) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        return ""
    if len(value) < _SECRET:
        return value
    secrets = {word.casefold() for text in hidden for word in text.split() if len(word) >= _SECRET}
    word = value.casefold()
    # Both ways: a provider may repeat a part of a key, or a key within a word of its own.
    return "" if any(word in secret or secret in word for secret in secrets) else value


def _overflow_of(refusal: _Refusal, facts: dict[str, Any]) -> ContextOverflow:
    """An overflow with the provider's own numbers, where its message holds them in one of the known forms."""
    text = f"{refusal.message} {refusal.body[:4000].decode('utf-8', 'replace')}".replace(",", "")
    tokens, window = _TOKENS.search(text), _WINDOW.search(text)
    total, size = int(tokens[1]) if tokens else 0, int(window[1]) if window else 0
    if (parts := _SUM.search(text)) is not None:  # prompt and max_tokens apart
        total = sum(int(part) for part in parts.groups() if part)
    return overflow(facts.pop("model"), tokens=total, window=size, words=refusal.words, **facts)


def overflow(model: str, *, tokens: int, window: int, words: str = "", **facts: Any) -> ContextOverflow:
    """The error of a prompt that, with the room for its answer, exceeds the window. ``words``: the provider's."""
    what = f"{tokens} tokens, prompt and answer, do not fit" if tokens else "prompt and answer do not fit"
    room = f" the {window} of its context window" if window else " its context window"
    quoted = f" ({words})" if words and not (tokens and window) else ""
    message = f"{model}: {what}{room}{quoted}: {DIAGNOSES['overflow'].advice}"
    error = ContextOverflow(message, tokens=tokens, context_window=window, model=model, **facts)
    error.reason = "overflow"
    return error


def refused(model: str, reason: str, usage: Usage) -> ModelRefused:
    """The error of a model that answered by declining, which is billed."""
    error = ModelRefused(f"{model} declined to answer ({reason})", model=model, status=200)
    error.reason = "filtered"
    error.usage = billed(usage)
    return error


def from_exception(error: BaseException, *, model: str) -> ModelError:
    """Map an exception of a client library or a socket. Nothing of it is kept, as it may hold the request and the key.

    Its classes are recognised by name: importing them would load every SDK, and ssl, into every host.
    """
    if isinstance(error, ModelError):
        return error
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if response is not None and type(status) is int and not 200 <= status < 300:
        return from_status(status, _lower(response.headers), _content(response), model=model)
    links = list(_chain(error))
    names = {cls.__name__ for link in links for cls in type(link).__mro__}
    if (final := _of_setting(links, model)) is not None:
        return final
    cause = next((str(link) for link in links if isinstance(link, Malformed)), type(links[-1]).__name__)
    if any("Timeout" in name for name in names):
        return ModelUnavailable(f"{model} did not answer in time", model=model)
    if names & {"ConnectionRefusedError", "gaierror"}:
        return _unsent(ModelUnavailable(f"{model}: no connection to its server ({cause})", model=model))
    if names & {"OSError", "APIError", "TransportError", "HTTPException", "RequestException", "HTTPError"}:
        return ModelUnavailable(f"{model}: the connection failed ({cause})", model=model)
    return ModelRefused(f"{model}: its provider raised {type(error).__name__}", model=model)


def _of_setting(links: list[BaseException], model: str) -> ModelError | None:
    """The error of a wrong TLS or proxy setting; None: the settings are not to blame."""
    for link in links:
        if type(link).__name__ == "SSLCertVerificationError":
            return _distrusted(link, model)
        if getattr(link, "reason", None) in _NOT_TLS:
            advice = "the server does not speak TLS: should its base_url begin with http://?"
            return _unsent(ModelRefused(f"{model}: {advice}", model=model, scope="model"))
        if type(link).__name__ == "ProxyRefused":
            return _of_proxy(link, model)
    return None


def _distrusted(error: Any, model: str) -> ModelError:
    why = getattr(error, "verify_message", "").rstrip(".")  # it names the host and the rule, and nothing secret
    unknown = getattr(error, "verify_code", 0) in _UNKNOWN_ISSUER or not why
    advice = ": pass verify= with the path of its CA, or set REQUESTS_CA_BUNDLE" if unknown else ""
    message = f"{model}: the server's certificate is not trusted{f' ({why})' if why else ''}{advice}"
    return _unsent(ModelRefused(message, model=model, scope="model"))


def _of_proxy(refusal: Any, model: str) -> ModelError:
    message = f"{model}: the proxy refused the tunnel (status {refusal.status})"
    if not 400 <= refusal.status < 500:  # 5xx: the proxy does not reach the server at the moment
        return _unsent(ModelUnavailable(message, model=model))
    advice = DIAGNOSES["proxy"].advice if refusal.status == 407 else "ask who runs it"
    return _unsent(ModelRefused(f"{message}: {advice}", model=model, status=refusal.status, scope="model"))


def _unsent(error: ModelError) -> ModelError:
    error.sent = False
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, which may lead back to one of them."""
    visited: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in visited:
        visited.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in dict(headers).items()}


def _content(response: Any) -> bytes:
    content = getattr(response, "content", b"")
    return content if isinstance(content, bytes) else b""
