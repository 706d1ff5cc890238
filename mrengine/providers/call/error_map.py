"""The one error map: what went wrong at a provider, as an ``errors.ModelError``. No message holds what a body says.

A provider's error text may repeat the prompt or a key; only its ``code``, ``type`` and ``param``, where they look like
identifiers and are nothing of what the request's headers held, and numbers enter a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mrengine.errors import ContextOverflow, ModelError, ModelRefused, ModelUnavailable, RateLimited
from mrengine.providers.http.http1 import Malformed
from mrengine.providers.http.rate_limit_headers import observed
from mrengine.records import Usage

__all__ = ["TURNED_AWAY", "from_exception", "from_status", "inner_status", "not_an_answer", "overflow", "refused"]

# Answers to a request that no model has worked on: nothing is billed, and what was reserved for it comes back.
TURNED_AWAY = frozenset({400, 401, 402, 403, 404, 405, 413, 422, 429})
_TRANSIENT = frozenset({408, 409, 425, 429, 529})
_ENDS_MODEL = frozenset({401, 402, 403, 407})
_NO_MONEY = re.compile(r"insufficient_quota|billing|credit balance|account_deactivated|payment_required", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model_not_found|models?\b.{0,200}(?:does not exist|not found|not supported|decommissioned)",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|prompt is too long|context (?:window|size|length|limit)"
    r"|exceeds the maximum number of tokens",
    re.IGNORECASE,
)
_WINDOW = re.compile(
    r'(?:length (?:is|of)|context size \(|"n_ctx":|tokens >|\+ \d{1,9} >|tokens allowed \(|model with)\s*(\d{1,9})'
)
_TOKENS = re.compile(
    r'(?:requested|resulted in|too long:|request \(|"n_prompt_tokens":|token count \(|contains)\s*(\d{1,9})'
)
_SUM = re.compile(r"context limit: (\d{1,9}) \+ (\d{1,9}) >")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,63}")
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})  # of OpenSSL's codes, X509_V_ERR_*
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_PROXY = "the proxy wants a name and password: give them in proxy= or in the environment's proxy URL"
_STATUS = {
    "authentication_error": 401, "invalid_api_key": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "model_not_found": 404, "invalid_request_error": 400, "context_length_exceeded": 400,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "insufficient_quota": 429, "overloaded_error": 529,
}  # fmt: skip
_SECRET = 8  # characters; what is shorter is no key, and may stand in one by chance
_ADVICE = {
    401: "check the API key",
    402: "check the account's billing",
    403: "check what the API key is allowed to use",
    404: "check the model's name and the base URL",
    407: _PROXY,
    413: "the request is too large: use smaller chunks",
}


def from_status(
    status: int, headers: Mapping[str, str], body: bytes, *, model: str, hidden: Collection[str] = ()
) -> ModelError:
    """Map an answer that is no success. ``headers``: names in lower case. ``hidden``: values that no message may
    repeat, those of the request's headers.
    """
    details = _details(body, hidden)
    seen = observed(headers)
    error = _of_status(status, details, model=model, retry_after_s=seen.retry_after_s if seen else None)
    error.observed = seen
    error.param = details["param"]
    return error


def inner_status(error: Mapping[str, Any]) -> int:
    """The status that belongs to an error in a body with status 200, as gateways send it; 502 where it says none."""
    for said in (error.get("code"), error.get("type")):
        status = _STATUS.get(said, 0) if isinstance(said, str) else said if type(said) is int else 0
        if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) == 3:
            status = int(said)
        if 400 <= status < 600:
            return status
    return 502


def _of_status(status: int, details: dict[str, str], *, model: str, retry_after_s: float | None) -> ModelError:
    text, said = details["text"], _said(details)
    facts: dict[str, Any] = {"model": model, "status": status, "retry_after_s": retry_after_s}
    if status in _ENDS_MODEL or (status in (400, 429) and _NO_MONEY.search(text)):
        advice = _ADVICE.get(status, "check the account's quota and billing")
        return ModelRefused(f"{model} refused with status {status}{said}: {advice}", **facts, scope="model")
    if status == 429:
        return RateLimited(f"{model} is over its rate limit{said}", **facts)
    if status in _TRANSIENT or status >= 500:
        return ModelUnavailable(f"{model} is unavailable: status {status}{said}", **facts)
    if status == 404 and (
        _NO_MODEL.search(text) or details["param"] == "model" or details["type"] == "not_found_error"
    ):
        return ModelRefused(f"{model} is not known there{said}: {_ADVICE[404]}", **facts, scope="model")
    if status in (400, 413) and _TOO_LONG.search(text):
        return _overflow_of(details, facts)
    if 300 <= status < 400:
        return ModelRefused(f"{model}'s base URL redirects (status {status}): use its target", **facts, scope="model")
    advice = f": {_ADVICE[status]}" if status in _ADVICE else ""
    return ModelRefused(f"{model} refused with status {status}{said}{advice}", **facts)


def _details(body: bytes, hidden: Collection[str]) -> dict[str, str]:
    """``code``, ``type``, ``param`` as far as they are identifiers; ``text``: all that is said, for matching only."""
    error: Any = None
    try:
        error = json.loads(body)
    except ValueError:
        pass
    if isinstance(error, list) and error:  # Google answers with a list
        error = error[0]
    if isinstance(error, dict) and isinstance(error.get("error"), (dict, str)):
        error = error["error"]
    fields = error if isinstance(error, dict) else {}
    details = {name: _identifier(fields.get(name), hidden) for name in ("code", "type", "param")}
    details["text"] = body[:4000].decode("utf-8", "replace")
    return details


def _identifier(value: Any, hidden: Collection[str]) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        return ""
    secrets = {word for text in hidden for word in text.split() if len(word) >= _SECRET}
    repeats = any(value in word or word in value for word in secrets) if len(value) >= _SECRET else False
    return "" if repeats else value


def _said(details: dict[str, str]) -> str:
    said = [details["code"] or details["type"]]
    if details["param"]:
        said.append(f"parameter {details['param']}")
    told = ", ".join(word for word in said if word)
    return f" ({told})" if told else ""


def _overflow_of(details: dict[str, str], facts: dict[str, Any]) -> ContextOverflow:
    """The numbers are the provider's own, where its message holds them in one of the known forms."""
    text = details["text"].replace(",", "")
    tokens, window = _TOKENS.search(text), _WINDOW.search(text)
    found = {"tokens": int(tokens[1]) if tokens else 0, "window": int(window[1]) if window else 0}
    if (parts := _SUM.search(text)) is not None:  # prompt and max_tokens
        found["tokens"] = int(parts[1]) + int(parts[2])
    return overflow(facts.pop("model"), **found, **facts)


