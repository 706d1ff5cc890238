"""The user's settings for models: spec, limits, price, batches and budget; and the usage that prices apply to.

They are public as names of ``mrengine`` and ``mrengine.records``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Batch",
    "Budget",
    "ModelSpec",
    "Price",
    "Priority",
    "RateLimit",
    "Usage",
]

Priority = Literal["P0_critical", "P1_user", "P2_batch"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or of many, as the provider counted them.

    ``input_tokens`` is the whole prompt. ``cached_tokens`` and ``cache_write_tokens`` (read from and written into the
    provider's cache) are parts of it, and ``cache_write_1h_tokens`` a part of the latter. ``output_tokens`` is the
    whole answer, ``reasoning_tokens`` a part of it. ``estimated``: some of these are our own count.
    How each vendor counts: ``mrengine.providers.call.counting``.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens.

    Where a price is not given: ``cached`` is ``input``; ``cache_write`` is 1.25 and ``cache_write_1h`` 2 times
    ``input``, as at Anthropic (https://platform.claude.com/docs/en/build-with-claude/prompt-caching); no vendor takes
    more. Reasoning costs what other output costs. ``batch_factor``: what a call costs in a batch, as a part of the
    direct price; 0.5 at all vendors that have batches. ``long``: the price of the whole of a call whose prompt, cached
    parts included, has more than ``long_above`` tokens; both or neither.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    batch_factor: float = 0.5
    long_above: int | None = None
    long: Price | None = None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Price:
        """A Price from the dict that ``dataclasses.asdict`` made of it. TypeError: it is no such dict."""
        long = plain.get("long")
        return cls(**{**plain, "long": None if long is None else cls(**long)})

    def at(self, prompt_tokens: int) -> Price:
        """The price of a call whose prompt has so many tokens."""
        # The whole call has the long price, not only the tokens above the bound: so the vendors bill it.
        is_long = self.long is not None and self.long_above is not None and prompt_tokens > self.long_above
        return self.long if is_long and self.long is not None else self

    def cost(self, usage: Usage, *, batch: bool = False, longest: int | None = None) -> float:
        """USD for this usage, directly or in a batch. ``longest``: if it is that of many calls, the tokens of their
        longest prompt.
        """
        price = self.at(usage.input_tokens if longest is None else longest)
        read, written, written_1h = price.cache_rates
        fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens  # the rest of the prompt
        cost = fresh * price.input + usage.cached_tokens * read + usage.output_tokens * price.output
        cost += (usage.cache_write_tokens - usage.cache_write_1h_tokens) * written
        cost += usage.cache_write_1h_tokens * written_1h
        return cost / 1e6 * (self.batch_factor if batch else 1.0)

    def most(self, usage: Usage, *, batch: bool = False, longest: int | None = None) -> float:
        """The upper bound in USD of a call with so many tokens. ``longest``: as for ``cost``."""
        # How much of the input will be read from a cache, or written into one, is not known before the answer: all of
        # it counts as what costs most.
        price = self.at(usage.input_tokens if longest is None else longest)
        dearest = max(price.input, *price.cache_rates, self.input, *self.cache_rates)
        cost = usage.input_tokens * dearest + usage.output_tokens * max(price.output, self.output)
        return cost / 1e6 * (self.batch_factor if batch else 1.0)

    @property
    def cache_rates(self) -> tuple[float, float, float]:
        """The prices of a million tokens that are read from a cache, written into it, and written for an hour."""
        return (
            self.input if self.cached is None else self.cached,
            self.input * 1.25 if self.cache_write is None else self.cache_write,
            self.input * 2.0 if self.cache_write_1h is None else self.cache_write_1h,
        )


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A provider's limits for one model: tokens (``tpm``), requests (``rpm``), input and output tokens per minute.

    ``rps``: requests per second, spaced evenly. ``concurrent``: calls in flight. ``burst_s``: how many seconds of the
    rate may be used at once. ``shared``: a name; all processes of this machine that use it and call the model at the
    same endpoint draw on one limit.
    """

    tpm: int | None = None
    rpm: int | None = None
    rps: float | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    concurrent: int | None = None
    burst_s: float = 60.0
    shared: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """How calls go through the provider's Batch API, at its price for them; times in seconds.

    ``max_wait_s``: how long ``run()`` waits before it raises JobTimeout and leaves the batches to ``resume()``.
    ``poll_s``: between two looks at a batch. ``deadline_s``: how long the job may wait, from its first batch on; then
    the batches are cancelled, what they had done is kept, and the rest is asked directly (``finish="direct"``) or
    fails ("fail"). ``max_requests`` and ``max_bytes``: of one batch, if the provider's own limits are too large.
    ``max_tokens``: estimated input tokens that may be under way at once.
    """

    max_wait_s: float = 86_400
    poll_s: float = 60
    deadline_s: float | None = None
    finish: Literal["direct", "fail"] = "direct"
    max_requests: int | None = None
    max_bytes: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """A hard stop: no call that could exceed it is made. ``per``: "job" counts all runs of the job, "run" this one."""

    max_tokens: int | None = None
    max_cost_usd: float | None = None
    per: Literal["job", "run"] = "job"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model: its name, and whatever the name does not imply.

    ``provider``: "openai" or "anthropic" (the vendor's SDK), "http" (straight), "local", "fake", a plugin, a class.
    ``api_key_env``: the environment variable with the key; with several, each is a key with its own limits, and calls
    go to whichever has room.
    ``headers``: a mapping, with ``${VAR}`` expanded in the worker, or a callable that returns one (called again after a
    401). ``params``: sent with every request. ``fallbacks``: names or specs of models that take over this model's
    chunks; ``fallbacks_on``: in which cases, any of "unavailable" (the model cannot be used, or not now), "overflow"
    (the text exceeds its window; fallbacks with a larger one are tried) and "filtered" (a content filter refused).
    ``reasoning``: "drop", or "keep" to have the model's reasoning in the text, before the answer, as
    ``<think>…</think>``.
    """

    name: str
    provider: str | type[Any] | None = None
    base_url: str | None = None
    api_key_env: str | Sequence[str] | None = None
    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = field(default=None, repr=False)
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    params: Mapping[str, Any] | None = None
    context_window: int | None = None
    max_output: int | None = None
    price: Price | None = None
    limits: RateLimit | None = None
    fallbacks: Sequence[str | ModelSpec] = ()
    reasoning: Literal["drop", "keep"] = "drop"
    fallbacks_on: Sequence[str] = ("unavailable", "overflow")
