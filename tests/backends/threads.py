"""A backend made of threads, as another package would bring one: registered by an entry point, and nothing else.

A worker is a few threads over one queue. A thread cannot be killed: a worker that must go is left alone, only the calls
that it still pays for are heard of it, and another takes its place.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

import msgpack

from mrengine.budget.in_process import LocalBudget
from mrengine.budget.server import make_service
from mrengine.engine import protocol as m
from mrengine.log.format import codec
from mrengine.worker.ports import local_ports
from mrengine.worker.task_runner import TaskRunner, cannot_start


class Worker:
    """One worker: tasks in, messages out."""

    def __init__(
        self, index: int, slots: int, setup: m.RoundSetup, budget: LocalBudget, inbox: SimpleQueue[m.Message]
    ) -> None:
        self._index, self._slots, self._setup, self._budget, self._inbox = index, slots, setup, budget, inbox
        self.tasks: SimpleQueue[m.Start | None] = SimpleQueue()
        self.stopping = threading.Event()
        self._gone = False
        self._lock = threading.Lock()
        self._since: dict[tuple[int, int], float] = {}  # when what runs has begun
        self._runner: TaskRunner | None = None
        self._threads = [threading.Thread(target=self._load, daemon=True)]
        self._threads[0].start()

    def _load(self) -> None:
        setup, at = self._setup, (self._index, self._slots)
        open_ports = partial(local_ports, setup.worker, setup.files, *at, answers=setup.answers, budget=self._budget)
        try:
            make = partial(TaskRunner, setup.worker, *at, self._emit, self.stopping)
            runner = make(open_ports=open_ports, functions=setup.functions)
        except BaseException as error:
            self._emit(m.FAILED_START, -1, -1, cannot_start(error, setup.worker).encode())
            return
        self._runner = runner
        self._threads += [threading.Thread(target=self._live, daemon=True) for _ in range(self._slots)]
        for thread in self._threads[1:]:
            thread.start()
        self._emit(m.READY, -1, -1)

    def _live(self) -> None:
        assert self._runner is not None
        for task in iter(self.tasks.get, None):
            if self.stopping.is_set():
                self._emit(m.DROPPED, task.chunk, task.model)
                continue
            self._since[task.chunk, task.model] = time.monotonic()
            self._runner.run(task)
            self._since.pop((task.chunk, task.model))

    def _emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        if kind in (m.WAITING, m.RESUMED):  # the time in line does not count: its own begins anew
            self._since[chunk, model] = math.inf if kind == m.WAITING else time.monotonic()
        elif kind == m.NEED_ENDPOINT and self._runner is not None:
            self._runner.endpoint_came(msgpack.unpackb(payload)[0], "", "threads serve no embedded model")
        else:
            with self._lock:
                if not self._gone or kind in (codec.INTENT, codec.CALL):
                    self._inbox.put((self._index, kind, chunk, model, payload))

    def started(self) -> list[m.Started]:
        return [m.Started(*task, since) for task, since in dict(self._since).items()]

    def leave(self) -> None:
        with self._lock:
            self._gone = True
        self.stopping.set()
        for _ in range(self._slots):
            self.tasks.put(None)

    def join(self, until: float) -> None:
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))
        if self._runner is not None and not any(thread.is_alive() for thread in self._threads):
            self._runner.close()


class ThreadBackend:
    """Implements :class:`mrengine.engine.protocol.Backend`."""

    def __init__(self, workers: int, slots: int) -> None:
        self.workers, self.slots = workers, slots
        self._inbox: SimpleQueue[m.Message] = SimpleQueue()
        self._team: list[Worker] = []

    def set_up(self, setup: m.RoundSetup) -> Sequence[m.Message]:
        self.close()
        self._inbox, self._setup = SimpleQueue(), setup
        self._budget = LocalBudget(make_service(setup.budget()))
        self._team = [self._begun(index) for index in range(self.workers)]
        return ()

    def _begun(self, index: int) -> Worker:
        return Worker(index, self.slots, self._setup, self._budget, self._inbox)

    def send(self, worker: int, tasks: Sequence[m.Start]) -> None:
        for task in tasks:
            self._team[worker].tasks.put(task)

    def poll(self, timeout_s: float) -> Sequence[m.Message]:
        messages: list[m.Message] = []
        with suppress(Empty):
            messages.append(self._inbox.get(timeout=timeout_s))
            while True:
                messages.append(self._inbox.get_nowait())
        return messages

    def started(self, worker: int) -> Sequence[m.Started]:
        return self._team[worker].started()

    def resident(self, worker: int) -> int:
        return 0

    stopped = resident

    def drain(self) -> None:
        for worker in self._team:
            worker.stopping.set()

    def kill(self, worker: int) -> None:
        started = self.started(worker)
        self._team[worker].leave()
        self._inbox.put((worker, m.DIED, -1, -1, m.Death(started, None, "the worker was left alone")))
        self._team[worker] = self._begun(worker)

    def close(self) -> None:
        until = time.monotonic() + 5.0
        for worker in self._team:
            worker.leave()
        for worker in self._team:
            worker.join(until)
        self._team = []
