"""The settings of a runner: the one place for their defaults, their environment variables and their documentation.

Each field says what it does in its ``doc``; ``docs/reference.md`` is generated from it. An argument beats the
environment, which beats the default.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from mrengine import setting_checks as checks
from mrengine.errors import ChunkingError, ConfigError
from mrengine.profiling import PerformanceCollector
from mrengine.records import Batch, Budget, ModelSpec, Price, RateLimit

if TYPE_CHECKING:
    from mrengine.telemetry.watcher import Watcher

__all__ = ["Keep", "Models", "OnBusy", "RunnerSettings", "Settings", "Strategy", "setting_fields", "signature"]

PRIORITIES = {"P0": "P0_critical", "P1": "P1_user", "P2": "P2_batch"}

Models = str | ModelSpec | Sequence[str | ModelSpec] | None
Priority = Literal["P0_critical", "P1_user", "P2_batch", "P0", "P1", "P2"]
Balance = Literal["round_robin", "least_used", "budget", "all"]
Assignment = Literal["modulo", "steal"]
Strategy = Literal["parallel", "streaming", "sequential"]
OnBusy = Literal["error", "wait"]
OnMismatch = Literal["error", "extend", "recompute", "restart"]
OnSourceError = Literal["fail", "skip"]
Keep = Literal["always", "on_failure", "results"]
Durability = Literal["fsync", "flush"]


def _flag(text: str) -> bool:
    if text.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError(text)
    return text.lower() in ("1", "true", "yes", "on")


def _target(text: str) -> int | str | None:
    return None if text == "none" else text if text in ("auto", "fit") else int(text)


def _names(text: str) -> str | list[str]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    return names[0] if len(names) == 1 else names


def _setting(
    default: Any,
    doc: str,
    *,
    env: Callable[[str], Any] | None = None,
    choices: Sequence[Any] = (),
    least: float | None = None,
    most: float = math.inf,
    check: checks.Check | None = None,
) -> Any:
    """A field of ``Settings``. ``env`` parses its ``MRENGINE_`` variable; ``least`` and ``most`` bound a number, which
    is a whole one unless the default or ``least`` is a float; ``check`` is for what is neither a number nor a choice.
    """
    # One source for the signature, the environment, the reference page and the checks.
    whole = not any(isinstance(value, float) for value in (default, least))
    facts = {"doc": doc, "env": env, "choices": tuple(choices), "check": check}
    return field(default=default, metadata={**facts, "least": least, "most": most, "whole": whole})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a runner, checked. Times are in seconds, sizes in bytes or tokens, as their names say."""

    workers: int = _setting(5, "Worker processes.", env=int, least=1, most=1024)
    slots: int = _setting(
        1,
        "Concurrent tasks in each worker, a thread each. Many suit calls that wait for a model; CPU work wants one.",
        env=int,
        least=1,
        most=4096,
    )
    models: Models = _setting(
        None,
        "A model's name, a `ModelSpec`, or a list of these. None: `gpt-4o-mini` if `OPENAI_API_KEY` is set, else "
        "`claude-haiku-4-5` if `ANTHROPIC_API_KEY` is, else the embedded model.",
        env=_names,
    )
    priority: Priority = _setting(
        "P1_user",
        "Who goes first where several jobs share a limit. A class leaves part of the bucket to higher priorities.",
        env=str,
        choices=get_args(Priority),
    )
    balance: Balance | None = _setting(
        None,
        "How chunks are spread over several models; `all` sends every chunk to every model. None: `all` where the "
        "reducer asks for it (consensus), else `round_robin`.",
        choices=(None, *get_args(Balance)),
    )
    assignment: Assignment = _setting(
        "modulo",
        "`modulo`: a chunk runs in worker `chunk.id % workers`. `steal`: an idle worker takes from the longest queue.",
        choices=get_args(Assignment),
    )
    strategy: Strategy = _setting(
        "parallel",
        "`sequential`: in this process, one task at a time, for pdb. `streaming`: `parallel`, where each document goes "
        "to the workers before the next one is asked for: for sources that come slowly. Results are the same.",
        env=str,
        choices=get_args(Strategy),
    )
    target_tokens: int | Literal["auto", "fit"] | None = _setting(
        "auto",
        "Tokens of a chunk, its overlap included. `auto`: what the smallest model holds beside its answer, at most "
        "6000. `fit`: a document that one call can hold is one chunk, a longer one is cut into about 72 of 800 to "
        "6000 tokens (what `summarize` uses). None: one chunk a document.",
        env=_target,
        least=1,
    )
    overlap_tokens: int | None = _setting(
        None,
        "Tokens of the text before a chunk that are repeated at its head. None: 350, at most a quarter of the target.",
        least=0,
    )
    encoding: str = _setting(
        "o200k_base", "The tiktoken encoding that counts tokens: `o200k_base` or `cl100k_base`.", check=checks.TEXT
    )
    splitter: str | Callable[[str], Any] = _setting(
        "auto", "The kind of text, or a callable that takes the text and returns the offsets where to cut."
    )
    limits: Mapping[str, RateLimit] | None = _setting(
        None,
        "The provider's limits, by model: `{'gpt-4o': RateLimit(tpm=…, rpm=…)}`. What is not given is learned.",
        check=checks.check_limits,
    )
    prices: str | os.PathLike[str] | Mapping[str, Price] | None = _setting(
        None,
        "What models cost: `{name: Price(input, output)}`, or a JSON file of the form of the package's `prices.json`. "
        "It goes before the package's table; `ModelSpec(price=…)` goes before both.",
        env=str,
    )
    budget: Budget | None = _setting(
        None,
        "What may be spent at most. An upper bound is reserved before each call; the job stops rather than exceed it.",
        check=checks.check_budget,
    )
    batch: bool | Batch | None = _setting(
        None,
        "Calls go through the provider's Batch API, at half the price or less, and the job waits for them: True, or a "
        "`Batch(deadline_s=…)`. None: where the job has batches under way. False: what is under way is cancelled.",
        check=checks.check_batch,
    )
    answers: str | os.PathLike[str] = _setting(
        "job",
        "Where calls look for answers to identical calls before they are made: `job`, in the job's own log; `shared`, "
        "also in a file of the state folder, where all jobs with this setting leave theirs; a Path: such a file.",
        env=str,
        check=checks.ANSWERS,
    )
    single_flight: bool = _setting(
        False,
        "Whether identical calls of a job, whichever chunks make them, are made once; else each chunk has its own.",
        check=checks.FLAG,
    )
    max_attempts: int = _setting(
        3, "Attempts of a chunk whose worker crashes or hangs, or whose function raises `Retry`.", least=1
    )
    max_failed: int | None = _setting(
        None,
        "Failed chunks to accept: one more ends the job with `JobFailed`. None: any number, as long as one succeeds.",
        least=0,
    )
    chunk_timeout_s: float = _setting(
        600.0,
        "A task that runs longer is ended with its worker. Time spent waiting for the budget does not count.",
        least=0.001,
    )
    drain_s: float = _setting(10.0, "How long calls in flight may take once a job stops.", least=0.0)
    backoff_s: float = _setting(
        1.0, "The first wait before another attempt; each further one may be twice as long.", least=0.0
    )
    max_worker_rss: int | None = _setting(
        None, "Resident bytes beyond which a worker is replaced once its tasks have ended.", least=1
    )
    map_version: str | None = _setting(
        None,
        "Names the version of the map function in the log. None: a digest of its code and of the values it uses.",
        check=checks.TEXT,
    )
    on_busy: OnBusy = _setting(
        "error",
        "What to do when another process, or another run of this runner, has the job: `error` raises `JobBusy`, `wait` "
        "waits for its end, at most `timeout_s`, and takes over what it has done.",
        choices=get_args(OnBusy),
    )
    on_mismatch: OnMismatch | None = _setting(
        None,
        "What to do when the job was started with other inputs: `error` raises `JobMismatch`, `extend` accepts added "
        "documents, `recompute` keeps what still fits, `restart` begins anew. None: `error`, and `recompute` for a job "
        "that is named by its inputs.",
        choices=(None, *get_args(OnMismatch)),
    )
    on_source_error: OnSourceError = _setting(
        "skip",
        "What to do about sources that cannot be read, among others that can: `skip` runs the others, and each of them "
        "is a failure with its cause; `fail` raises one `SourceError` that names them all, before anything runs. What "
        "takes long to read runs meanwhile: then the first of them ends the run, and what was done stays.",
        choices=get_args(OnSourceError),
    )
    initializer: Callable[..., None] | None = _setting(
        None,
        "Called once in each worker before the map function is loaded: `django.setup`, logging.",
        check=checks.must_be("a function", callable),
    )
    initargs: Sequence[Any] = _setting(
        (),
        "The arguments of `initializer`.",
        check=checks.must_be("a tuple or list of arguments", lambda value: isinstance(value, (tuple, list))),
    )
    preload: Sequence[str] = _setting(
        (),
        "Installed modules to import once, before the workers are forked, beside those the map function imports.",
        check=checks.NAMES,
    )
    keep: Keep | None = _setting(
        None,
        "What stays after success: `always` the job, `results` the job without its documents, `on_failure` nothing. "
        "None: `always` for a job with a name, else `on_failure`.",
        choices=(None, *get_args(Keep)),
    )
    state_dir: str | os.PathLike[str] | None = _setting(
        None,
        "Where jobs are kept. None: `$XDG_STATE_HOME/mrengine`, or `~/.local/state/mrengine`.",
        env=str,
        check=checks.PLACE,
    )
    durability: Durability = _setting(
        "fsync",
        "`fsync`: what was announced survives a power cut. `flush`: it survives the death of every process.",
        choices=get_args(Durability),
    )
    strict: bool = _setting(False, "Refuse a damaged log with `LogError` instead of repairing it.", check=checks.FLAG)
    backend: str = _setting(
        "process",
        "What carries tasks to workers: `process`, `sequential` (as `strategy='sequential'`), `ray` (actors of a Ray "
        "cluster), or one that an installed package registers as an entry point of the group `mrengine.backends`.",
        check=checks.must_be("the name of one", lambda value: isinstance(value, str)),
    )
    address: str | None = _setting(
        None,
        "Of a running Ray cluster. None: `$RAY_ADDRESS`, or a local one for the run.",
        check=checks.must_be("a str, and not empty", lambda value: isinstance(value, str) and value != ""),
    )
    progress: bool | None = _setting(
        None,
        "Whether to draw a progress bar. None: only on a terminal.",
        check=checks.must_be("True, False or None", lambda value: isinstance(value, bool)),
    )
    collector: PerformanceCollector | None = _setting(
        None,
        "A `mrengine.profiling.PerformanceCollector` for the stages of runs, and for `@profile` in the workers.",
        check=checks.must_be("a PerformanceCollector", lambda value: isinstance(value, PerformanceCollector)),
    )
    telemetry: bool | Watcher | Sequence[Watcher] = _setting(
        False,
        "True: OpenTelemetry, by the program's providers. Or what watches runs: see `docs/seeing.md`.",
        env=_flag,
    )

    @classmethod
    def of(cls, arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
        """Settings from keyword arguments and ``MRENGINE_*`` variables; raises ConfigError, ChunkingError."""
        by_name = setting_fields()
        for name in sorted(set(arguments) - set(by_name)):
            # A setting that is misspelt and ignored would be noticed by its bill.
            meant = "".join(f"; did you mean {like}?" for like in difflib.get_close_matches(name, by_name, 1))
            raise ConfigError(f"unknown setting: {name}{meant}", setting=name)
        settings = cls(**{**_from_environment(arguments, os.environ if environ is None else environ), **arguments})
        for name, one in by_name.items():
            checks.check_value(name, getattr(settings, name), one.metadata)
        settings._check_together()  # after each by itself, so that the first message is about the wrong one
        return settings

    def with_(self, **changes: Any) -> Settings:
        """A copy with these changes, checked."""
        changed = replace(self, **changes)  # dataclasses check nothing
        for name in changes:
            checks.check_value(name, getattr(changed, name), setting_fields()[name].metadata)
        return changed

    def _check_together(self) -> None:
        target, overlap = self.target_tokens, self.overlap_tokens
        if isinstance(target, int) and overlap is not None and overlap >= target:
            message = f"overlap_tokens={overlap} leaves no room in target_tokens={target}: make it smaller"
            raise ChunkingError(message, target_tokens=target, overlap_tokens=overlap)
        if self.strategy == "sequential" and self.backend not in ("process", "sequential"):
            message = f"strategy='sequential' and backend={self.backend!r} are two backends: leave one of them out"
            raise ConfigError(message, setting="backend")

    @property
    def backend_name(self) -> str:
        """The name of the backend; ``strategy`` may choose it."""
        return "sequential" if self.strategy == "sequential" else self.backend

    @property
    def batching(self) -> Batch | None:
        """The Batch of the setting ``batch``; None: calls go directly."""
        return self.batch if isinstance(self.batch, Batch) else Batch() if self.batch else None

    @property
    def full_priority(self) -> str:
        """The priority by its long name."""
        return PRIORITIES.get(self.priority, self.priority)


def setting_fields() -> dict[str, Field[Any]]:
    """The fields of ``Settings`` by name; their metadata are what ``_setting`` took."""
    return {one.name: one for one in fields(Settings)}


def signature(*first: inspect.Parameter) -> inspect.Signature:
    """The signature of a function with the parameters ``first`` and all settings, for editors and ``help()``."""
    rest = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=one.default,
            annotation=one.type,
        )
        for name, one in setting_fields().items()
    ]
    return inspect.Signature([*first, *rest])


