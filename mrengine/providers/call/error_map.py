"""The one error map: what went wrong at a provider, as an ``errors.ModelError``.

``said`` reads a refusal, ``classify`` is the table of what it means, ``redact`` says what of its prose may be shown: a
provider's error text may repeat the prompt or a key. A code, type or parameter is told where it looks like an
identifier and is nothing of what the request's headers held.
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
from mrengine.providers.call.classify import LONG_S, Diagnosis, classify
from mrengine.providers.call.error_body import ErrorBody, read
from mrengine.providers.http.http1 import Malformed
from mrengine.providers.http.rate_limit_headers import exhausted_s, observed
from mrengine.records import Observed, Usage

__all__ = [
    "LONG_S",
    "from_exception",
    "from_status",
    "given_up",
    "inner_status",
    "lasting",
    "overflow",
    "refused",
    "turned_away",
]

# Answers to a request that no model has worked on: nothing is billed, and what was reserved for it comes back.
_TURNED_AWAY = frozenset({400, 401, 402, 403, 404, 405, 413, 422, 429, 498})
_FINAL = frozenset({"overflow", "too_large", "money", "key", "forbidden", "place", "no_model", "used_up", "limit"})
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
_PROXY = "the proxy wants a name and password: give them in proxy= or in the environment's proxy URL"
_STATUS = {
    "authentication_error": 401, "invalid_api_key": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "model_not_found": 404, "invalid_request_error": 400, "context_length_exceeded": 400,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "insufficient_quota": 429, "overloaded_error": 529,
}  # fmt: skip
_YEAR_S = 366 * 86400.0
_SECRET = 8  # characters; what is shorter is no key, and may stand in one by chance
_UNINFORMATIVE = frozenset(
    {"error", "none", "null", "invalid_request_error", "unknown_error", "api_error", "bad_request"}
)


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
    """Map an answer that is no success. ``headers``: names in lower case. ``hidden``: values that no message may
    repeat, those of the request's headers. ``texts``: those of the request; without them nothing of the provider's
    prose is told.
    """
    error_body = read(body, code=headers.get("x-amzn-errortype", ""))
    if texts:
        error_body = replace(error_body, message=shown_prose.unechoed(error_body.message, texts))
    all_headers = {**error_body.headers, **headers}
    seen = observed(all_headers, now=now)
    wait_s = _wait_s(status, seen, error_body, all_headers, now)
    diagnosis = classify(_stated_status(status, error_body), error_body, wait_s=wait_s)
    words = "" if texts is None else shown_prose.shown(error_body.message, texts, hidden)
    error = _of(diagnosis, _Refusal(model, status, _codes(error_body, hidden), words, body, error_body.message), now)
    if diagnosis.transient and wait_s is not None:
        seen = replace(seen or Observed(), retry_after_s=wait_s)
    error.observed, error.param = seen, _identifier(error_body.param, hidden)
    error.reason, error.certain = diagnosis.reason, diagnosis.certain
    return error


def _stated_status(status: int, body: ErrorBody) -> int:
    """A gateway that fails because its own vendor refused says 500, and the refusal's status in the body."""
    return body.status if status >= 500 and 400 <= body.status < 500 else status


def _wait_s(
    status: int, seen: Observed | None, body: ErrorBody, headers: Mapping[str, str], now: Callable[[], float]
) -> float | None:
    """The longer of what header and body ask for; else the reset of what is used up."""
    waits = [wait for wait in (seen.retry_after_s if seen else None, body.retry_s) if wait is not None]
    if waits:
        return max(waits)
    return exhausted_s(headers, now=now) if status in (403, 429) else None


def turned_away(error: ModelError) -> bool:
    """Whether no model has worked on a call: it is not billed."""
    return not error.sent or error.status in _TURNED_AWAY or error.reason in _FINAL


def inner_status(error: Mapping[str, Any]) -> int:
    """The status that belongs to an error in a body with status 200, as gateways send it; 502 where it says none."""
    for said in (error.get("code"), error.get("type")):
        status = _STATUS.get(said, 0) if isinstance(said, str) else said if type(said) is int else 0
        if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) == 3:
            status = int(said)
        if 400 <= status < 600:
            return status
    return 502


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What a message is made of. ``codes``: in brackets; ``words``: the provider's, as they may be shown."""

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
    """What comes back in hours or days: nobody waits for it, and the user is told when."""
    until = "for longer than a job waits"
    if diagnosis.wait_s is not None:
        instant = datetime.fromtimestamp(now() + diagnosis.wait_s, timezone.utc)
        until = f"until {instant:%Y-%m-%d %H:%M} UTC"
    if diagnosis.reason == "away":
        error: ModelError = ModelUnavailable(refusal.line(f"is unavailable {until}", diagnosis.advice), **facts)
    else:
        error = RateLimited(refusal.line(f"has used up its limit {until}", diagnosis.advice), **facts)
    error.transient = False
    return error


def lasting(error: ModelError, *, now: Callable[[], float] = time.time) -> ModelError:
    """The error of any provider, a user's own, too: final for the model where it passes in hours alone."""
    if error.transient and error.retry_after_s is not None and error.retry_after_s >= LONG_S:
        instant = datetime.fromtimestamp(now() + min(error.retry_after_s, _YEAR_S), timezone.utc)
        error.args = (f"{error} (not before {instant:%Y-%m-%d %H:%M} UTC)", *error.args[1:])
        error.transient, error.scope = False, "model"
        error.reason = "used_up" if isinstance(error, RateLimited) else "away"
    return error


def given_up(error: RateLimited) -> None:
    """Make final, of its model, a limit that has refused a call over and over; another call may have more luck."""
    advice = "run the job again later, lower limits=, or add a model or a key"
    error.args = (f"{error}: it has refused this call all along: {advice}", *error.args[1:])
    error.transient, error.scope, error.reason, error.certain = False, "model", "used_up", False


