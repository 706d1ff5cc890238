"""The values that pass between rooms and to the user: frozen, slotted dataclasses without behaviour of their own.

What users say about models is defined in ``model_settings``, and importable from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from html import unescape
from typing import Any, Literal

from mrengine.html_views import facts_html
from mrengine.model_settings import Batch, Budget, ModelSpec, Price, Priority, RateLimit, Usage

__all__ = [
    "Batch",
    "Budget",
    "Chunk",
    "ChunkFailure",
    "ChunkResult",
    "Completion",
    "Document",
    "Estimate",
    "Grant",
    "Interval",
    "JobDiff",
    "JobStatus",
    "ModelSpec",
    "Observed",
    "Pilot",
    "Price",
    "Priority",
    "RateLimit",
    "Request",
    "RunSummary",
    "Throughput",
    "Usage",
    "above",
    "fence",
    "title_of",
]

_TAG = re.compile(r"<[^<>]*>")
_LONGEST_TITLE = 200  # characters


@dataclass(frozen=True, slots=True)
class Document:
    """A document with an id of the caller's choice. ``source``: a str (the text), Path, Url, bytes or file object.

    ``fields``: a small dict of plain values (at most 64 KiB) that every chunk, result and export carries; a job resumes
    only with the same fields.
    """

    id: str
    source: Any
    fields: Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of one document. Offsets are characters of the document.

    ``text`` is ``document[start - overlap : end]``; the spans ``start:end`` of all chunks tile the document. ``tokens``
    is tiktoken's own count of ``text``. ``kind``: how the splitter classified the text ("prose", "json", …).
    ``headings``: the titles above ``start``, outermost first; ``table_header``: the first lines of a CSV or Markdown
    table that began before it. Neither is part of ``text``; the limit leaves room for both. ``fields``: those of the
    document. ``page_marks``: (number, offset in the document) of each page that ``text`` touches.
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
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    page_marks: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @property
    def pages(self) -> tuple[int, ...]:
        """The numbers of the pages that ``start:end`` touches; none if the document has no pages."""
        last = self.page_marks[-1:]  # a page ends where the next begins, and the last one with the chunk
        ends = [at for _, at in self.page_marks[1:]] + [self.end for _ in last]
        return tuple(number for (number, _), stop in zip(self.page_marks, ends, strict=True) if stop > self.start)

    def page_at(self, offset: int) -> int | None:
        """The page of a character of the text; ``offset``: in the document. None: the document has no pages."""
        return next((number for number, at in reversed(self.page_marks) if at <= offset), None)

    @property
    def fenced(self) -> str:
        """The text, below its headings and table header, as data for a prompt: between two tags that the text itself
        cannot contain.
        """
        return fence(above(self.headings, self.table_header) + self.text)


def above(headings: Sequence[str], table_header: str) -> str:
    """The lines above a chunk's text in a prompt: one with the titles, then the head of its table."""
    title = " > ".join(headings)
    return "".join(f"{part}\n" for part in (f"[{title}]" if title else "", table_header.rstrip("\r\n")) if part)


def title_of(markup: str) -> str:
    """The text of an HTML heading, in one line."""
    return " ".join(unescape(_TAG.sub("", markup)).split())[:_LONGEST_TITLE].rstrip()


def fence(text: str) -> str:
    """Put a text between tags named by its own digest: no instruction in it can pretend to stand behind its end."""
    # A digest, not a random name: the same text must give the same prompt, or no stored answer would be found again.
    data = text.encode("utf-8", "surrogatepass")
    tag = "data-" + blake2b(data, digest_size=6).hexdigest()
    while tag in text:  # computed by somebody so that it contains its own digest
        tag = "data-" + blake2b(data, digest_size=6, salt=tag[-12:].encode()).hexdigest()
    return f"<{tag}>\n{text}\n</{tag}>"


