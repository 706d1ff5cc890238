"""Owns the front door: ``MapReduceRunner``. It wires the rooms together and holds no logic of its own."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, TypeVar

from mrengine import events
from mrengine.backends.process.driver import Driver, ProcessDriver
from mrengine.config import UNSET, Settings, check_job_id, check_platform, jobs_folder, new_job_id
from mrengine.errors import ConfigError, JobNotFound
from mrengine.host.auto import auto_job_id
from mrengine.host.estimate import estimate
from mrengine.host.event_loops import warn_in_event_loop
from mrengine.host.job_identity import MapFunction, describe_map
from mrengine.host.job_run import JobRun
from mrengine.host.notices import names_a_file
from mrengine.host.reduce import reduced
from mrengine.host.requests import RunConfig, check_terms
from mrengine.host.sequential import SequentialDriver
from mrengine.host.stored import stored_job
from mrengine.host.tree_reduce import play_tree
from mrengine.jobs import Job
from mrengine.log.view.job_view import ResumeEngine
from mrengine.mapfn.pickling import pack, pack_function
from mrengine.progress import open_progress
from mrengine.providers.models.balancer import ModelLoadBalancer
from mrengine.providers.models.model import Model, resolve_models
from mrengine.records import (
    Budget,
    ChunkFailure,
    ChunkResult,
    Estimate,
    JobStatus,
    ModelSpec,
    RateLimit,
    RunResult,
)
from mrengine.reducers.tree import TreeReduce

__all__ = ["MapReduceRunner"]

log = logging.getLogger("mrengine")

MapFn = Callable[[Any, Any], Any]
ReduceFn = Callable[[Any], Any] | TreeReduce
_STORED = object()  # stands for the documents in a job's spool
Callback = TypeVar("Callback", bound=Callable[[Any], Any])


class MapReduceRunner:
    """Runs a function over the chunks of documents, in supervised worker processes, and reduces the results.

    See ``docs/design.md`` for each setting; times are in seconds. Raises ConfigError for settings that cannot work.
    A runner may be used for several runs, one at a time; in a ``with`` block they share one warm pool.
    """

    def __init__(
        self,
        job_id: str | None = None,
        *,
        workers: int = UNSET,
        slots: int = UNSET,
        models: str | ModelSpec | Sequence[str | ModelSpec] | None = UNSET,
        priority: str = UNSET,
        balance: Literal["round_robin", "least_used", "budget", "all"] | None = None,
        assignment: Literal["modulo", "steal"] = "modulo",
        strategy: Literal["parallel", "sequential"] = "parallel",
        target_tokens: int | Literal["auto"] | None = UNSET,
        overlap_tokens: int | None = None,
        encoding: str = "o200k_base",
        splitter: str | Callable[[str], Any] = "auto",
        limits: Mapping[str, RateLimit] | None = None,
        budget: Budget | None = None,
        max_attempts: int = 3,
        max_failed: int | None = None,
        chunk_timeout_s: float = 600.0,
        drain_s: float = 10.0,
        backoff_s: float = 1.0,
        max_worker_rss: int | None = None,
        map_version: str | None = None,
        on_mismatch: Literal["error", "extend", "recompute", "restart"] | None = None,
        initializer: Callable[..., None] | None = None,
        initargs: Sequence[Any] = (),
        preload: Sequence[str] = (),
        keep: Literal["always", "on_failure", "results"] | None = None,
        state_dir: str | os.PathLike[str] | None = UNSET,
        durability: Literal["fsync", "flush"] = "fsync",
        strict: bool = False,
        backend: Literal["process"] = "process",
        progress: bool | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "job_id", "__class__")}
        check_platform()
        self._settings = Settings.of(given)
        self._job_id = job_id if job_id in (None, "auto") else check_job_id(job_id)
        self._first_id = self._job_id
        self._dispatcher = events.Dispatcher()
        self._models: tuple[Model, ...] | None = None
        self._session: Driver | None = None
        self._session_pid = 0
        self._kept = False
        self._run: JobRun | None = None
        self._busy = threading.Lock()
        self._last_id: str | None = self._job_id if self._job_id != "auto" else None
        if self._settings.models is not None:
            self._resolve()

    @property
    def models(self) -> tuple[Model, ...]:
        """The models of the runner's jobs, resolved; empty where none was named and none is set up."""
        return self._resolve()

    @cached_property
    def balancer(self) -> ModelLoadBalancer:
        """What each model did over all workers and runs so far: ``get_usage_stats()``. ConfigError without models."""
        return ModelLoadBalancer([model.name for model in self._resolve()])

    # events

    def on(self, name: str, callback: Callback) -> Callback:
        """Call ``callback(event)`` at each event of this name, "*" for all; returns the callback."""
        return self._dispatcher.on(name, callback)

    def off(self, name: str, callback: Callable[[Any], Any]) -> None:
        """Stop calling it."""
        self._dispatcher.off(name, callback)

    # running

    def run(
        self,
        document: Any,
        map_fn: MapFn,
        reduce_fn: ReduceFn | None = None,
        *,
        job_id: str | None = None,
        per_document: bool = False,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Run ``map_fn(chunk, context)`` over all chunks and ``reduce_fn(results)`` over the results.

        ``document``: a str is always text; a Path, bytes or file object is read; any other iterable is many documents.
        ``per_document``: reduce each document by itself; the result is ``{document_id: value}``. Without ``reduce_fn``
        the result is the results. Raises JobError (``.results`` has what was finished), ConfigError, SourceError,
        ChunkingError, LogError, and whatever ``reduce_fn`` raises.
        """
        with self._one_run(document, map_fn, reduce_fn, job_id, timeout_s) as run:
            for _ in run.outcomes():
                pass
            return self._reduce(run, reduce_fn, per_document)

    def stream(
        self,
        document: Any,
        map_fn: MapFn,
        *,
        job_id: str | None = None,
        new_only: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[ChunkResult | ChunkFailure]:
        """Outcomes as they become durable; first those of earlier runs, unless ``new_only``. Leaving the loop stops
        the job. Raises what ``run()`` raises; JobFailed after the last outcome.
        """
        with self._one_run(document, map_fn, None, job_id, timeout_s) as run:
            if not new_only:
                yield from run.earlier()
            yield from run.outcomes(wanted=True)
            run.check_failures()
            run.complete()
            run.completed()

    def resume(
        self,
        job_id: str,
        map_fn: MapFn | None = None,
        reduce_fn: ReduceFn | None = None,
        *,
        per_document: bool = False,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Go on with a job from its log and its spool; no document is needed.

        Without ``map_fn`` the job's own is used: a prompt of ``map_prompt``, or an importable function. Without
        ``models=`` its own models are. Raises JobNotFound, JobMismatch, and what ``run()`` raises.
        """
        if map_fn is None or self._settings.models is None:
            stored = stored_job(jobs_folder(self._settings.state_dir) / check_job_id(job_id), job_id)
            map_fn = map_fn or stored.map_fn()
            if self._settings.models is None:
                self._models = stored.models(self._settings.limits)
        with self._one_run(_STORED, map_fn, reduce_fn, job_id, timeout_s) as run:
            for _ in run.outcomes():
                pass
            return self._reduce(run, reduce_fn, per_document)

    def _one_run(
        self, document: Any, map_fn: MapFn, reduce_fn: ReduceFn | None, job_id: str | None, timeout_s: float | None
    ) -> _Running:
        if told := names_a_file(document):
            log.warning("%s", told)
        if not callable(map_fn):
            raise ConfigError(f"map_fn is a {type(map_fn).__name__}, not a function", setting="map_fn")
        if not self._busy.acquire(blocking=False):
            raise ConfigError("this runner runs a job already: use one runner for each job at a time", setting="job_id")
        try:
            all_models = self._all_models(reduce_fn)
            given = job_id or self._first_id
            mapping = self._describe(map_fn, named=given is not None)
            on_mismatch = self._settings.on_mismatch or "error"
            if given == "auto":
                on_mismatch = self._settings.on_mismatch or "recompute"  # only the function's code can differ
                document, given = auto_job_id(document, self._settings, self._resolve(), mapping)
            name = check_job_id(given) if given is not None else new_job_id()
            self._first_id, self._last_id = None, name
            keep = self._settings.keep or ("always" if given is not None else "on_failure")
            parts = self._parts(all_models, keep, on_mismatch)
            folder = jobs_folder(self._settings.state_dir, create=True) / name
            run = JobRun(parts, name, folder, mapping, timeout_s=timeout_s)
        except BaseException:
            self._busy.release()
            raise
        return _Running(self, run, document)

    def _describe(self, map_fn: MapFn, *, named: bool) -> MapFunction:
        blob = pack_function(map_fn, setting="map_fn")
        return describe_map(map_fn, version=self._settings.map_version, named=named, blob=blob)

    def _all_models(self, reduce_fn: ReduceFn | None) -> bool:
        wanted = self._settings.balance or getattr(reduce_fn, "balance", None)
        return wanted == "all" and len(self._resolve()) > 0

    def _resolve(self) -> tuple[Model, ...]:
        if self._models is None:
            limits = self._settings.limits
            if self._settings.models is None:
                try:
                    self._models = resolve_models(None, limits=limits)
                except ConfigError:
                    self._models = ()  # a map function that calls no model needs none; complete() says what to do
            else:
                self._models = resolve_models(self._settings.models, limits=limits)
        return self._models

    def _parts(self, all_models: bool, keep: str, on_mismatch: str) -> RunConfig:
        settings = replace(self._settings, on_mismatch=on_mismatch)
        models = self._resolve()
        check_terms(settings, models)
        if settings.models is not None:
            _fetch_embedded(models)
        return RunConfig(
            settings=settings,
            models=models,
            all_models=all_models,
            keep=keep,
            dispatcher=self._dispatcher,
            progress=open_progress(settings.progress),
            balancer=self.balancer if models else None,
            models_blob=pack(models),
            initializer_blob=pack_function((settings.initializer, tuple(settings.initargs)), setting="initializer"),
            session=self._open_session,
            drop_session=self._drop_session,
        )

    def _open_session(self) -> Driver:
        if self._session is not None and self._session_pid != os.getpid():
            self.close()  # a fork of the process that opened it: the pool belongs to the parent
        if self._session is None:
            self._session_pid = os.getpid()
            if self._settings.strategy == "sequential":
                self._session = SequentialDriver()
            else:
                warn_in_event_loop()
                self._session = ProcessDriver(drain_s=self._settings.drain_s)
        return self._session

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.kill()
            session.close()

    def _reduce(self, run: JobRun, reduce_fn: ReduceFn | None, per_document: bool) -> RunResult:
        run.check_failures()
        assert run.relay is not None
        results = run.relay.results()
        if reduce_fn is not None or per_document:
            run.relay.emit("reduce:start", results=len(results))
        if isinstance(reduce_fn, TreeReduce):
            value = play_tree(run, reduce_fn, results, per_document=per_document)
            run.complete()
        else:
            run.complete()  # the job is free while the caller's own function runs
            try:
                value = reduced(results, reduce_fn, per_document=per_document)
            except Exception as error:
                if run.parts.keep == "on_failure":  # it has no name of the caller's
                    told = "reduce_fn raised %s; the results of job %s are kept: run it again with job_id=%r"
                    log.warning(told, type(error).__name__, run.job_id, run.job_id)
                raise
        return RunResult(value, run.completed(), results, results.failures)

    # from other threads and processes

    def stop(self) -> None:
        """Stop the run gracefully: start nothing new, let what is in flight end. From any thread or signal handler."""
        run = self._run
        if run is not None:
            run.stop("stopped")

    def status(self) -> JobStatus:
        """The job as its log tells it now. JobNotFound: there was no run yet."""
        if self._last_id is None:
            raise JobNotFound("this runner has not run a job yet")
        return Job(self._last_id, state_dir=self._settings.state_dir).status()

    @property
    def resume_engine(self) -> ResumeEngine:
        """What the job's log says, for reading; JobNotFound where there is none."""
        if self._last_id is None:
            raise JobNotFound("this runner has not run a job yet")
        return ResumeEngine(jobs_folder(self._settings.state_dir) / self._last_id)

    def estimate(self, document: Any, map_fn: MapFn | None = None) -> Estimate:
        """Chunks, calls, input tokens and an upper bound of the cost in USD; nothing is called."""
        return estimate(document, map_fn, self._settings, self._resolve())

    # a warm pool

    def initialize(self) -> None:
        """Start the supervisor now, so that the first run does not wait for it."""
        self._open_session()

    def __enter__(self) -> MapReduceRunner:
        self._kept = True
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._kept = False
        self.close()

    def close(self) -> None:
        """End the pool; nothing is left running."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


class _Running:
    """The frame of a run: prepared on the way in; drained, closed and freed on the way out, whatever happened."""

    def __init__(self, runner: MapReduceRunner, run: JobRun, document: Any) -> None:
        self._runner, self._run, self._document = runner, run, document

    def __enter__(self) -> JobRun:
        self._runner._run = self._run
        try:
            if self._document is _STORED:
                self._run.prepare_stored()
            else:
                self._run.prepare(self._document)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self._run

    def __exit__(self, kind: Any, value: BaseException | None, tb: Any) -> None:
        runner, run = self._runner, self._run
        try:
            if value is not None:
                run.interrupted(value)
            run.finish()
        finally:
            runner._run = None
            try:
                run.close()
                if not runner._kept:
                    runner.close()
            finally:
                runner._busy.release()


def _fetch_embedded(models: Sequence[Model]) -> None:
    """The embedded model's file, if the job was given that model: fetched when it is first used."""
    for model in models:
        if model.kind == "local" and model.base_url is None:
            from mrengine.providers.local.model_file import ensure

            ensure(model.spec.name)
