"""The values that travel: frozen, slotted dataclasses, no behaviour beyond their own arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Literal

__all__ = [
    "Budget",
    "Chunk",
    "ChunkFailure",
    "ChunkResult",
    "Completion",
    "Document",
    "Estimate",
    "Grant",
    "JobStatus",
    "ModelSpec",
    "Observed",
    "Price",
    "Priority",
    "RateLimit",
    "Request",
    "RunResult",
    "RunSummary",
    "Throughput",
    "Usage",
]

Priority = Literal["P0_critical", "P1_user", "P2_batch"]


@dataclass(frozen=True, slots=True)
class Document:
    """A document with an id of the caller's choice; ``source`` is a str (text), Path, bytes or file object."""

    id: str
    source: Any


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of one document. Offsets are characters of the document.

    ``text`` is ``document[start - overlap : end]``; ``start:end`` of all chunks tile the document. ``tokens`` is
    tiktoken's own count of ``text``. ``kind`` is what the splitter took the text for ("prose", "json", …).
    ``headings``: the titles that stand above ``start``, outermost first; ``table_header``: the first lines of the CSV
    or Markdown table that began before it. Neither is part of ``text``; the limit has room for both.
    """

    id: int
    document_id: str
    start: int
    end: int
    overlap: int
    tokens: int
    kind: str
    text: str = field(repr=False)
    headings: tuple[str, ...] = field(default=(), repr=False)
    table_header: str = field(default="", repr=False)

    @property
    def fenced(self) -> str:
        """The text, below its headings and table header, as marked data for a prompt: between two tags that the text
        itself cannot contain.
        """
        return fence(above(self.headings, self.table_header) + self.text)


def above(headings: Sequence[str], table_header: str) -> str:
    """What stands above a chunk's text in a prompt: the titles in one line, then the head of its table."""
    title = " > ".join(headings)
    return "".join(f"{part}\n" for part in (f"[{title}]" if title else "", table_header.rstrip("\r\n")) if part)