def cost_sum(one: float | None, other: float | None) -> float | None:
    """Both costs together, in US dollars; None, unknown, if one of them is: the other would look like the whole."""
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class Observed:
    """The limits in a provider's response headers; None: the header is missing. Seconds count from the response."""

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
    """One request to a model, as a provider receives it.

    ``schema``: a JSON schema or None. ``timeout_s``: for the whole call. ``finish_s``: for a call whose answer has
    begun, if that is longer. ``cache``: how long the provider shall keep the beginning of the call (its schema, system
    and the first ``prefix`` characters of the prompt), "5m" or "1h".
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
    # The turns so far of a continuation or a re-ask: (role, content) pairs that follow the prompt.
    turns: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cache: str | None = None
    prefix: int = 0
    # Called with each piece of the answer while it is written; a provider that cannot stream ignores it.
    pieces: Callable[[str], None] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one call; ``str()`` is its text. ``parsed``: the validated value, given a ``response_model``."""

    text: str = field(repr=False)
    parsed: Any = field(default=None, repr=False)
    usage: Usage = Usage()  # frozen: all instances may share it
    model: str = ""
    finish_reason: str = "stop"
    latency_ms: float = 0.0
    reused: bool = False
    observed: Observed | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """A finished chunk. ``cost_usd`` is None where a price is unknown. ``fields``: those of its document; ``pages``:
    the numbers of the pages it touches.
    """

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
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    pages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkFailure:
    """A chunk without a result.

    ``kind``: "error" (map_fn raised), "unstorable" (its result), "model" (a call), "crash", "hang", "retries",
    "damaged" (its text, its document's name or the record of its outcome is lost), "source" (a whole source that could
    not be read; its chunk_id is -1). ``traceback``: files, lines and functions, without source lines and values.
    ``answers``: the models' answers to the calls of the last attempt, verbatim, refused ones included.
    """

    chunk_id: int
    document_id: str
    model: str | None
    kind: str
    message: str
    attempts: int = 1
    traceback: str = field(default="", repr=False)
    answers: tuple[str, ...] = field(default=(), repr=False)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    pages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """A token bucket's reply: ``granted`` tokens (0: not yet), what remains, and the wait in ms for the rest."""

    granted: int
    remaining: int
    wait_ms: float
    queue_position: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """The work and cost of a job under the assumptions in ``assumed``. Nothing was called, and it is no upper bound.

    ``output_tokens``: as many as the calls allow (``max_tokens``). ``cost_usd``: None if a price is unknown;
    ``batch_cost_usd``: the same in batches, None if a model has none.
    """

    chunks: int
    calls: int
    input_tokens: int
    cost_usd: float | None
    output_tokens: int = 0
    calls_per_chunk: float = 1.0
    assumed: tuple[str, ...] = ()
    batch_cost_usd: float | None = None

    def _repr_html_(self) -> str:
        """For notebooks."""
        return facts_html(self)


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval that holds the true number in at least 95 of 100 jobs."""

    low: float
    estimate: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Pilot:
    """The ``results`` of a pilot, and what the whole job of ``chunks`` will cost (None: a price is unknown) and take,
    the pilot included.
    """

    results: tuple[ChunkResult, ...] = field(repr=False)
    cost_usd: Interval | None
    duration_s: Interval
    chunks: int = 0
    job_id: str = ""
    summary: RunSummary | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class JobDiff:
    """The work of a job over other documents, by the same function and models; nothing was called.

    ``kept`` of the ``chunks`` have their results; the rest is ``asked`` again, ``asked_tokens`` of text. ``cost_usd``:
    what that would cost at the price of the job's chunks so far; None: it is unknown.
    """

    chunks: int
    kept: int
    asked: int
    asked_tokens: int
    cost_usd: float | None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state of a job, from its log and lock. Times are seconds since the epoch; ``eta_s`` None: unknown.

    ``total_so_far``: documents are still being cut, and ``total`` counts the chunks so far.
    """

    job_id: str
    state: Literal["running", "done", "failed", "stopped", "cancelled", "interrupted", "waiting"]
    round: int = 0
    total: int = 0
    done: int = 0
    failed: int = 0
    in_flight: int = 0
    resumed: int = 0
    cost_usd: float | None = None
    eta_s: float | None = None
    updated: float = 0.0
    reason: str = ""  # why the last run did not finish, or why chunks failed
    models: tuple[str, ...] = ()
    function: str = field(default="", repr=False)  # its name, or the beginning of the prompt
    documents: int = 0
    source: str = ""  # the id of the first document
    usage: Usage = Usage()  # of all runs
    size_bytes: int = 0  # of the job's folder
    folder: str = ""
    total_so_far: bool = False
    batches: tuple[Mapping[str, Any], ...] = ()  # batch_id, state, model, requests, began; answered, refused

    def _repr_html_(self) -> str:
        """For notebooks."""
        return facts_html(self)


@dataclass(frozen=True, slots=True)
class Throughput:
    """The pace of this run's own work; resumed chunks do not count."""

    chunks_per_second: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run's account. ``usage``: tokens per model. ``cost_usd``: None, never 0, if a price is unknown. ``retries``:
    repeated chunks and calls; ``rate_limited``: the calls among them that a rate limit had refused. ``reused_calls``:
    calls whose answer an earlier run, another job or an identical call had paid for. ``unread_sources``: sources that
    could not be read and were left out (``on_source_error="skip"``).
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
    unread_sources: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return facts_html(self)
