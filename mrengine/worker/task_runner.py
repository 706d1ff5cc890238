"""Runs one task, the same way on every backend: chunk → map_fn → a packed outcome. Never raises."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle

from mrengine import profiling
from mrengine.engine import protocol as m
from mrengine.engine.protocol import LocalFunctions, WorkerConfig
from mrengine.errors import BudgetExhausted, LogError, ModelError, Retry, Stopped, seconds
from mrengine.log.format import codec, task_records
from mrengine.log.format.instances import holds_instances, instance_of
from mrengine.log.format.packing import pack
from mrengine.log.format.values import Unstorable, normalise
from mrengine.telemetry.open_telemetry import continued
from mrengine.worker.batched_call import Parked
from mrengine.worker.chunk_reader import TrackedChunk
from mrengine.worker.context import Context, WorkerServices
from mrengine.worker.forks import OwnProcess, leave
from mrengine.worker.model_clients import ModelClients
from mrengine.worker.ports import WorkerPorts
from mrengine.worker.redact import describe, redacted_message, secrets, where
from mrengine.worker.task_calls import TaskCalls

__all__ = ["TaskRunner", "cannot_start", "stored_value"]

OWN_FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


STORABLE = "a result is None, a bool, int, float, str, bytes, or a list, dict, dataclass or pydantic model of these"


def _loaded(blob: bytes) -> Callable[[Any, Any], Any]:
    """Load a map function. One that came by value gets a module under its old name, if that cannot be imported here."""
    # Whatever map_fn pickles itself, for a ``multiprocessing.Pool`` of its own, is looked up in that module.
    function: Callable[[Any, Any], Any] = cloudpickle.loads(blob)
    scope = getattr(function, "__globals__", {})
    name = scope.get("__name__")
    if name == "__main__" or (
        isinstance(name, str) and name not in sys.modules and not _is_found(name, scope.get("__file__"))
    ):
        module = sys.modules[name] = types.ModuleType(name)
        vars(module).update(scope)
    return function


def cannot_start(error: BaseException, config: WorkerConfig) -> str:
    """Describe why a worker cannot start, without the models' keys and header values."""
    try:
        specs = [model.spec for model in cloudpickle.loads(config.models_blob)]
    except Exception:  # noqa: BLE001  # a provider class that cannot be imported here may be the very cause
        specs = []
    return describe(error, (), secrets(specs))


def _is_found(name: str, file: object) -> bool:
    """Whether the module that a function came from can be imported here. Another file of its name does not count."""
    # If it can, it must be left alone: other objects that travelled by name need all of it.
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None or spec.origin is None or not isinstance(file, str):
        return spec is not None
    return os.path.realpath(spec.origin) == os.path.realpath(file)


def _result_type(blob: bytes) -> Any:
    return cloudpickle.loads(blob) if blob else None


def stored_value(value: Any, result_type: Any = None) -> tuple[Any, bool]:
    """The plain value to store for a map function's, and whether that held instances. Unstorable, InvalidResult."""
    if result_type is None and (value is None or type(value) is str):
        return value, False
    made, plain = holds_instances(value), normalise(value)
    if result_type is None or plain is None or (isinstance(result_type, type) and type(value) is result_type):
        return plain, made
    fitted = instance_of(result_type, plain, made=made)
    return normalise(fitted), made or holds_instances(fitted)


class _Profiled:
    """Enables the process's own collector while a run profiles, and leaves it as it was found."""

    def __init__(self) -> None:
        self._was_enabled = profiling.collector.enabled
        profiling.collector.enable()

    def packed(self) -> bytes:
        """The records since the last time, as msgpack [[name, ms]…]; empty where there are none."""
        records = profiling.collector.drain()
        return pack(records) if records else b""

    def close(self) -> None:
        profiling.collector.enabled = self._was_enabled