def fence(text: str) -> str:
    """Put a text between tags named by its own digest, so that no document can close its fence."""
    tag = "data-" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"<{tag}>\n{text}\n</{tag}>"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or of many, as the provider counted them.

    ``input_tokens`` is the whole prompt; ``cached_tokens`` and ``cache_write_tokens`` (read from and written into the
    provider's cache) are part of it, ``cache_write_1h_tokens`` of the latter. ``output_tokens`` is the whole answer;
    ``reasoning_tokens`` are part of it. ``estimated``: the provider did not say (all of) it, so it is our own count.
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
class Observed:
    """What a provider's headers said of its limits. ``None``: it said nothing. Times in seconds from the answer."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None
    limit_input_tokens: int | None = None
    remaining_input_tokens: int | None = None
    limit_output_tokens: int | None = None
    remaining_output_tokens: int | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a model, as a provider gets it. ``schema``: a JSON schema or None. ``timeout_s``: for the whole
    call. ``finish_s``: for one whose answer has begun, where that is more.
    """

    model: str
    prompt: str = field(repr=False)
    system: str | None = field(default=None, repr=False)
    max_tokens: int = 1024
    temperature: float | None = None
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    chunk_id: int | None = None
    document_id: str | None = None
    attempt: int = 1
    timeout_s: float = 600.0
    finish_s: float = 0.0
    # The turns so far, where the model is asked again (continuation, a re-ask); (role, content) pairs after the prompt.
    turns: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one call. ``parsed``: the validated value where ``response_model`` was given. ``str()`` is the
    text.
    """

    text: str = field(repr=False)
    parsed: Any = field(default=None, repr=False)
    usage: Usage = Usage()
    model: str = ""
    finish_reason: str = "stop"
    latency_ms: float = 0.0
    reused: bool = False
    observed: Observed | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """A finished chunk. ``cost_usd`` is None where a price is unknown."""

    chunk_id: int
    document_id: str
    model: str | None
    worker_id: int
    result: Any = field(repr=False)
    usage: Usage = Usage()
    cost_usd: float | None = None
    duration_ms: float = 0.0
    attempt: int = 1
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class ChunkFailure:
    """A chunk that has no result.

    ``kind``: "error" (map_fn raised), "unstorable" (its result), "model" (a call), "crash", "hang", "retries",
    "damaged" (its text or its document's name is lost).
    ``traceback`` names files, lines and functions only: no source line, no value. ``answers``: what the models had
    answered to the calls of the last attempt, as they said it, refused answers included.
    """

    chunk_id: int
    document_id: str
    model: str | None
    kind: str
    message: str
    attempts: int = 1
    traceback: str = field(default="", repr=False)
    answers: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A provider's limits for one model, per minute; ``rps``: requests per second, spaced evenly.
    ``burst_s``: seconds of the rate that may be used at once.

    ``concurrent``: calls in flight. ``shared``: a name under which all processes of this machine that call the model at
    the same endpoint draw on one limit.
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
class Budget:
    """A hard stop. ``per="job"`` counts all runs of the job, "run" this one."""

    max_tokens: int | None = None
    max_cost_usd: float | None = None
    per: Literal["job", "run"] = "job"


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens.

    Where a price is not given: ``cached`` is ``input``; ``cache_write`` is 1.25 and ``cache_write_1h`` 2 times
    ``input``, as at Anthropic, the only vendor that charges more for them
    (https://platform.claude.com/docs/en/build-with-claude/prompt-caching). Reasoning costs what other output costs.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None

    def cost(self, usage: Usage) -> float:
        """USD for this usage."""
        cached = self.input if self.cached is None else self.cached
        written = self.input * 1.25 if self.cache_write is None else self.cache_write
        written_1h = self.input * 2.0 if self.cache_write_1h is None else self.cache_write_1h
        fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        cost = fresh * self.input + usage.cached_tokens * cached + usage.output_tokens * self.output
        cost += (usage.cache_write_tokens - usage.cache_write_1h_tokens) * written
        return (cost + usage.cache_write_1h_tokens * written_1h) / 1e6

    def most(self, usage: Usage) -> float:
        """USD at most, where nobody knows yet how much of the input will be written into a cache."""
        written = usage.input_tokens if (self.cache_write or 0.0) > self.input else 0
        return self.cost(Usage(usage.input_tokens, usage.output_tokens, 0, written))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model, by name, and what its name does not say.

    ``provider``: a name ("openai", "anthropic", "http", "local", "fake", an entry point) or a Provider class.
    ``api_key_env``: the variable that holds the key; of several each is a key with limits of its own, and calls go to
    whichever has room.
    ``headers``: a mapping, ``${VAR}`` expanded in the worker, or a callable that returns one (asked again after a 401).
    ``params``: sent with every request. ``fallbacks``: names or specs that take this model's chunks when it fails;
    ``fallbacks_on``: of what, any of "unavailable" (it cannot be used, or not now), "overflow" (a text that it does
    not hold; the fallbacks with a larger window are asked) and "filtered" (a content filter refused).
    ``reasoning``: "drop", or "keep" to have what the model thinks aloud in the text, before the answer, as
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


@dataclass(frozen=True, slots=True)
class Grant:
    """What a bucket says: ``granted`` tokens (0: not yet), what remains, and the wait in ms until it could be
    granted.
    """

    granted: int
    remaining: int
    wait_ms: float
    queue_position: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job would do and cost under what is ``assumed``; nothing was called, and it is no upper bound.

    ``output_tokens``: as many as the calls allow (``max_tokens``). ``cost_usd``: None where a price is unknown.
    """

    chunks: int
    calls: int
    input_tokens: int
    cost_usd: float | None
    output_tokens: int = 0
    calls_per_chunk: float = 1.0
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as its log and lock tell. Times are seconds since the epoch; ``eta_s`` None when it cannot be told."""

    job_id: str
    state: Literal["running", "done", "failed", "stopped", "cancelled", "interrupted"]
    round: int = 0
    total: int = 0
    done: int = 0
    failed: int = 0
    in_flight: int = 0
    resumed: int = 0
    cost_usd: float | None = None
    eta_s: float | None = None
    updated: float = 0.0
    reason: str = ""  # why the last run was not done, or what chunks failed of
    models: tuple[str, ...] = ()
    function: str = field(default="", repr=False)  # its name, or the beginning of the prompt
    documents: int = 0
    source: str = ""  # the id of the first document
    usage: Usage = Usage()  # of all runs
    size_bytes: int = 0  # of the job's folder
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Of this run's own work, resumed chunks not counted."""

    chunks_per_second: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did. ``usage``: tokens per model. ``cost_usd``: None where a price is unknown, never 0. ``retries``:
    chunks and calls that were tried again; ``rate_limited``: the calls among them that a limit had refused.
    """

    job_id: str
    total_chunks: int = 0
    processed_chunks: int = 0
    failed_chunks: int = 0
    resumed_chunks: int = 0
    retries: int = 0
    reused_calls: int = 0
    worker_restarts: int = 0
    rate_limited: int = 0
    duration_ms: float = 0.0
    throughput: Throughput = Throughput()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    cost_usd: float | None = None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, as JSON takes them."""
        return asdict(self)


class RunResult(tuple[Any, RunSummary]):
    """``result, summary = run``; also ``.result .summary .results .failures .job_id``."""

    results: Sequence[ChunkResult]
    failures: Sequence[ChunkFailure]

    def __new__(
        cls,
        result: Any,
        summary: RunSummary,
        results: Sequence[ChunkResult] = (),
        failures: Sequence[ChunkFailure] = (),
    ) -> RunResult:
        self = super().__new__(cls, (result, summary))
        self.results = results
        self.failures = failures
        return self

    @property
    def result(self) -> Any:
        return self[0]

    @property
    def summary(self) -> RunSummary:
        return self[1]

    @property
    def job_id(self) -> str:
        return self.summary.job_id
