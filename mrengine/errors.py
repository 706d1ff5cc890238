"""The exceptions of mrengine: one tree, which every room may import and which imports none.

::

    MrengineError
    ├─ ConfigError(ValueError)      a setting, a model name, a job id, a missing key, price or extra, a platform
    ├─ ChunkingError(ValueError)    limits and encodings that cannot work
    ├─ SourceError                  unreadable, undecodable, too large
    │   ├─ MissingExtra             also a ConfigError: a package is not installed
    │   └─ UrlRefused               a URL that the guard does not fetch; .rule says why
    ├─ JobError                     .job_id .summary .results .failures
    │   ├─ JobBusy                  a living process runs this job
    │   ├─ JobMismatch              other inputs than the job was started with
    │   ├─ JobNotFound
    │   ├─ JobFailed                every chunk failed, more than max_failed did, or no usable model is left
    │   ├─ JobCancelled             Job.cancel() was called; sticky until uncancel()
    │   ├─ JobTimeout(TimeoutError) timeout_s ran out
    │   ├─ JobWaiting               left to its batches, which are under way
    │   ├─ PoolBroken               workers die faster than they finish tasks, or cannot start
    │   ├─ SupervisorDied
    │   └─ BudgetExhausted          Budget(max_tokens, max_cost_usd) is spent
    ├─ InvalidResult(TypeError)     a stored result that does not match result_type
    ├─ Unstorable(TypeError)        a value that the log cannot hold
    ├─ LogError                     the write-ahead log: damaged, newer, full
    └─ ModelError                   one call to a model
        ├─ RateLimited              429
        ├─ ContextOverflow          the prompt is larger than the context window
        ├─ TruncatedAnswer          finish_reason == "length"
        ├─ InvalidAnswer            not JSON, or not what response_model asks for
        ├─ ModelRefused             400, 404, 413: final for the chunk; 401, 403, quota: final for the model
        └─ ModelUnavailable         5xx, dropped connections, timeouts

    Retry(Exception)                raised by map functions to have their chunk tried again
    Stopped(BaseException)          the job is stopping: its task is given back unfinished (internal)

Exceptions that never leave their room are defined there. Every class carries its facts as attributes, so that no
message has to be parsed. No message contains text of a document, a prompt or an answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrengine.records import ChunkFailure, ChunkResult, Observed, RunSummary, Usage

__all__ = [
    "BudgetExhausted",
    "ChunkingError",
    "ConfigError",
    "ContextOverflow",
    "InvalidAnswer",
    "InvalidResult",
    "JobBusy",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobMismatch",
    "JobNotFound",
    "JobTimeout",
    "JobWaiting",
    "LogError",
    "MissingExtra",
    "ModelError",
    "ModelRefused",
    "ModelUnavailable",
    "MrengineError",
    "PoolBroken",
    "RateLimited",
    "Retry",
    "SourceError",
    "Stopped",
    "SupervisorDied",
    "TruncatedAnswer",
    "Unstorable",
    "UrlRefused",
]


class MrengineError(Exception):
    """The root: every exception that mrengine itself raises derives from it."""


class ConfigError(MrengineError, ValueError):
    """A setting that cannot work. ``setting``: its name, if a single one is to blame."""

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class ChunkingError(MrengineError, ValueError):
    """Limits or an encoding with which no text can be cut. ``facts``: the numbers, which are also attributes."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.facts = facts
        self.__dict__.update(facts)


class SourceError(MrengineError):
    """A source that cannot be read or decoded.

    ``source`` names it; ``offset`` (in bytes) and ``line`` (from 1) say where, if known. ``command``: a shell command
    that prints it as text. ``errors``: one for each source, if there are several. ``document_id``: the id of its
    document in a job.
    """

    document_id: str | None = None

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        offset: int | None = None,
        line: int | None = None,
        command: str = "",
        errors: Sequence[SourceError] = (),
    ) -> None:
        super().__init__(message)
        self.source = source
        self.offset = offset
        self.line = line
        self.command = command
        self.errors = tuple(errors)


class UrlRefused(SourceError):
    """A URL that the guard does not fetch, or an answer that it does not accept.

    ``rule``: "scheme", "userinfo", "syntax", "length", "port", "host", "spelling", "resolve", "address", "redirects",
    "content_type", "max_bytes" or "timeout_s". ``url``: without query.
    """

    def __init__(self, message: str, *, rule: str, url: str) -> None:
        super().__init__(message, source=url)
        self.rule = rule
        self.url = url


class MissingExtra(SourceError, ConfigError):
    """A source that needs a package which is not installed; ``extra`` of mrengine brings it."""

    def __init__(self, message: str, *, extra: str, source: str | None = None) -> None:
        super().__init__(message, source=source)
        self.extra = extra


class InvalidResult(MrengineError, TypeError):
    """A result that does not match ``result_type``. The message names places and types, never a value."""