class TaskRunner:
    """Runs the tasks of one round. A worker has one, which all its slots use."""

    def __init__(
        self,
        config: WorkerConfig,
        worker: int,
        slots: int,
        emit: m.Emit,
        stopping: threading.Event,
        *,
        open_ports: Callable[[], WorkerPorts],
        path: Sequence[str] | None = None,
        functions: LocalFunctions | None = None,
        ends_run: Callable[[Exception], bool] | None = None,
        initialize: bool = True,
    ) -> None:
        """``open_ports`` opens the ports, once user code is loaded. ``path``: the host's ``sys.path``, in another
        interpreter than the host's. ``functions``: user code, where it is in this process already. ``ends_run``: which
        exceptions out of map_fn end the run and pass, SystemExit and the like as well; None: each is a task's failure.
        """
        self._config, self._worker, self._send, self._stopping = config, worker, emit, stopping
        self._process = OwnProcess()
        self._ends_run = ends_run
        if path is not None:
            sys.path[:] = path
        initializer, initargs = functions.initializer if functions else cloudpickle.loads(config.initializer_blob)
        if initializer is not None and initialize:
            initializer(*initargs)  # before map_fn is loaded: its module may need what this sets up
        # The type first: its module is imported, before a function that came by value stands in for that.
        self._result_type = functions.result_type if functions else _result_type(config.result_blob)
        self._map_fn = functions.map_fn if functions else _loaded(config.map_blob)
        self._profiled = _Profiled() if config.profile else None
        self._ports = open_ports()  # after the initializer, which may close what it finds open
        self._models = ModelClients(
            config, worker, slots, self._emit_kept, stopping, self._ports.budget, share=self._ports.stored.share
        )
        self._services = WorkerServices(config, worker, self._models, self._ports.stored, self._emit, stopping)

    def endpoint_came(self, name: str, url: str, key: str) -> None:
        """Take the address of a server that the job runs itself."""
        self._models.endpoint_came(name, url, key)

    def _emit(self, kind: int, chunk: int, model: int, payload: bytes) -> None:
        if not self._process.here:
            if kind in m.OUTCOMES:
                leave()  # a fork that returned from map_fn: the outcome is its parent's to tell
            self._process.check()
        # Before the outcome: the round may end with it, and what comes later belongs to nobody.
        if self._profiled is not None and kind in m.OUTCOMES and (taken := self._profiled.packed()):
            self._send(m.PROFILED, -1, -1, taken)
        self._send(kind, chunk, model, payload)

    def _emit_kept(self, kind: int, chunk: int, model: int, payload: bytes) -> None:
        """Emit a message; the journal keeps an answer first."""
        self._process.check()
        # It was paid for. A supervisor that dies now may not have read the pipe, and the journal outlives it.
        if kind == codec.CALL:
            self._ports.journal.keep(payload)
        self._emit(kind, chunk, model, payload)

    def close(self) -> None:
        """Close providers and ports."""
        self._models.close()
        self._ports.close()
        if self._profiled is not None:
            self._profiled.close()

    def run(self, task: m.Start) -> None:
        """Run one task and emit its outcome, whatever user code raises or returns."""
        calls = TaskCalls()
        try:
            self._run(task, calls)
        except BaseException as error:
            if not self._process.here:
                leave(error)
            ours = issubclass(type(error), Parked)  # not isinstance: what an exception says of itself is user code
            if self._ends_run is not None and not ours and (not isinstance(error, Exception) or self._ends_run(error)):
                raise  # Ctrl-C in the host ends the run; sys.exit() in a worker ends the chunk
            self._report(task, error, calls)

    def fail(self, task: m.Start, error: BaseException) -> None:
        """Emit the failure of a task that another thread's exception has struck before it reported its outcome."""
        self._report(task, error, TaskCalls())

    def _report(self, task: m.Start, error: BaseException, calls: TaskCalls) -> None:
        """Emit the outcome that an exception means."""
        try:  # the exception's class and attributes are user code, and may raise anything
            # First: map_fn may have caught Parked and raised something of its own, which means nothing.
            if calls.parked:
                self._emit(m.PARKED, task.chunk, task.model, b"")
            elif issubclass(type(error), Stopped) and self._stopping.is_set():
                self._emit(m.DROPPED, task.chunk, task.model, b"")
            elif issubclass(type(error), BudgetExhausted):
                self._emit_spent(task, error, calls)
            else:
                self._emit_error(task, error, calls)
        except BaseException as strange:  # noqa: BLE001
            message = f"{describe(error, self._texts(calls))}; more cannot be said: {type(strange).__name__}"
            self._emit_failure(task, "error", message)

    def _emit_spent(self, task: m.Start, error: Any, calls: TaskCalls) -> None:
        packed = pack([self._redacted(error, calls), error.spent, error.limit, error.unit])
        self._emit(m.BUDGET_SPENT, task.chunk, task.model, packed)

    def _traced(self, chunk: TrackedChunk, context: Context) -> Any:
        """Call map_fn within the caller's trace."""
        # Apart from the call without a trace: a context manager looks at an exception, and that is user code.
        with continued(self._config.traceparent):
            return self._map_fn(chunk, context)

    def _run(self, task: m.Start, calls: TaskCalls) -> None:
        started = time.monotonic()
        calls.chunk = chunk = self._ports.chunks.read(task.chunk)
        context = Context(self._services, task, chunk, calls, started)
        returned = self._map_fn(chunk, context) if not self._config.traceparent else self._traced(chunk, context)
        if calls.parked:  # Parked was raised in a thread of map_fn's own, or caught by an ``except BaseException``
            raise Parked
        value, made = stored_value(returned, self._result_type)
        flags = task_records.FROM_INSTANCE if made else 0
        if chunk.looked_at:
            flags |= chunk.position_read * task_records.READ_POSITION | chunk.facts_read * task_records.READ_FACTS
        # Without a ResultRecord in between: to make one takes a tenth of the time of a task that does nothing.
        values = (
            chunk.document_id,
            self._models.name(task.model),
            self._worker,
            task.attempt,
            time.time(),
            (time.monotonic() - started) * 1e3,
            calls.usage,
            calls.cost_usd,
            calls.made,
            calls.reused,
            value,
        )
        payload = task_records.pack_result_values(self._config.round, task.chunk, task.model, flags, values)
        self._emit(codec.RESULT, task.chunk, task.model, payload)

    def _emit_error(self, task: m.Start, error: BaseException, calls: TaskCalls) -> None:
        # Redacted here, in the worker: no other process knows what a message must not repeat.
        message = describe(error, self._texts(calls), self._models.secrets())
        if isinstance(error, Unstorable):
            message += f"; {STORABLE}"
        # With causes, the retry loop has tried until the deadline: another attempt would do all of that once more.
        tried = isinstance(error, ModelError) and error.causes
        if isinstance(error, ModelError) and error.aside:
            self._emit(m.MODEL_RESTS, task.chunk, task.model, pack([message, error.silent_s]))
        elif isinstance(error, Retry) or (isinstance(error, ModelError) and error.transient and not tried):
            after_s = error.after_s if isinstance(error, Retry) else error.retry_after_s
            self._emit(m.RETRY, task.chunk, task.model, pack([message, seconds(after_s)]))
        elif isinstance(error, ModelError) and error.scope == "model":
            kind = m.MODEL_DOWN if error.certain else m.MODEL_DOUBT
            self._emit(kind, task.chunk, task.model, message.encode("utf-8", "replace"))
        else:
            self._emit_failure(
                task,
                _kind_of(error),
                message,
                traceback=where(error, own=OWN_FILES),
                facts=self._facts(error, calls) | _answers(calls),
            )

    def _texts(self, calls: TaskCalls) -> list[str]:
        """The texts that no message of this task may repeat."""
        # The chunk's text is read for this even if map_fn has not: it may know the document from elsewhere.
        own = [] if calls.chunk is None else [calls.chunk.text_or_nothing, *calls.chunk.field_texts]
        return [*own, *calls.texts]

    def _redacted(self, error: BaseException, calls: TaskCalls) -> str:
        return redacted_message(error, self._texts(calls), self._models.secrets())

    def _emit_failure(self, task: m.Start, kind: str, message: str, **more: Any) -> None:
        failure = task_records.FailureRecord(
            round=self._config.round,
            chunk_id=task.chunk,
            model_index=task.model,
            document_id=self._ports.chunks.document_of(task.chunk),
            model=self._models.name(task.model),
            worker_id=self._worker,
            attempts=task.attempt,
            at=time.time(),
            kind=kind,
            message=message,
            **more,
        )
        self._emit(codec.FAILURE, task.chunk, task.model, task_records.pack_failure(failure))

    def _facts(self, error: BaseException, calls: TaskCalls) -> dict[str, Any]:
        """How often a call was tried, how long it waited and why, as far as the error says."""
        if not isinstance(error, ModelError):
            return {}
        causes = [self._redacted(ModelError(cause), calls) for cause in error.causes]
        facts = {"attempts": error.attempts, "waited_s": error.waited_s, "causes": causes}
        if error.status is not None:
            facts["status"] = error.status
        return facts


MOST_ANSWERS, MOST_CHARACTERS = 16, 1_000_000


def _answers(calls: TaskCalls) -> dict[str, Any]:
    """The models' latest answers, for the failure record, within ``MOST_ANSWERS`` and ``MOST_CHARACTERS``."""
    kept: list[str] = []
    left = MOST_CHARACTERS
    for text in reversed([*calls.answers][-MOST_ANSWERS:]):
        if len(text) > left:
            break
        kept.insert(0, text)
        left -= len(text)
    return {"answers": kept} if kept else {}


def _kind_of(error: BaseException) -> str:
    if isinstance(error, Unstorable):
        return "unstorable"
    if isinstance(error, ModelError):
        return "model"
    return "damaged" if isinstance(error, LogError) else "error"