def _from_environment(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, one in setting_fields().items():
        variable = "MRENGINE_" + name.upper()
        text, parse = environ.get(variable), one.metadata["env"]
        if not text or name in arguments or parse is None:  # an empty variable counts as unset, as shells leave them
            continue
        try:
            values[name] = parse(text)
        except ValueError:
            what = "neither 1 nor 0" if parse is _flag else "not a number"
            raise ConfigError(f"{variable}={text!r} is {what}", setting=name) from None
    return values


class RunnerSettings(TypedDict, total=False):
    """The types of the keyword arguments, for type checkers, which cannot derive them; a test compares ``Settings``."""

    workers: int
    slots: int
    models: Models
    priority: Priority
    balance: Balance | None
    assignment: Assignment
    strategy: Strategy
    target_tokens: int | Literal["auto", "fit"] | None
    overlap_tokens: int | None
    encoding: str
    splitter: str | Callable[[str], Any]
    limits: Mapping[str, RateLimit] | None
    prices: str | os.PathLike[str] | Mapping[str, Price] | None
    budget: Budget | None
    batch: bool | Batch | None
    answers: str | os.PathLike[str]
    single_flight: bool
    max_attempts: int
    max_failed: int | None
    chunk_timeout_s: float
    drain_s: float
    backoff_s: float
    max_worker_rss: int | None
    map_version: str | None
    on_busy: OnBusy
    on_mismatch: OnMismatch | None
    on_source_error: OnSourceError
    initializer: Callable[..., None] | None
    initargs: Sequence[Any]
    preload: Sequence[str]
    keep: Keep | None
    state_dir: str | os.PathLike[str] | None
    durability: Durability
    strict: bool
    backend: str
    address: str | None
    progress: bool | None
    collector: PerformanceCollector | None
    telemetry: bool | Watcher | Sequence[Watcher]