class Unstorable(MrengineError, TypeError):
    """A value that cannot be stored. ``path``: its place, such as ``result["x"][3]``; ``what``: its kind."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what

    # Exceptions are pickled with their message alone, and this constructor takes two arguments.
    def __reduce__(self) -> tuple[type[Unstorable], tuple[str, str]]:
        return type(self), (self.path, self.what)


class Stopped(BaseException):
    """The job is stopping: a wait for the budget or a model was cut short, and the task is given back unfinished.

    Not an Exception, so that no ``except Exception`` of a map function catches it.
    """


class JobError(MrengineError):
    """A job that ended without an answer. Finished work is in the log, and in ``results`` and ``failures``."""

    def __init__(
        self,
        message: str,
        *,
        job_id: str | None = None,
        summary: RunSummary | None = None,
        results: Sequence[ChunkResult] = (),
        failures: Sequence[ChunkFailure] = (),
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.summary = summary
        self.results = results
        self.failures = failures


class JobBusy(JobError):
    """A living process runs this job. ``pid``: its supervisor's. ``draining``: it ends by itself within ``drain_s``."""

    # Set by whoever finds out why the lock is held, after the error was made.
    draining = False
    drain_s = 0.0

    def __init__(self, message: str, *, pid: int | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.pid = pid


class JobMismatch(JobError):
    """The inputs differ from those that the job was started with. ``differences``: one line each."""

    def __init__(self, message: str, *, differences: Sequence[str] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.differences = tuple(differences)


class JobNotFound(JobError):
    """No such job in the state folder."""


class JobFailed(JobError):
    """Every chunk failed, more than ``max_failed`` did, or no usable model is left."""


class JobCancelled(JobError):
    """The job was cancelled. ``Job(job_id).uncancel()`` lets it run again."""


class JobTimeout(JobError, TimeoutError):
    """``timeout_s`` ran out. The job is resumable."""


class JobWaiting(JobError):
    """The job was left to its batches, which are under way. ``resume()`` collects them."""


class PoolBroken(JobError):
    """Workers cannot start, or die faster than they finish tasks; ``cause`` says why."""

    def __init__(self, message: str, *, cause: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.cause = cause


class SupervisorDied(JobError):
    """The supervisor died more often than it may be restarted. The job is resumable."""


class BudgetExhausted(JobError):
    """The next call could exceed the job's ``Budget``. ``spent`` and ``limit`` are in ``unit`` (tokens or USD)."""

    def __init__(self, message: str, *, spent: float = 0, limit: float = 0, unit: str = "tokens", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.spent = spent
        self.limit = limit
        self.unit = unit


class LogError(MrengineError):
    """The write-ahead log cannot be read or written.

    ``reason``: "damaged", "newer", "full", "io" or "not_a_log"; ``ranges``: the damaged parts, as byte offsets.
    """

    def __init__(
        self, message: str, *, reason: str, path: str | None = None, ranges: Sequence[tuple[int, int]] = ()
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.path = path
        self.ranges = tuple(ranges)

    @property
    def facts(self) -> dict[str, Any]:
        """Message and attributes, as plain values."""
        return {"message": str(self), "reason": self.reason, "path": self.path, "ranges": list(self.ranges)}


class ModelError(MrengineError):
    """One call to a model failed.

    ``transient``: the same call may succeed later. ``scope``: what a final error ends, "chunk" or "model".
    ``status``: the HTTP status, if any. ``retry_after_s``: the earliest retry that the provider allows. ``observed``:
    limits in the headers. ``param``: the refused parameter. ``usage``: of an answer that was paid for. ``sent``: False
    if the request cannot have reached the model. ``reason``: the cause, as a word of
    ``mrengine.providers.call.classify`` ("limit", "overflow", "filtered", "money", "key", …), or "". ``certain`` False:
    the error is about the whole model, but may concern only this chunk, or pass.
    """

    # Filled in while the error travels: by the mapping of the response, and by the retry loop, which adds ``attempts``,
    # ``waited_s`` and ``causes``, one line for each failed attempt.
    transient = False
    observed: Observed | None = None
    param: str = ""
    reason: str = ""
    certain: bool = True
    aside: bool = False  # the task gives up its slot while it waits for the model
    silent_s: float = 0.0  # how long the last attempt waited for an answer
    sent: bool = True
    usage: Usage | None = None
    tries: int | None = None  # the most tries of a call that fails like this; None: until its deadline
    answer: str = ""  # the text with which the model declined; the worker moves it into the log
    attempts: int = 1
    waited_s: float = 0.0
    causes: tuple[str, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        scope: str = "chunk",
    ) -> None:
        super().__init__(message)
        self.model = model
        self.status = status
        self.retry_after_s = retry_after_s
        self.scope = scope


class RateLimited(ModelError):
    """429 or its equivalent. A limit that lasts for hours is not ``transient``, and final for the whole model."""

    transient = True


class ContextOverflow(ModelError):
    """The prompt needs ``tokens``, more than the model's ``context_window``."""

    def __init__(self, message: str, *, tokens: int = 0, context_window: int = 0, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.tokens = tokens
        self.context_window = context_window


class TruncatedAnswer(ModelError):
    """The answer ended at ``max_tokens``."""


class InvalidAnswer(ModelError):
    """An answer that does not match ``response_model``, even when asked again. ``problems``: a line each, no values."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.problems = tuple(problems)


class ModelRefused(ModelError):
    """The provider refused: 400, 404 and 413 end the chunk; 401, 403, quota and billing end the model."""


class ModelUnavailable(ModelError):
    """5xx, a dropped connection, a timeout, or a body that is no answer."""

    transient = True


class Retry(Exception):
    """Raise it in a map function: the chunk is tried again after ``after_s``, at most ``max_attempts`` times."""

    def __init__(self, message: str = "", *, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = None if after_s is None else seconds(after_s)
        if self.after_s is None and after_s is not None:
            raise ConfigError(f"after_s is a number of seconds, 0 or more, not {after_s!r}", setting="after_s")


def seconds(value: Any) -> float | None:
    """A wait time from user code or a header, if it is a finite number of 0 or more; else None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # of an int with too many digits
        return None
    return number if 0 <= number < math.inf else None
