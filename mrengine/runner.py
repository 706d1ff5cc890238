"""The front door: ``MapReduceRunner`` wires the packages together and holds no logic of its own."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import cached_property
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from mrengine import events
from mrengine.config import check_job_id, check_platform, jobs_folder, new_job_id
from mrengine.errors import ConfigError, JobNotFound, JobWaiting
from mrengine.host.arguments import RunArguments, Stored, described, without_tables
from mrengine.host.estimate import estimate
from mrengine.host.intake import spool_unnamed
from mrengine.host.job_identity import auto_job_id
from mrengine.host.job_run import JobRun
from mrengine.host.kept_driver import KeptDriver
from mrengine.host.log_follower import OnStep, OnText
from mrengine.host.pilot import check_size, pilot
from mrengine.host.reduce import reduce_run
from mrengine.host.requests import RunConfig, check_terms
from mrengine.host.stored import stored_job
from mrengine.host.uninterrupted import Signals
from mrengine.host.waiting import Turns
from mrengine.jobs import Job
from mrengine.log.view.job_view import ResumeEngine
from mrengine.mapfn.pickling import pack, pack_function
from mrengine.outputs.run_result import RunResult
from mrengine.progress import open_progress
from mrengine.providers.batches.client import check_batches
from mrengine.providers.models.balancer import ModelLoadBalancer
from mrengine.providers.models.model import Model, resolve_models
from mrengine.records import ChunkFailure, ChunkResult, Estimate, JobStatus, Pilot
from mrengine.reducers.tree import TreeReduce
from mrengine.setting_checks import check_number
from mrengine.settings import Keep, OnBusy, RunnerSettings, Settings, signature

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["MapReduceRunner"]

MapFn = Callable[[Any, Any], Any]
ReduceFn = Callable[[Any], Any] | TreeReduce
Callback = TypeVar("Callback", bound=Callable[[Any], Any])


class MapReduceRunner:
    """Runs a function over the chunks of documents, in supervised worker processes, and reduces the results.

    ``settings`` are the fields of :class:`mrengine.settings.Settings`, explained in ``docs/reference.md``. ConfigError:
    they cannot work; a missing key is reported by the methods that call models, before they read anything. A runner
    may be used for several runs, one at a time; in a ``with`` block they share one warm pool.
    """

    def __init__(self, job_id: str | None = None, **settings: Unpack[RunnerSettings]) -> None:
        check_platform()
        self._settings = Settings.of(settings)
        self._job_id = job_id if job_id in (None, "auto") else check_job_id(job_id)
        self._dispatcher = events.Dispatcher()
        self._models: tuple[Model, ...] | None = None
        self._keyed = False  # whether the models were resolved with their keys
        self._pool = KeptDriver.of(self._settings)
        self._run: JobRun | None = None
        self._turns = Turns()
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

    def on(self, name: str, callback: Callback) -> Callback:
        """Call ``callback(event)`` at each event of this name, "*" for all; returns the callback."""
        return self._dispatcher.on(name, callback)

    def off(self, name: str, callback: Callable[[Any], Any]) -> None:
        """Stop calling this callback."""
        self._dispatcher.off(name, callback)

    def run(
        self,
        document: Any,
        map_fn: MapFn,
        reduce_fn: ReduceFn | None = None,
        *,
        job_id: str | None = None,
        per_document: bool = False,
        timeout_s: float | None = None,
        result_type: Any = None,
        on_busy: OnBusy | None = None,
        on_text: OnText | None = None,
        on_step: OnStep | None = None,
    ) -> RunResult:
        """Run ``map_fn(chunk, context)`` over all chunks and ``reduce_fn(results)`` over the results.

        ``document``: a str is always text; a Path, bytes or file object is read; any other iterable is many documents.
        ``per_document``: reduce each document by itself; the result is ``{document_id: value}``. Without ``reduce_fn``
        the result is the results. ``result_type``: a dataclass, pydantic model or other type that each result is made
        into, also where it comes from an earlier run; None: ``map_prompt``'s own response model, else plain values.
        ``on_busy="wait"``: where another process or thread runs the job, wait for its end, at most ``timeout_s``.
        ``on_text(at, piece)`` is called with the run's one last answer to a prompt, as the model writes it; a retry
        begins at 0. ``on_step(step)`` is called for each result of any round, as it becomes durable, and for each
        document's answer.
        Raises JobError (``.results`` has what was finished), ConfigError, SourceError, ChunkingError, LogError, and
        whatever ``reduce_fn`` raises.
        """
        args = RunArguments(document, map_fn, reduce_fn, job_id, timeout_s, result_type, on_busy, on_text, on_step)
        return self._run_and_reduce(args, per_document=per_document)

    def submit(self, document: Any, map_fn: MapFn, *, job_id: str | None = None, timeout_s: float | None = None) -> Job:
        """Run until all that is left waits for batches that have been sent; ``resume()`` collects them.

        No process need stay alive meanwhile. Needs ``batch=``. Raises what ``run()`` raises.
        """
        if self._settings.batching is None:
            raise ConfigError("submit() leaves a job to its batches: give batch=True", setting="batch")
        args = RunArguments(document, map_fn, None, job_id, timeout_s, None, None, detach=True)
        with suppress(JobWaiting):
            self._run_and_reduce(args, per_document=False)
        return self._last_job()

    def stream(
        self,
        document: Any,
        map_fn: MapFn,
        *,
        job_id: str | None = None,
        new_only: bool = False,
        timeout_s: float | None = None,
        result_type: Any = None,
        on_busy: OnBusy | None = None,
    ) -> Iterator[ChunkResult | ChunkFailure]:
        """Yield outcomes as they become durable; first those of earlier runs, unless ``new_only``.

        Leaving the loop stops the job. Raises what ``run()`` raises; JobFailed after the last outcome.
        """
        args = RunArguments(document, map_fn, None, job_id, timeout_s, result_type, on_busy)
        # The clean-up of ``_Running`` stands outside ``open()``: signals break off the run, but not its end.
        with _Running(self, args) as running, running.signals.open():
            run = running.prepare()
            for outcome in chain(() if new_only else run.earlier(), run.outcomes(wanted=True)):
                with running.signals.outside():  # the caller's loop body may take for ever, and has its own handlers
                    yield outcome
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
        api_key_env: str | None = None,
        result_type: Any = None,
        on_busy: OnBusy | None = None,
        detach: bool = False,
    ) -> RunResult:
        """Continue a job from its log and its spool; no document is needed.

        Without ``map_fn``, the job's own is used: a prompt of ``map_prompt``, or an importable function. Without
        ``models=``, the job's own models are used; a key then goes only to the vendors' own hosts, unless
        ``api_key_env`` names the variable that holds it. ``detach``: raise JobWaiting when the job waits for batches.
        Other models or a changed function are a JobMismatch, unless ``on_mismatch`` is "recompute" or "restart".
        Raises JobNotFound, and what ``run()`` raises.
        """
        needs_log = map_fn is None or self._settings.models is None
        folder = jobs_folder(self._settings.state_dir) / check_job_id(job_id)
        with ResumeEngine(folder) if needs_log else nullcontext() as view:
            if view is not None:
                stored, settings = stored_job(view, job_id), self._settings
                map_fn = map_fn or stored.map_fn()
                self._settings = settings.with_(batch=stored.batch(settings.batch))
                if settings.models is None:
                    self._models = stored.models(settings.limits, api_key_env=api_key_env, prices=settings.prices)
                    self._keyed = True
            assert map_fn is not None
            args = RunArguments(Stored(view), map_fn, reduce_fn, job_id, timeout_s, result_type, on_busy, detach=detach)
            return self._run_and_reduce(args, per_document=per_document)

    def _run_and_reduce(self, args: RunArguments, *, per_document: bool) -> RunResult:
        with _Running(self, args) as running, running.signals.open():
            run = running.prepare()
            for _ in run.outcomes():
                pass
            return reduce_run(run, args.reduce_fn, per_document=per_document)

    def _prepared(self, args: RunArguments, settings: Settings, until: float | None) -> tuple[JobRun, Any]:
        """The run that the arguments describe, and its documents."""
        self._resolve(keys=True)
        job_id, document = self._job_id if args.job_id is None else args.job_id, without_tables(args.document)
        mapping = described(args, version=settings.map_version, named=job_id is not None)
        # An id made of the inputs never meets other inputs: only the function's code can differ.
        on_mismatch = settings.on_mismatch or ("recompute" if job_id == "auto" else "error")
        keep = settings.keep or ("always" if job_id is not None else "on_failure")
        config = self._config(settings.with_(on_mismatch=on_mismatch), self._all_models(args.reduce_fn), keep)
        jobs = jobs_folder(settings.state_dir, create=True)
        if job_id == "auto":
            # The id is a digest of the documents, and a source may be readable only once: spool first, name afterwards.
            document = spool_unnamed(jobs, document, skip=settings.on_source_error == "skip")
            job_id = auto_job_id(document.rows, settings, self._resolve(), mapping)
        self._last_id = name = check_job_id(job_id) if job_id is not None else new_job_id()
        return JobRun(config, name, jobs / name, mapping, until=until, detach=args.detach), document

    def _all_models(self, reduce_fn: ReduceFn | None) -> bool:
        # A reduce may need the answers of all models; a setting of the caller's goes before.
        wanted = self._settings.balance or getattr(getattr(reduce_fn, "func", reduce_fn), "balance", None)
        return wanted == "all" and len(self._resolve()) > 0

    def _resolve(self, *, keys: bool = False) -> tuple[Model, ...]:
        """The models, resolved once. ``keys``: a missing key is an error, which it is not for an estimate."""
        if self._models is None or (keys and not self._keyed):
            models, limits, prices = self._settings.models, self._settings.limits, self._settings.prices
            try:
                self._models, self._keyed = resolve_models(models, limits=limits, keys=keys, prices=prices), keys
            except ConfigError:
                if models is not None:
                    raise
                self._models, self._keyed = (), True  # a map function may call none; complete() says what to do
        return self._models

    def _config(self, settings: Settings, all_models: bool, keep: Keep) -> RunConfig:
        models = self._resolve()
        check_terms(settings, models)
        if settings.batching is not None:
            check_batches(models)
        if settings.models is not None:  # imported here: few jobs have the embedded model
            from mrengine.providers.local.model_file import ensure_for

            ensure_for(models)
        # Packed here: what cannot be pickled is a ConfigError in the caller's process, and no failure of each worker.
        return RunConfig(
            settings=settings,
            models=models,
            all_models=all_models,
            keep=keep,
            dispatcher=self._dispatcher,
            progress=open_progress(settings.progress, settings.limits),
            balancer=self.balancer if models else None,
            models_blob=pack(models),
            initializer_blob=pack_function((settings.initializer, tuple(settings.initargs)), setting="initializer"),
            session=self._pool.open,
            drop_session=self._pool.drop,
        )

    # for other threads and processes

    def stop(self) -> None:
        """Stop the run gracefully: start nothing new, let what is in flight end. From any thread or signal handler."""
        if (run := self._run) is not None:  # read once: the run may end in the other thread meanwhile
            run.stop("stopped")

    def status(self) -> JobStatus:
        """The job as its log has it now. JobNotFound: there was no run yet."""
        return self._last_job().status()

    @property
    def resume_engine(self) -> ResumeEngine:
        """A view of the job's log, for reading. JobNotFound: there is none."""
        return ResumeEngine(self._last_job().folder)

    def _last_job(self) -> Job:
        if self._last_id is None:
            raise JobNotFound("this runner has not run a job yet")
        return Job(self._last_id, state_dir=self._settings.state_dir)

    def estimate(
        self, document: Any, map_fn: MapFn | None = None, *, calls_per_chunk: float | None = None, sample: int = 0
    ) -> Estimate:
        """Chunks, calls, tokens and cost in USD, and what was assumed. No model is called, and no key is needed.

        A prompt of ``map_prompt`` makes one call a chunk, and so does any other map function unless ``calls_per_chunk``
        says how many, or ``sample=5`` runs it here over so many chunks of the document with a fake model's answers.
        Retries, re-asks and a reduce by prompt are not counted.
        """
        document, models = without_tables(document), self._resolve()
        return estimate(document, map_fn, self._settings, models, calls_per_chunk=calls_per_chunk, sample=sample)

    def pilot(
        self, document: Any, map_fn: MapFn, n: int = 20, *, job_id: str | None = None, timeout_s: float | None = None
    ) -> Pilot:
        """Run ``n`` chunks spread over the input, to tell what the whole job will cost and how long it will take.

        The calls are real, and their results are kept: ``run()`` with the pilot's ``job_id`` continues from them.
        Raises what ``run()`` raises.
        """
        check_size(n)
        args = RunArguments(document, map_fn, None, job_id, timeout_s, None, None)
        with _Running(self, args) as running, running.signals.open():
            return pilot(running.prepare(whole=True), n)

    # a warm pool

    def initialize(self) -> None:
        """Start the supervisor now, so that the first run does not wait for it."""
        self._pool.open()

    def __enter__(self) -> MapReduceRunner:
        self._pool.kept = True
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.kept = False
        self.close()

    def close(self) -> None:
        """End the pool; nothing is left running."""
        self._pool.close()


