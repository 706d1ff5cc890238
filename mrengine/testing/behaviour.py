"""How the test server reacts to a request: pure decisions by a clock and a seed, no socket."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from mrengine.testing import bodies
from mrengine.testing.batch_server import BatchProvider, BatchRules, Cut, Dropped
from mrengine.testing.counts import Counts
from mrengine.testing.odd import ODD, odd, streamed
from mrengine.testing.prompt_cache import Billed, PromptCache, TooManyMarks, dollars, usage

__all__ = ["Behaviour", "Bucket", "Reply", "Simulator"]

BATCHED_S = 0.001  # the least time of a request in a batch: those beside it do not read what it writes to the cache
# Paths of the batch APIs; with or without a query, which lists have.
_BATCHES = re.compile(r"/(?:files|batches)(?:[/?]|$)")
# Faults that come in the place of an answer, after its latency.
_LATE = frozenset({"non_json", "empty", "wrong_shape", "garbage", "reset", "truncate", *ODD})
Latency = float | tuple[float, float] | Callable[[random.Random], float]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the server treats its clients. Times in seconds.

    ``latency_s``: a number, ``(median, sigma)`` of a lognormal, or a callable that takes a ``random.Random``.
    ``faults``: kind → probability, drawn with ``seed`` in the order of arrival; kinds are a status ("429", "500",
    "529", …), "quota" (429 for lack of money), "drop" (closed without a byte), "reset", "truncate" (closed within the
    body), "garbage" (not HTTP), "non_json", "empty", "wrong_shape" (all three with status 200), "hang" (no answer,
    the connection stays), "no_choices", "choice_error", "error_text", "no_path", "load", "thoughts_only" (successes
    without an answer, see ``odd``), "bad_sample" (Groq's ``json_validate_failed``). ``script``: faults of the first
    calls, in order; None or "ok" is none. ``retry_after_s``
    goes with every 429, 503, 529. ``tpm``, ``rpm``, ``input_tpm``, ``output_tpm``: enforced as providers do, by a
    bucket that starts full and refills evenly; a call is charged on arrival with its input and ``max_tokens``, or,
    ``charge="used"``, its real output. ``input_tokens``: an int for each call, or a callable(prompt); None: words.
    ``answer``: a str or a callable(prompt). ``api_key``: others get 401. ``models``: others get 404.
    ``context_window``: longer requests get 400. ``native_schema``: False refuses response_format and tools. ``record``:
    how many requests are kept for ``requests()``. ``usage``: a callable(input, output) that returns an answer's usage;
    None: no usage. ``thoughts``: the model's reasoning before its answer, a word a token, within ``max_tokens``;
    ``thoughts_in``: "field", or "text" for tags before the answer. ``stream``: answers are streams, whatever a request
    says. ``pace_s``: between two events of a stream. ``cache_min``: prompts of at least so many tokens are cached by
    the vendors' rules, and usage shows it (``testing.prompt_cache``). ``prices``: the model's name, or "" for all, to
    US dollars per million tokens: "input", "output", "cached", "cache_write", "cache_write_1h"; ``stats().billed_usd``
    is the bill. ``batches``: how both batch APIs go, see ``BatchRules``; their answers cost half.
    """

    latency_s: Latency = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    script: Sequence[str | None] = ()
    seed: int = 0
    retry_after_s: float | None = 1.0
    tpm: int | None = None
    rpm: int | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    charge: str = "reserved"
    input_tokens: int | Callable[[str], int] | None = None
    answer: str | Callable[[str], str] | None = None
    api_key: str | None = None
    models: Sequence[str] | None = None
    context_window: int | None = None
    native_schema: bool = True
    record: int = 0
    usage: Callable[[int, int], Any] | None = None
    thoughts: str = ""
    thoughts_in: str = "field"
    stream: bool = False
    pace_s: float = 0.0
    cache_min: int | None = None
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    chunked: bool = False
    interim: bool = False
    keep_alive_s: float = 60.0
    batches: BatchRules = BatchRules()  # noqa: RUF009  (frozen: it can be shared)


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes to send after ``delay_s``. ``ending``: "keep", "close", "reset" or "hang". ``good``: a real answer."""

    data: bytes
    delay_s: float = 0.0
    ending: str = "keep"
    status: int = 200
    digest: bytes = b""
    good: bool = False
    pace_s: float = 0.0


class Bucket:
    """A provider's own token bucket: starts with one minute's limit and refills evenly."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.limit, self._level, self._at = per_minute, float(per_minute), now

    def level(self, now: float) -> float:
        """The amount that can be taken at ``now``."""
        self._level = min(self.limit, self._level + (now - self._at) * self.limit / 60)
        self._at = now
        return self._level

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until an amount can be taken; 0: now."""
        return max(0.0, amount - self.level(now)) * 60 / self.limit

    def take(self, amount: float) -> None:
        """Charge a call; ``wait_s`` must have been 0."""
        self._level -= amount


class Simulator:
    """One model server: decides the reply to each request, and keeps the account. The caller passes the time."""

    def __init__(self, behaviour: Behaviour, now: float) -> None:
        self.behaviour = behaviour
        self.counts = Counts()
        self._random = random.Random(behaviour.seed)
        self._script = list(behaviour.script)
        self._not_before: dict[bytes, float] = {}  # by a request's digest: when its Retry-After is over
        self.requests: list[dict[str, Any]] = []
        self._cache = None if behaviour.cache_min is None else PromptCache(behaviour.cache_min)
        limits = {name: getattr(behaviour, name) for name in ("tpm", "rpm", "input_tpm", "output_tpm")}
        self.buckets = {name: Bucket(limit, now) for name, limit in limits.items() if limit}
        self.batches = BatchProvider(behaviour.batches, self._batched, self._words, now)

    def decide(self, path: str, headers: Mapping[str, str], body: bytes, now: float, method: str = "POST") -> Reply:
        """The reply to a request. ``headers``: names in lower case."""
        if _BATCHES.search(path):
            return self._of_batches(method, path, headers, body, now)
        path = path.partition("?")[0]
        if path.endswith("/models"):  # asked for windows, as of vLLM
            return self._plain(200, bodies.models(self.behaviour.models, self.behaviour.context_window))
        if not path.endswith(("/chat/completions", "/messages")):
            return self._plain(404, bodies.error("not_found", "no such path"))
        digest = blake2b(body, digest_size=12).digest()
        request = bodies.read("anthropic" if path.endswith("/messages") else "openai", body)
        if request is None:
            return self._plain(400, bodies.error("invalid_request_error", "the body is not a request"))
        self._keep(headers, request)
        # A millisecond of grace: the header is rounded to one.
        self.counts.arrived(now, digest, request.model, early=now < self._not_before.get(digest, 0.0) - 0.001)
        reply = self._answer(headers, request, digest, now)
        return replace(reply, digest=digest)

    def _of_batches(self, method: str, path: str, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
        if not self._has_key(headers):
            return self._plain(401, bodies.error("invalid_api_key", "wrong API key provided"))
        try:
            status, answer = self.batches.answer(method, path, headers, body, now)
        except Dropped:
            return Reply(b"", ending="close", status=0)  # no status: nothing was sent
        except Cut as cut:
            data = self._plain(200, cut.data).data  # its header promises the whole length
            return Reply(data[: len(data) - len(cut.data) // 2 - 1], ending="close", status=0)
        return self._plain(status, answer)

    def _batched(self, shape: str, body: Mapping[str, Any], key: str, at: float) -> tuple[int, bytes]:
        """The answer to one request of a batch."""
        # Written as a direct call is, to the byte: the same request counts as one, however it was sent.
        direct: dict[str, Any] = {}
        for name, value in body.items():
            direct |= {name: value} | ({"stream": False} if name == "messages" else {})
        sent = json.dumps(direct, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        request = bodies.read(shape, sent)
        if request is None:
            return 400, bodies.error("invalid_request_error", "the body is not a request")
        refused = self._refused(request)
        if refused is not None:
            return refused
        text, cut = self._text(request)
        delay_s = 0.0 if self._cache is None else max(self._latency(), BATCHED_S)
        try:
            tokens, show = self._usage(request, len(text.split()), key=key, at=at, delay_s=delay_s, factor=0.5)
        except TooManyMarks:
            return 400, bodies.error("invalid_request_error", "A maximum of 4 blocks with cache_control")
        self.counts.batched(blake2b(sent, digest_size=12).digest(), request.model)
        return 200, bodies.answer(request, text, cut, tokens, usage=show)

    def _words(self, shape: str, body: Mapping[str, Any]) -> int:
        request = bodies.read(shape, json.dumps(body).encode())
        return 0 if request is None else request.words

    def _keep(self, headers: Mapping[str, str], request: bodies.ApiRequest) -> None:
        if self.behaviour.record:
            self.requests.append({"headers": dict(headers), "body": request.body})
            del self.requests[: -self.behaviour.record]

    def _answer(self, headers: Mapping[str, str], request: bodies.ApiRequest, digest: bytes, now: float) -> Reply:
        refusal = self._refusal(headers, request)
        if refusal is not None:
            return refusal
        fault = self._fault()
        # Refusals are free: they come before the limits are charged. Late faults have used tokens.
        if fault is not None and fault not in _LATE:
            return self._failure(fault, digest, now)
        limited = self._limited(request, digest, now)
        if limited is not None:
            return limited
        delay = self._latency()
        if fault is not None:
            return self._late(fault, request, delay)
        try:
            return self._good(headers, request, delay, now)
        except TooManyMarks:
            return self._plain(400, bodies.error("invalid_request_error", "A maximum of 4 blocks with cache_control"))

    def _refusal(self, headers: Mapping[str, str], request: bodies.ApiRequest) -> Reply | None:
        if not self._has_key(headers):
            key = bodies.key_of(headers)
            return self._plain(401, bodies.error("invalid_api_key", f"wrong API key provided: {key}"))
        refused = self._refused(request)
        return None if refused is None else self._plain(*refused)

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        return self.behaviour.api_key is None or bodies.key_of(headers) == self.behaviour.api_key

    def _refused(self, request: bodies.ApiRequest) -> tuple[int, bytes] | None:
        """Status and body for a request that the model does not take."""
        behaviour = self.behaviour
        if behaviour.models is not None and request.model not in behaviour.models:
            message = f"The model `{request.model}` does not exist"
            return 404, bodies.error("model_not_found", message, param="model")
        if not behaviour.native_schema and request.schema_param:
            return 400, bodies.error("unsupported", "no schemas here", param=request.schema_param)
        tokens = self._input(request) + request.max_tokens
        if behaviour.context_window is not None and tokens > behaviour.context_window:
            message = (
                f"This model's maximum context length is {behaviour.context_window} tokens. However, you requested "
                f"{tokens} tokens. The prompt began: {request.prompt[:200]}"
            )
            return 400, bodies.error("context_length_exceeded", message)
        return None

    def _fault(self) -> str | None:
        if self._script:
            fault = self._script.pop(0)
            return None if fault == "ok" else fault
        draw = self._random.random()  # one draw for all kinds, so that a new kind does not shift the others' draws
        for kind, probability in self.behaviour.faults.items():
            if draw < probability:
                return kind
            draw -= probability
        return None

    def _failure(self, fault: str, digest: bytes, now: float) -> Reply:
        if fault == "quota":
            return self._plain(429, bodies.error("insufficient_quota", "You exceeded your current quota"))
        if fault == "bad_sample":
            return self._plain(400, bodies.error("json_validate_failed", "Failed to generate JSON."))
        if fault == "drop":
            return Reply(b"", ending="close", status=0)
        if fault == "hang":
            return Reply(b"", ending="hang", status=0)
        status = int(fault)
        retry_after_s = self.behaviour.retry_after_s if status in (429, 503, 529) else None
        return self._refuse(status, bodies.error(f"status_{status}", "on demand"), retry_after_s, digest, now)

    def _refuse(self, status: int, body: bytes, retry_after_s: float | None, digest: bytes, now: float) -> Reply:
        extra = {}
        if retry_after_s is not None:
            self._not_before[digest] = now + retry_after_s
            extra["retry-after"] = f"{retry_after_s:.3f}".rstrip("0").rstrip(".")
        return self._plain(status, body, extra | self._limit_headers(now))

    def _limited(self, request: bodies.ApiRequest, digest: bytes, now: float) -> Reply | None:
        if not self.buckets:
            return None
        cost = self._cost(request)
        # All buckets or none: a call that one of them refuses must not cost the others anything.
        waits = [bucket.wait_s(cost[name], now) for name, bucket in self.buckets.items()]
        if max(waits) > 0:
            retry_after_s = math.ceil(max(waits) * 1000) / 1000  # up: who comes exactly then is let in
            return self._refuse(429, bodies.error("rate_limit_exceeded", "slow down"), retry_after_s, digest, now)
        for name, bucket in self.buckets.items():
            bucket.take(cost[name])
        return None

    def _cost(self, request: bodies.ApiRequest) -> dict[str, float]:
        tokens = self._input(request)
        out = request.max_tokens  # as most providers count on arrival, whatever the answer will have
        if self.behaviour.charge == "used":
            out = len(self._text(request)[0].split())
        return {"tpm": tokens + out, "rpm": 1, "input_tpm": tokens, "output_tpm": out}

    def _limit_headers(self, now: float) -> dict[str, str]:
        names = {"tpm": "tokens", "rpm": "requests", "input_tpm": "input-tokens", "output_tpm": "output-tokens"}
        headers: dict[str, str] = {}
        for name, bucket in self.buckets.items():
            kind, level = names[name], bucket.level(now)
            reset_s = (bucket.limit - level) * 60 / bucket.limit
            values = {"limit": str(bucket.limit), "remaining": str(max(0, int(level)))}
            if name in ("input_tpm", "output_tpm"):  # Anthropic's own; its reset would be a date
                headers |= {f"anthropic-ratelimit-{kind}-{what}": value for what, value in values.items()}
            else:
                values["reset"] = f"{reset_s * 1000:.0f}ms"
                headers |= {f"x-ratelimit-{what}-{kind}": value for what, value in values.items()}
        return headers

    def _input(self, request: bodies.ApiRequest) -> int:
        how = self.behaviour.input_tokens
        if how is None:
            return request.words
        return how if isinstance(how, int) else how(request.prompt)

    def _latency(self) -> float:
        latency = self.behaviour.latency_s
        if isinstance(latency, tuple):
            return self._random.lognormvariate(math.log(latency[0]), latency[1])  # as real latencies are spread
        return latency if isinstance(latency, (int, float)) else latency(self._random)

    def _text(self, request: bodies.ApiRequest) -> tuple[str, bool]:
        """The answer, and whether ``max_tokens`` cut it off; a next turn then gets the rest."""
        scripted = self.behaviour.answer
        text = (
            scripted
            if isinstance(scripted, str)
            else scripted(request.prompt)
            if scripted is not None
            else request.default
        )
        # A continuation shows the answer so far as the assistant's turn: the rest follows from its number of words.
        words = text.split()[request.answered :] if request.answered else text.split()
        if not request.answered and len(words) <= request.max_tokens:
            return text, False
        gap = " " if request.answered and words else ""
        return gap + " ".join(words[: request.max_tokens]), len(words) > request.max_tokens

    def _good(self, headers: Mapping[str, str], request: bodies.ApiRequest, delay: float, now: float) -> Reply:
        behaviour = self.behaviour
        thoughts = behaviour.thoughts.split()[: request.max_tokens]  # what is left of max_tokens is the answer's
        text, cut = self._text(replace(request, max_tokens=request.max_tokens - len(thoughts)))
        at, output = now + self.batches.advanced, len(thoughts) + len(text.split())
        tokens, show = self._usage(request, output, key=bodies.key_of(headers), at=at, delay_s=delay)
        body = bodies.answer(request, text, cut, tokens, usage=show)
        if thoughts:
            body = bodies.thinking(request, body, " ".join(thoughts), where=behaviour.thoughts_in)
        extra = self._limit_headers(now)
        streams = behaviour.stream or request.body.get("stream") is True
        if streams:
            body, extra = streamed(request, body), extra | {"content-type": "text/event-stream"}
        pace_s = behaviour.pace_s if streams else 0.0
        return replace(self._plain(200, body, extra, delay_s=delay), good=True, pace_s=pace_s)

    def _usage(
        self, request: bodies.ApiRequest, output: int, *, key: str, at: float, delay_s: float, factor: float = 1.0
    ) -> tuple[tuple[int, int], Callable[[int, int], Any] | None]:
        """Bill an answer; its tokens, input and output, and what shows them. The cache reads and writes, if any."""
        # The bill is by our own count, also where ``usage`` shows something else: tests of clients need such servers.
        billed, show = Billed(self._input(request), output), self.behaviour.usage
        if self._cache is not None:
            billed = self._cache.bill(request.shape, request.body, output, key=key, now=at, delay_s=delay_s)
            shown = usage(request.shape, billed)
            show = show or (lambda *_: shown)
        self._bill(request, billed, factor=factor)
        return (billed.input, billed.output), show

    def _bill(self, request: bodies.ApiRequest, billed: Billed, *, factor: float = 1.0) -> None:
        price = self.behaviour.prices.get(request.model) or self.behaviour.prices.get("")
        self.counts.billed(billed, None if price is None else dollars(price, billed, factor=factor))

    def _late(self, fault: str, request: bodies.ApiRequest, delay: float) -> Reply:
        """The reply to a request whose fault replaces its answer when that is due."""
        if fault == "non_json":
            return self._plain(200, b"<html><body>upstream error</body></html>", delay_s=delay)
        if fault == "empty":
            return self._plain(200, b"", delay_s=delay)
        if fault == "wrong_shape":
            return self._plain(200, json.dumps({"status": "ok", "prompt": request.prompt[:50]}).encode(), delay_s=delay)
        if fault == "garbage":
            return Reply(b"\x00\x01 this is not HTTP\r\n\r\n", delay, "close", 0)
        if fault == "reset":
            return Reply(b"", delay, "reset", 0)
        if fault in ODD:
            body, tokens = odd(fault, request, (self._input(request), 3))
            self._bill(request, Billed(*tokens))
            return self._plain(200, body, delay_s=delay)
        text, cut = self._text(request)
        whole = self._plain(200, bodies.answer(request, text, cut, (request.words, 1)), delay_s=delay)
        return Reply(whole.data[: len(whole.data) * 3 // 4], delay, "close", 0)  # "truncate"

    def _plain(
        self, status: int, body: bytes, extra: Mapping[str, str] | None = None, *, delay_s: float = 0.0
    ) -> Reply:
        data = bodies.framed(status, body, extra or {}, chunked=self.behaviour.chunked and status == 200)
        if self.behaviour.interim:
            data = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + data
        return Reply(data, delay_s, "keep", status)
