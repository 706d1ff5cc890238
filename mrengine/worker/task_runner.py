"""Owns the running of one task, the same on every backend: chunk → map_fn → a packed outcome, and nothing is raised."""

from __future__ import annotations

import os
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from mrengine.budget.client import BudgetClient
from mrengine.engine import protocol as m
from mrengine.engine.setup import LocalFunctions, WorkerConfig
from mrengine.errors import BudgetExhausted, ModelError, Retry, seconds
from mrengine.log.file.call_index import CallIndex
from mrengine.log.file.worker_journal import WorkerJournal
from mrengine.log.format import codec, records
from mrengine.log.format.packing import pack
from mrengine.log.format.values import Unstorable, normalise
from mrengine.worker.chunk_reader import ChunkReader, TrackedChunk
from mrengine.worker.context import Context, Stopped, TaskCalls, WorkerServices
from mrengine.worker.deadline import Deadline
from mrengine.worker.model_clients import ModelClients
from mrengine.worker.redact import describe, where
from mrengine.worker.stored_answers import StoredCalls

__all__ = ["Emit", "TaskRunner"]

Emit = Callable[[int, int, int, bytes], None]
OWN_FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


STORABLE = "a result is None, a bool, int, float, str, bytes, or a list, dict, dataclass or pydantic model of these"


def _loaded(blob: bytes) -> Callable[[Any, Any], Any]:
    """A function that travelled. One that came by value finds its module again, with what came with it: whatever
    map_fn pickles itself, for a ``multiprocessing.Pool`` of its own, is looked up there.
    """
    function: Callable[[Any, Any], Any] = cloudpickle.loads(blob)
    scope = getattr(function, "__globals__", {})
    name = scope.get("__name__")
    if name == "__main__" or (isinstance(name, str) and name not in sys.modules):
        module = sys.modules[name] = types.ModuleType(name)
        vars(module).update(scope)
    return function