_PARAMETERS = inspect.signature(MapReduceRunner.__init__).parameters
MapReduceRunner.__init__.__signature__ = signature(_PARAMETERS["self"], _PARAMETERS["job_id"])  # type: ignore[attr-defined]


class _Running:
    """The frame of a run: it drains, closes and frees the job on the way out, whatever happened.

    It holds signals back, except within ``signals.open()``; whatever runs outside that is bounded in time.
    """

    def __init__(self, runner: MapReduceRunner, args: RunArguments) -> None:
        self._runner, self._args = runner, args
        self._run: JobRun | None = None
        self.signals = Signals()

    def __enter__(self) -> _Running:
        self.signals.take()
        return self

    def prepare(self, *, whole: bool = False) -> JobRun:
        """Make the run and prepare it, with its first chunks, or with all if the ``whole`` table is needed."""
        runner, args = self._runner, self._args
        timeout_s = check_number("timeout_s", args.timeout_s)  # may be below 0, if a caller's own deadline has passed
        until = None if timeout_s is None else time.monotonic() + timeout_s
        settings = runner._settings.with_(on_busy=args.on_busy or runner._settings.on_busy)
        args.check()
        runner._turns.take(self, wait=settings.on_busy == "wait", until=until)
        run, document = runner._prepared(args, settings, until)
        self._run = runner._run = run  # before it takes anything: from here on, ``__exit__`` frees it
        run.needs_whole = run.needs_whole or whole
        run.remind, run.on_text, run.on_step = self.signals.remind, args.on_text, args.on_step
        if isinstance(document, Stored):
            run.prepare_stored(document.view)
        else:
            run.prepare(document)
        return run

    def __exit__(self, kind: Any, value: BaseException | None, tb: Any) -> None:
        # Nested, not an ExitStack: an interrupt between two of its callbacks would skip the rest. ``ended`` comes last:
        # job:end is the last event of every run, after the job is free and the pool is closed.
        try:
            if self._run is not None:
                self._end(self._run, value)
        finally:
            try:
                self._free()
            finally:
                try:
                    self.signals.give_back()
                finally:
                    if self._run is not None:
                        self._run.ended(value)

    def _end(self, run: JobRun, value: BaseException | None) -> None:
        """Let what is in flight end, and free the job; an exception meanwhile ends everything at once."""
        try:
            self.signals.take_surely()  # a stream may be closed while the signals are the caller's
            with self.signals.open():
                if value is not None:
                    run.interrupted()
                run.finish()
        except BaseException:
            self._runner._pool.drop()
            raise

    def _free(self) -> None:
        runner = self._runner
        try:
            if self._run is not None:
                runner._run = None
                self._run.close()
                if not runner._pool.kept:
                    runner.close()
        finally:
            runner._turns.give_back(self)
