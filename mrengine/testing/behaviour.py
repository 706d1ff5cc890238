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
from mrengine.testing.batches import BatchProvider, BatchRules, Cut, Dropped
from mrengine.testing.counts import Counts
from mrengine.testing.odd import ODD, odd, streamed
from mrengine.testing.prompt_cache import Billed, PromptCache, TooManyMarks, dollars, usage

__all__ = ["Behaviour", "Bucket", "Reply", "Simulator"]

BATCHED_S = 0.001  # how long a request of a batch takes at least: what it writes is read by none beside it
Latency = float | tuple[float, float] | Callable[[random.Random], float]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the server treats its clients. Times in seconds.

    ``latency_s``: a number, ``(median, sigma)`` of a lognormal, or a callable that is given a ``random.Random``.
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
    ``context_window``: longer ones get 400. ``native_schema``: False refuses response_format and tools. ``record``:
    how many requests are kept for ``requests()``. ``usage``: a callable(input, output) that gives an answer's usage;
    None: no usage. ``thoughts``: the model's reasoning before its answer, a word a token, within ``max_tokens``;
    ``thoughts_in``: "field", or "text" for tags before the answer. ``stream``: whatever is asked for, answers are
    streams. ``pace_s``: between two events of a stream. ``cache_min``: prompts are cached by the vendors' rules from so
    many tokens on, and usage tells of it (``testing.prompt_cache``). ``prices``: the model's name, or "" for all, to US
    dollars of a million tokens: "input", "output", "cached", "cache_write", "cache_write_1h"; ``stats().billed_usd`` is
    the bill. ``batches``: how both batch APIs go, see ``BatchRules``; what they answer costs half.
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
    """What to send after ``delay_s``. ``ending``: "keep", "close", "reset" or "hang". ``good``: it is a real answer."""

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
        """What can be taken at ``now``."""
        self._level = min(self.limit, self._level + (now - self._at) * self.limit / 60)
        self._at = now
        return self._level

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until the amount can be taken; 0: now."""
        return max(0.0, amount - self.level(now)) * 60 / self.limit

    def take(self, amount: float) -> None:
        """Charge a call; ``wait_s`` must have been 0."""
        self._level -= amount


class Simulator:
    """One model server: decides the reply to each request, and counts. The clock is the caller's."""

    def __init__(self, behaviour: Behaviour, now: float) -> None:
        self.behaviour = behaviour
        self.counts = Counts()
        self._random = random.Random(behaviour.seed)
        self._script = list(behaviour.script)
        self._not_before: dict[bytes, float] = {}
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
        if path.endswith("/models"):
            return self._plain(200, bodies.models(self.behaviour.models, self.behaviour.context_window))
        if not path.endswith(("/chat/completions", "/messages")):
            return self._plain(404, bodies.error("not_found", "no such path"))
        digest = blake2b(body, digest_size=12).digest()
        asked = bodies.read(path, body)
        if asked is None:
            return self._plain(400, bodies.error("invalid_request_error", "the body is not a request"))
        self._keep(headers, asked)
        self.counts.arrived(now, digest, asked.model, early=now < self._not_before.get(digest, 0.0) - 0.001)
        reply = self._answer(headers, asked, digest, now)
        return replace(reply, digest=digest)

    def _of_batches(self, method: str, path: str, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
        if not self._has_key(headers):
            return self._plain(401, bodies.error("invalid_api_key", "wrong API key provided"))
        try:
            status, answer = self.batches.answer(method, path, headers, body, now)
        except Dropped:
            return Reply(b"", ending="close", status=0)
        except Cut as cut:
            data = self._plain(200, cut.data).data
            return Reply(data[: len(data) - len(cut.data) // 2 - 1], ending="close", status=0)
        return self._plain(status, answer)

    def _batched(self, shape: str, body: Mapping[str, Any], key: str, at: float) -> tuple[int, bytes]:
        """The answer to one request of a batch; it is counted as a direct one of the same bytes would be."""
        said: dict[str, Any] = {}
        for name, value in body.items():  # as a direct call says it
            said |= {name: value} | ({"stream": False} if name == "messages" else {})
        sent = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        asked = bodies.read("/messages" if shape == "anthropic" else "/chat/completions", sent)
        if asked is None:
            return 400, bodies.error("invalid_request_error", "the body is not a request")
        refused = self._refused(asked)
        if refused is not None:
            return refused
        text, cut = self._text(asked)
        billed, say = Billed(self._input(asked), len(text.split())), self.behaviour.usage
        if self._cache is not None:
            try:
                delay_s = max(self._latency(), BATCHED_S)
                billed = self._cache.bill(shape, asked.body, billed.output, key=key, now=at, delay_s=delay_s)
            except TooManyMarks:
                return 400, bodies.error("invalid_request_error", "A maximum of 4 blocks with cache_control")
            billing = usage(shape, billed)
            say = say or (lambda *_: billing)
        self._bill(asked, billed, factor=0.5)
        self.counts.batched(blake2b(sent, digest_size=12).digest(), asked.model)
        return 200, bodies.answer(asked, text, cut, (billed.input, billed.output), usage=say)

    def _words(self, shape: str, body: Mapping[str, Any]) -> int:
        asked = bodies.read("/messages" if shape == "anthropic" else "/chat/completions", json.dumps(body).encode())
        return 0 if asked is None else asked.words

    def _keep(self, headers: Mapping[str, str], asked: bodies.Asked) -> None:
        if self.behaviour.record:
            self.requests.append({"headers": dict(headers), "body": asked.body})
            del self.requests[: -self.behaviour.record]

    def _answer(self, headers: Mapping[str, str], asked: bodies.Asked, digest: bytes, now: float) -> Reply:
        refusal = self._refusal(headers, asked)
        if refusal is not None:
            return refusal
        fault = self._fault()
        if fault is not None and fault not in _LATE:
            return self._failure(fault, digest, now)
        limited = self._limited(asked, digest, now)
        if limited is not None:
            return limited
        delay = self._latency()
        if fault is not None:
            return self._late(fault, asked, delay)
        try:
            return self._good(headers, asked, delay, now)
        except TooManyMarks:
            return self._plain(400, bodies.error("invalid_request_error", "A maximum of 4 blocks with cache_control"))

    def _refusal(self, headers: Mapping[str, str], asked: bodies.Asked) -> Reply | None:
        if not self._has_key(headers):
            key = _key(headers)
            return self._plain(401, bodies.error("invalid_api_key", f"wrong API key provided: {key}"))
        refused = self._refused(asked)
        return None if refused is None else self._plain(*refused)

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        return self.behaviour.api_key is None or _key(headers) == self.behaviour.api_key

    def _refused(self, asked: bodies.Asked) -> tuple[int, bytes] | None:
        """Status and body for a request that no such model takes."""
        behaviour = self.behaviour
        if behaviour.models is not None and asked.model not in behaviour.models:
            message = f"The model `{asked.model}` does not exist"
            return (404, bodies.error("model_not_found", message, param="model"))
        if not behaviour.native_schema and asked.schema_param:
            return (400, bodies.error("unsupported", "no schemas here", param=asked.schema_param))
        tokens = self._input(asked) + asked.max_tokens
        if behaviour.context_window is not None and tokens > behaviour.context_window:
            message = (
                f"This model's maximum context length is {behaviour.context_window} tokens. However, you requested "
                f"{tokens} tokens. The prompt began: {asked.prompt[:200]}"
            )
            return (400, bodies.error("context_length_exceeded", message))
        return None

    def _fault(self) -> str | None:
        if self._script:
            fault = self._script.pop(0)
            return None if fault == "ok" else fault
        draw = self._random.random()
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

    def _limited(self, asked: bodies.Asked, digest: bytes, now: float) -> Reply | None:
        if not self.buckets:
            return None
        cost = self._cost(asked)
        waits = [bucket.wait_s(cost[name], now) for name, bucket in self.buckets.items()]
        if max(waits) > 0:
            retry_after_s = math.ceil(max(waits) * 1000) / 1000
            return self._refuse(429, bodies.error("rate_limit_exceeded", "slow down"), retry_after_s, digest, now)
        for name, bucket in self.buckets.items():
            bucket.take(cost[name])
        return None

    def _cost(self, asked: bodies.Asked) -> dict[str, float]:
        tokens = self._input(asked)
        out = asked.max_tokens
        if self.behaviour.charge == "used":
            out = len(self._text(asked)[0].split())
        return {"tpm": tokens + out, "rpm": 1, "input_tpm": tokens, "output_tpm": out}

    def _limit_headers(self, now: float) -> dict[str, str]:
        names = {"tpm": "tokens", "rpm": "requests", "input_tpm": "input-tokens", "output_tpm": "output-tokens"}
        headers = {}
        for name, bucket in self.buckets.items():
            kind, level = names[name], bucket.level(now)
            reset_s = (bucket.limit - level) * 60 / bucket.limit
            values = {
                "limit": str(bucket.limit),
                "remaining": str(max(0, int(level))),
                "reset": f"{reset_s * 1000:.0f}ms",
            }
            anthropic = name in ("input_tpm", "output_tpm")
            for what, value in values.items():
                if anthropic and what == "reset":
                    continue
                headers[f"anthropic-ratelimit-{kind}-{what}" if anthropic else f"x-ratelimit-{what}-{kind}"] = value
        return headers

    def _input(self, asked: bodies.Asked) -> int:
        how = self.behaviour.input_tokens
        if how is None:
            return asked.words
        return how if isinstance(how, int) else how(asked.prompt)

    def _latency(self) -> float:
        latency = self.behaviour.latency_s
        if isinstance(latency, tuple):
            return self._random.lognormvariate(math.log(latency[0]), latency[1])
        return latency if isinstance(latency, (int, float)) else latency(self._random)

    def _text(self, asked: bodies.Asked) -> tuple[str, bool]:
        """The answer, and whether ``max_tokens`` cut it off; a next turn then gets the rest."""
        given = self.behaviour.answer
        text = given if isinstance(given, str) else given(asked.prompt) if given is not None else asked.default
        words = text.split()[asked.answered :] if asked.answered else text.split()
        if not asked.answered and len(words) <= asked.max_tokens:
            return text, False
        gap = " " if asked.answered and words else ""
        return gap + " ".join(words[: asked.max_tokens]), len(words) > asked.max_tokens

    def _good(self, headers: Mapping[str, str], asked: bodies.Asked, delay: float, now: float) -> Reply:
        behaviour = self.behaviour
        thoughts = behaviour.thoughts.split()[: asked.max_tokens]
        text, cut = self._text(replace(asked, max_tokens=asked.max_tokens - len(thoughts)))
        billed, say = Billed(self._input(asked), len(thoughts) + len(text.split())), behaviour.usage
        if self._cache is not None:
            at = now + self.batches.advanced
            billed = self._cache.bill(asked.shape, asked.body, billed.output, key=_key(headers), now=at, delay_s=delay)
            billing = usage(asked.shape, billed)
            say = say or (lambda *_: billing)
        self._bill(asked, billed)
        body = bodies.answer(asked, text, cut, (billed.input, billed.output), usage=say)
        if thoughts:
            body = bodies.thinking(asked, body, " ".join(thoughts), where=behaviour.thoughts_in)
        extra = self._limit_headers(now)
        streams = behaviour.stream or asked.body.get("stream") is True
        if streams:
            body, extra = streamed(asked, body), extra | {"content-type": "text/event-stream"}
        pace_s = behaviour.pace_s if streams else 0.0
        return replace(self._plain(200, body, extra, delay_s=delay), good=True, pace_s=pace_s)

    def _bill(self, asked: bodies.Asked, billed: Billed, *, factor: float = 1.0) -> None:
        price = self.behaviour.prices.get(asked.model) or self.behaviour.prices.get("")
        self.counts.billed(billed, None if price is None else dollars(price, billed, factor=factor))

    def _late(self, fault: str, asked: bodies.Asked, delay: float) -> Reply:
        """The faults that replace an answer when it is due."""
        if fault == "non_json":
            return self._plain(200, b"<html><body>upstream error</body></html>", delay_s=delay)
        if fault == "empty":
            return self._plain(200, b"", delay_s=delay)
        if fault == "wrong_shape":
            return self._plain(200, json.dumps({"status": "ok", "prompt": asked.prompt[:50]}).encode(), delay_s=delay)
        if fault == "garbage":
            return Reply(b"\x00\x01 this is not HTTP\r\n\r\n", delay, "close", 0)
        if fault == "reset":
            return Reply(b"", delay, "reset", 0)
        if fault in ODD:
            body, tokens = odd(fault, asked, (self._input(asked), 3))
            self._bill(asked, Billed(*tokens))
            return self._plain(200, body, delay_s=delay)
        text, cut = self._text(asked)
        whole = self._plain(200, bodies.answer(asked, text, cut, (asked.words, 1)), delay_s=delay)
        return Reply(whole.data[: len(whole.data) * 3 // 4], delay, "close", 0)  # "truncate"

    def _plain(
        self, status: int, body: bytes, extra: Mapping[str, str] | None = None, *, delay_s: float = 0.0
    ) -> Reply:
        data = bodies.framed(status, body, extra or {}, chunked=self.behaviour.chunked and status == 200)
        if self.behaviour.interim:
            data = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + data
        return Reply(data, delay_s, "keep", status)


_BATCHES = re.compile(r"/(?:files|batches)(?:[/?]|$)")


def _key(headers: Mapping[str, str]) -> str:
    return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")


_LATE = frozenset({"non_json", "empty", "wrong_shape", "garbage", "reset", "truncate", *ODD})