def _codes(body: ErrorBody, hidden: Collection[str]) -> str:
    """The most precise code, and the parameter, as far as they are identifiers."""
    named = (_identifier(code, hidden) for code in body.codes)
    codes = [code for code in named if code and code not in _UNINFORMATIVE]
    param = _identifier(body.param, hidden)
    facts = ", ".join([*codes[:2], *([f"parameter {param}"] if param else [])])
    return f" ({facts})" if facts else ""


def _identifier(value: Any, hidden: Collection[str]) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        return ""
    secrets = {word.casefold() for text in hidden for word in text.split() if len(word) >= _SECRET}
    word = value.casefold()
    repeats = any(word in secret or secret in word for secret in secrets) if len(value) >= _SECRET else False
    return "" if repeats else value


def _overflow_of(refusal: _Refusal, facts: dict[str, Any]) -> ContextOverflow:
    """The numbers are the provider's own, where its message holds them in one of the known forms."""
    text = f"{refusal.message} {refusal.body[:4000].decode('utf-8', 'replace')}".replace(",", "")
    tokens, window = _TOKENS.search(text), _WINDOW.search(text)
    found = {"tokens": int(tokens[1]) if tokens else 0, "window": int(window[1]) if window else 0}
    if (parts := _SUM.search(text)) is not None:  # prompt and max_tokens
        found["tokens"] = sum(int(part) for part in parts.groups() if part)
    return overflow(facts.pop("model"), **found, words=refusal.words, **facts)


def overflow(model: str, *, tokens: int, window: int, words: str = "", **facts: Any) -> ContextOverflow:
    """A prompt, with the room for its answer, that the model cannot hold. ``words``: the provider's."""
    what = f"{tokens} tokens, prompt and answer, do not fit" if tokens else "prompt and answer do not fit"
    room = f" the {window} of its context window" if window else " its context window"
    advice = "use a smaller target_tokens or max_tokens"
    said = f" ({words})" if words and not (tokens and window) else ""
    error = ContextOverflow(
        f"{model}: {what}{room}{said}: {advice}", tokens=tokens, context_window=window, model=model, **facts
    )
    error.reason = "overflow"
    return error


def refused(model: str, reason: str, usage: Usage) -> ModelRefused:
    """The model answered, and declined; it is paid for."""
    error = ModelRefused(f"{model} declined to answer ({reason})", model=model, status=200)
    error.reason = "filtered"
    error.usage = usage if usage.total_tokens else None
    return error


def from_exception(error: BaseException, *, model: str) -> ModelError:
    """Map what a client library or a socket raised. Nothing of the original is kept: it may hold request and key."""
    if isinstance(error, ModelError):
        return error
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if response is not None and type(status) is int and not 200 <= status < 300:
        return from_status(status, _lower(response.headers), _content(response), model=model)
    links = list(_chain(error))
    names = {cls.__name__ for link in links for cls in type(link).__mro__}
    final = _of_setting(links, names, model)
    if final is not None:
        return final
    cause = next((str(link) for link in links if isinstance(link, Malformed)), type(links[-1]).__name__)
    if any("Timeout" in name for name in names):
        return ModelUnavailable(f"{model} did not answer in time", model=model)
    if names & {"ConnectionRefusedError", "gaierror"}:
        return _unsent(ModelUnavailable(f"{model}: no connection to its server ({cause})", model=model))
    if names & {"OSError", "APIError", "TransportError", "HTTPException", "RequestException", "HTTPError"}:
        return ModelUnavailable(f"{model}: the connection failed ({cause})", model=model)
    return ModelRefused(f"{model}: its provider raised {type(error).__name__}", model=model)


def _of_setting(links: list[BaseException], names: set[str], model: str) -> ModelError | None:
    """What a setting is to blame for: TLS and proxies."""
    if "SSLCertVerificationError" in names:
        return _distrusted(next(link for link in links if type(link).__name__ == "SSLCertVerificationError"), model)
    if any(getattr(link, "reason", None) in _NOT_TLS for link in links):
        advice = "the server does not speak TLS: should its base_url begin with http://?"
        return _unsent(ModelRefused(f"{model}: {advice}", model=model, scope="model"))
    if "ProxyRefused" in names:
        return _of_proxy(next(link for link in links if type(link).__name__ == "ProxyRefused"), model)
    return None


def _distrusted(error: Any, model: str) -> ModelError:
    """OpenSSL's own words: they name the host and the rule, nothing else."""
    why = getattr(error, "verify_message", "").rstrip(".")
    unknown = getattr(error, "verify_code", 0) in _UNKNOWN_ISSUER or not why
    advice = ": pass verify= with the path of its CA, or set REQUESTS_CA_BUNDLE" if unknown else ""
    message = f"{model}: the server's certificate is not trusted{f' ({why})' if why else ''}{advice}"
    return _unsent(ModelRefused(message, model=model, scope="model"))


def _of_proxy(refusal: Any, model: str) -> ModelError:
    """No tunnel was made, so nothing was sent. 5xx: the proxy does not reach the server, at the moment."""
    message = f"{model}: the proxy refused the tunnel (status {refusal.status})"
    if not 400 <= refusal.status < 500:
        return _unsent(ModelUnavailable(message, model=model))
    advice = _PROXY if refusal.status == 407 else "ask who runs it"
    return _unsent(ModelRefused(f"{message}: {advice}", model=model, status=refusal.status, scope="model"))


def _unsent(error: ModelError) -> ModelError:
    error.sent = False
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in dict(headers).items()}


def _content(response: Any) -> bytes:
    content = getattr(response, "content", b"")
    return content if isinstance(content, bytes) else b""