def overflow(model: str, *, tokens: int, window: int, **facts: Any) -> ContextOverflow:
    """A prompt, with the room for its answer, that the model cannot hold."""
    told = f"{tokens} tokens, prompt and answer, do not fit" if tokens else "prompt and answer do not fit"
    room = f" the {window} of its context window" if window else " its context window"
    advice = "use a smaller target_tokens or max_tokens"
    return ContextOverflow(
        f"{model}: {told}{room}: {advice}", tokens=tokens, context_window=window, model=model, **facts
    )


def refused(model: str, reason: str, usage: Usage) -> ModelRefused:
    """The model answered, and declined; it is paid for."""
    error = ModelRefused(f"{model} declined to answer ({reason})", model=model, status=200)
    error.usage = usage if usage.total_tokens else None
    return error


def not_an_answer(model: str, status: int = 200) -> ModelUnavailable:
    """A success whose body is cut off, is not JSON, or is JSON of another shape."""
    return ModelUnavailable(f"{model} sent a body that is no answer (status {status})", model=model, status=status)


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
    told = f"{model}: the server's certificate is not trusted{f' ({why})' if why else ''}{advice}"
    return _unsent(ModelRefused(told, model=model, scope="model"))


def _of_proxy(refusal: Any, model: str) -> ModelError:
    """No tunnel was made, so nothing was sent. 5xx: the proxy does not reach the server, at the moment."""
    told = f"{model}: the proxy refused the tunnel (status {refusal.status})"
    if not 400 <= refusal.status < 500:
        return _unsent(ModelUnavailable(told, model=model))
    advice = _PROXY if refusal.status == 407 else "ask who runs it"
    return _unsent(ModelRefused(f"{told}: {advice}", model=model, status=refusal.status, scope="model"))


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
