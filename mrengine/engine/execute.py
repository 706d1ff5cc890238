"""Owns the running of one task, the same on every backend: chunk → map_fn → a packed outcome, and nothing is raised."""

from __future__ import annotations

import os
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import cloudpickle
import msgpack

from mrengine.budget.client import BudgetClient
from mrengine.engine import messages as m
from mrengine.engine.calls import StoredCalls
from mrengine.engine.chunks import ChunkReader, ObservedChunk
from mrengine.engine.context import Context, Desk, Stopped, TaskCalls
from mrengine.engine.models import ModelSet
from mrengine.engine.patience import Patience
from mrengine.engine.scrub import describe, where
from mrengine.errors import BudgetExhausted, ModelError, Retry
from mrengine.log import codec, records
from mrengine.log.calls import CallIndex
from mrengine.log.salvage import Salvage
from mrengine.log.values import Unstorable, normalise

__all__ = ["Emit", "Executor", "Objects", "Setup"]

Emit = Callable[[int, int, int, bytes], None]
OWN_FILES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs for one round. Blobs are cloudpickle, made by the host and opened by workers alone."""

    job_id: str
    round: int
    priority: str
    all_models: bool
    folder: str
    spool: str  # its name in the folder
    map_blob: bytes = field(repr=False)
    models_blob: bytes = field(repr=False)
    initializer_blob: bytes = field(repr=False)
    table: Sequence[Sequence[int]]  # the round's segments of the chunk table: [round, first, count, offset]
    documents: Sequence[Sequence[int]]  # [first document index, offset of the DOCUMENTS record]
    manager: Sequence[Any] | None  # [address, authkey]
    endpoints: dict[str, Sequence[str]]  # model name → [base URL, key], for models served by the job itself
    run_began: int  # the log's end when the round began
    chunk_timeout_s: float
    backoff_s: float
    log_level: int
    path: Sequence[str] | None = None  # the host's sys.path; None: this is the host

    def pack(self) -> bytes:
        """msgpack of all fields."""
        packed: bytes = msgpack.packb(asdict(self))
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> Setup:
        """The reverse of ``pack``."""
        return cls(**msgpack.unpackb(data, max_bin_len=len(data)))


class Objects(NamedTuple):
    """What user code comes as where it does not travel: in the host itself."""

    initializer: tuple[Callable[..., None] | None, Sequence[Any]]
    map_fn: Callable[[Any, Any], Any]


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


class Executor:
    """Runs tasks of one round; one a process, used by all its slots."""

    def __init__(
        self,
        setup: Setup,
        worker: int,
        slots: int,
        emit: Emit,
        stopping: threading.Event,
        *,
        budget: Any = None,
        answers: CallIndex | None = None,
        made: int = 0,
        objects: Objects | None = None,
    ) -> None:
        self._setup, self._worker, self._emit, self._stopping = setup, worker, emit, stopping
        self._in_host = objects is not None
        if setup.path is not None:
            sys.path[:] = setup.path
        initializer, initargs = objects.initializer if objects else cloudpickle.loads(setup.initializer_blob)
        if initializer is not None:
            initializer(*initargs)  # before map_fn is loaded: its module may need what this sets up
        self._map_fn = objects.map_fn if objects else _loaded(setup.map_blob)
        self._chunks = ChunkReader(setup.folder, setup.spool, setup.table, setup.documents)
        stored = StoredCalls(self._chunks.reader, answers, run_began=setup.run_began)
        if budget is None and setup.manager is not None:
            address, authkey = setup.manager
            budget = BudgetClient(address, authkey, worker, time.monotonic_ns(), made=made)
        self._budget = budget
        self._salvage = Salvage(setup.folder, setup.job_id, worker)
        self._models = ModelSet(setup, worker, slots, self._emit_kept, stopping, budget)
        self._desk = Desk(setup, worker, self._models, stored, emit, stopping)
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

    def _patience(self, task: m.Start) -> Patience:
        def tell(waiting: bool) -> None:
            self._emit(m.IN_LINE if waiting else m.AT_WORK, task.chunk, task.model, b"")

        return Patience(self._timeout_s, tell)

    def run(self, task: m.Start) -> None:
        """Run one task and emit its outcome."""
        started = time.monotonic()
        calls = TaskCalls()
        chunk: ObservedChunk | None = None
        try:
            chunk = self._chunks.read(task.chunk)
            context = Context(self._desk, task, chunk, calls, self._patience(task))
            value = normalise(self._map_fn(chunk, context))
            self._emit_result(task, chunk, value, calls, started)
        except Stopped:
            self._emit(m.DROPPED, task.chunk, task.model, b"")
        except BudgetExhausted as error:
            packed = msgpack.packb([str(error), error.spent, error.limit, error.unit])
            self._emit(m.BUDGET_SPENT, task.chunk, task.model, packed)
        except Exception as error:  # noqa: BLE001  # map_fn's own; it costs its chunk
            self._emit_error(task, chunk, error, calls)
        except BaseException as error:  # sys.exit() in a worker ends the chunk; Ctrl-C in the host ends the run
            if self._in_host:
                raise
            self._emit_error(task, chunk, error, calls)

    def _emit_result(self, task: m.Start, chunk: ObservedChunk, value: Any, calls: TaskCalls, started: float) -> None:
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

    def _emit_error(self, task: m.Start, chunk: ObservedChunk | None, error: BaseException, calls: TaskCalls) -> None:
        message = describe(error, [chunk.text_read if chunk is not None else "", *calls.texts])
        tried = isinstance(error, ModelError) and error.causes  # until the deadline
        if isinstance(error, Retry) or (isinstance(error, ModelError) and error.transient and not tried):
            after_s = error.after_s if isinstance(error, Retry) else error.retry_after_s
            self._emit(m.RETRY, task.chunk, task.model, msgpack.packb([message, after_s]))
            return
        if isinstance(error, ModelError) and error.scope == "model":
            self._emit(m.MODEL_DOWN, task.chunk, task.model, message.encode("utf-8", "replace"))
            return
        kind = "unstorable" if isinstance(error, Unstorable) else "model" if isinstance(error, ModelError) else "error"
        failure = records.FailureRecord(
            round=self._setup.round,
            chunk_id=task.chunk,
            model_index=task.model,
            document_id=chunk.document_id if chunk is not None else "",
            model=self._models.name(task.model),
            worker_id=self._worker,
            attempts=task.attempt,
            at=time.time(),
            kind=kind,
            message=message,
            traceback=where(error, own=OWN_FILES),
            facts=_facts(error),
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