class TaskRunner:
    """Runs tasks of one round; one a process, used by all its slots."""

    def __init__(
        self,
        setup: WorkerConfig,
        worker: int,
        slots: int,
        emit: Emit,
        stopping: threading.Event,
        *,
        budget: Any = None,
        answers: CallIndex | None = None,
        made: int = 0,
        objects: LocalFunctions | None = None,
        initialize: bool = True,
    ) -> None:
        self._setup, self._worker, self._emit, self._stopping = setup, worker, emit, stopping
        self._ends_run = objects.ends_run if objects is not None else None
        if setup.path is not None:
            sys.path[:] = setup.path
        initializer, initargs = objects.initializer if objects else cloudpickle.loads(setup.initializer_blob)
        if initializer is not None and initialize:
            initializer(*initargs)  # before map_fn is loaded: its module may need what this sets up
        self._map_fn = objects.map_fn if objects else _loaded(setup.map_blob)
        self._chunks = ChunkReader(setup.folder, setup.spool, setup.table, setup.documents, check=setup.check_texts)
        stored = StoredCalls(self._chunks.reader, answers, run_began=setup.run_began)
        if budget is None and setup.manager is not None:
            address, authkey = setup.manager
            budget = BudgetClient(address, authkey, worker, time.monotonic_ns(), made=made)
        self._budget = budget
        self._salvage = WorkerJournal(setup.folder, setup.job_id, worker, slots)
        self._models = ModelClients(setup, worker, slots, self._emit_kept, stopping, budget)
        self._desk = WorkerServices(setup, worker, self._models, stored, emit, stopping)
        self._timeout_s = setup.chunk_timeout_s

    def endpoint_came(self, name: str, url: str, key: str) -> None:
        """Where a server that the job runs itself is to be found."""
        self._models.endpoint_came(name, url, key)

    def _emit_kept(self, kind: int, chunk: int, model: int, payload: bytes) -> None:
        """An answer is kept before it is sent: it was paid for, whatever becomes of the supervisor."""
        if kind == codec.CALL:
            self._salvage.keep(payload)
        self._emit(kind, chunk, model, payload)

    def close(self) -> None:
        """Close providers, budget and files."""
        self._models.close()
        self._salvage.close()
        if self._budget is not None:
            self._budget.close()
        self._chunks.close()

    def _patience(self, task: m.Start) -> Deadline:
        def tell(waiting: bool) -> None:
            self._emit(m.IN_LINE if waiting else m.AT_WORK, task.chunk, task.model, b"")

        return Deadline(self._timeout_s, tell)

    def run(self, task: m.Start) -> None:
        """Run one task and emit its outcome, whatever user code raises or returns."""
        calls = TaskCalls()
        try:
            self._run(task, calls)
        except Stopped:
            self._emit(m.DROPPED, task.chunk, task.model, b"")
        except BudgetExhausted as error:
            packed = pack([str(error), error.spent, error.limit, error.unit])
            self._emit(m.BUDGET_SPENT, task.chunk, task.model, packed)
        except BaseException as error:
            if self._ends_run is not None and (not isinstance(error, Exception) or self._ends_run(error)):
                raise  # Ctrl-C in the host ends the run; sys.exit() in a worker ends the chunk
            try:
                self._emit_error(task, error, calls)
            except Exception as strange:  # noqa: BLE001  # an exception that cannot be told either
                message = f"{type(error).__name__}, of which nothing can be told: {type(strange).__name__}"
                self._emit_failure(task, "error", message)

    def _run(self, task: m.Start, calls: TaskCalls) -> None:
        started = time.monotonic()
        calls.chunk = chunk = self._chunks.read(task.chunk)
        context = Context(self._desk, task, chunk, calls, self._patience(task))
        value = normalise(self._map_fn(chunk, context))
        self._emit_result(task, chunk, value, calls, started)

    def _emit_result(self, task: m.Start, chunk: TrackedChunk, value: Any, calls: TaskCalls, started: float) -> None:
        payload = records.pack_result(
            records.ResultRecord(
                round=self._setup.round,
                chunk_id=task.chunk,
                model_index=task.model,
                document_id=chunk.document_id,
                model=self._models.name(task.model),
                worker_id=self._worker,
                attempt=task.attempt,
                at=time.time(),
                duration_ms=(time.monotonic() - started) * 1e3,
                usage=calls.usage,
                cost_usd=calls.cost_usd,
                calls=calls.made,
                reused_calls=calls.reused,
                flags=int(chunk.position_read),
                result=value,
            )
        )
        self._emit(codec.RESULT, task.chunk, task.model, payload)

    def _emit_error(self, task: m.Start, error: BaseException, calls: TaskCalls) -> None:
        chunk = calls.chunk
        message = describe(error, [chunk.text_read if chunk is not None else "", *calls.texts])
        if isinstance(error, Unstorable):
            message += f"; {STORABLE}"
        tried = isinstance(error, ModelError) and error.causes  # until the deadline
        if isinstance(error, Retry) or (isinstance(error, ModelError) and error.transient and not tried):
            after_s = error.after_s if isinstance(error, Retry) else error.retry_after_s
            self._emit(m.RETRY, task.chunk, task.model, pack([message, seconds(after_s)]))
        elif isinstance(error, ModelError) and error.scope == "model":
            self._emit(m.MODEL_DOWN, task.chunk, task.model, message.encode("utf-8", "replace"))
        else:
            self._emit_failure(
                task,
                "unstorable"
                if isinstance(error, Unstorable)
                else "model"
                if isinstance(error, ModelError)
                else "error",
                message,
                document_id=chunk.document_id if chunk is not None else "",
                traceback=where(error, own=OWN_FILES),
                facts=_facts(error),
            )

    def _emit_failure(self, task: m.Start, kind: str, message: str, document_id: str = "", **more: Any) -> None:
        failure = records.FailureRecord(
            round=self._setup.round,
            chunk_id=task.chunk,
            model_index=task.model,
            document_id=document_id,
            model=self._models.name(task.model),
            worker_id=self._worker,
            attempts=task.attempt,
            at=time.time(),
            kind=kind,
            message=message,
            **more,
        )
        self._emit(codec.FAILURE, task.chunk, task.model, records.pack_failure(failure))


def _facts(error: BaseException) -> dict[str, Any]:
    """How often a call was tried, how long it waited and why, where the error tells."""
    if not isinstance(error, ModelError):
        return {}
    facts = {"attempts": error.attempts, "waited_s": error.waited_s, "causes": list(error.causes)}
    if error.status is not None:
        facts["status"] = error.status
    return facts
