"""The backend without processes: one task at a time, in the host's thread, so that pdb and a profiler see map_fn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from mrengine.budget.in_process import LocalBudget
from mrengine.budget.server import make_service
from mrengine.engine.protocol import (
    DROPPED,
    NEED_ENDPOINT,
    READY,
    RESUMED,
    WAITING,
    Message,
    RoundSetup,
    Start,
    Started,
)
from mrengine.log.format import codec
from mrengine.worker.ports import local_ports
from mrengine.worker.task_runner import TaskRunner

__all__ = ["SequentialBackend"]


class SequentialBackend:
    """One worker of one slot in this process, whatever was asked for; implements
    :class:`mrengine.engine.protocol.Backend`.
    """

    workers = 1
    slots = 1

    def __init__(self, _workers: int = 1, _slots: int = 1) -> None:
        self._queue: deque[Start] = deque()
        self._messages: list[Message] = []
        self._record: Callable[[Message], None] = self._messages.append
        self._stopping = threading.Event()
        self._runner: TaskRunner | None = None
        self._servers: dict[str, Any] = {}

    def set_up(self, setup: RoundSetup) -> list[Message]:
        """Load what a round needs. Whatever the initializer or map_fn's import raises passes to the caller."""
        self._close_runner()
        self._record = setup.record  # the records of calls, at once: there is no other process that would keep them
        self._messages, self._stopping = [], threading.Event()
        budget = LocalBudget(make_service(setup.budget()))
        self._runner = TaskRunner(
            setup.worker,
            0,
            1,
            self._emit,
            self._stopping,
            open_ports=lambda: local_ports(setup.worker, setup.files, 0, 1, answers=setup.answers, budget=budget),
            path=setup.path,
            functions=setup.functions,
            ends_run=None if setup.functions is None else setup.functions.ends_run,
        )
        return [(0, READY, -1, -1, b"")]

    def _emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        if kind == NEED_ENDPOINT:
            self._serve(*msgpack.unpackb(payload))
            return
        if kind in (WAITING, RESUMED):
            return  # nobody looks for tasks that hang
        if kind in (codec.INTENT, codec.CALL):
            self._record((0, kind, chunk, model, payload))
            return
        self._messages.append((0, kind, chunk, model, payload))

    def _serve(self, name: str, context_window: int | None) -> None:
        """Start the embedded model's server, and wait for it."""
        from mrengine.providers.local.embedded import model_server

        server = self._servers.get(name)
        if server is None:
            server = self._servers[name] = model_server(name, context_window=context_window)
            server.start()
        url, key = server.address()
        assert self._runner is not None
        self._runner.endpoint_came(name, url, key)

    def send(self, worker: int, tasks: Sequence[Start]) -> None:
        self._queue.extend(tasks)

    def poll(self, timeout_s: float) -> list[Message]:
        """Run the next task, if there is one, and return what it said; else wait."""
        if self._queue and self._runner is not None:
            task = self._queue.popleft()
            try:
                self._runner.run(task)
            except BaseException:  # an interrupt: the task has left the worker all the same
                self._messages.append((0, DROPPED, task.chunk, task.model, b""))
                raise
        elif not self._messages:
            self._stopping.wait(timeout_s)
        messages, self._messages = self._messages, []
        return messages

    def started(self, worker: int) -> Sequence[Started]:
        return ()

    def resident(self, worker: int) -> int:
        return 0

    def stopped(self, worker: int) -> int:
        return 0

    def drain(self) -> None:
        self._stopping.set()
        while self._queue:
            task = self._queue.popleft()
            self._messages.append((0, DROPPED, task.chunk, task.model, b""))

    def kill(self, worker: int) -> None:
        """There is no process to end: a task that hangs here hangs under the debugger of whoever asked for it."""

    def close(self) -> None:
        """Close what the runner had opened, and end the servers that were started."""
        self._close_runner()
        for server in self._servers.values():
            server.stop()
        self._servers.clear()

    def _close_runner(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None
