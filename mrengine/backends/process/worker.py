"""A worker process: the main thread reads its pipe, and ``slots`` threads run its tasks.

map_fn never runs in the main thread, so that a stop gets through whatever it does; its import and the initializer do
run there, before anything else. When the pipe ends the supervisor is gone, and the worker exits at once.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from select import POLLIN as _POLLIN
from select import poll as _poll  # the system's own, whatever patches the module later
from time import monotonic as _now

import msgpack

from mrengine import posix
from mrengine.backends.process import framing, leaving, standard_streams
from mrengine.backends.process.orphans import Orphans
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.backends.process.slots import CLOSED, GREENLETS, THREAD_ENDED, Lines, Outbox, Slots, patched
from mrengine.budget.client import BudgetClient
from mrengine.engine import protocol as m
from mrengine.engine.protocol import JobFiles, WorkerConfig
from mrengine.errors import ConfigError
from mrengine.log.file.call_index import CallIndex
from mrengine.worker.forks import leave
from mrengine.worker.ports import WorkerPorts, local_ports
from mrengine.worker.redact import describe, where
from mrengine.worker.task_runner import TaskRunner, cannot_start

__all__ = ["WorkerSetup", "worker_main"]

LOOK_S = 0.1
ORPHANS_S = 0.02


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a SETUP frame holds. ``address`` and ``authkey``: of the budget manager."""

    config: WorkerConfig
    files: JobFiles
    address: str
    authkey: bytes
    path: Sequence[str] | None

    def pack(self) -> bytes:
        """All of it."""
        packed: bytes = msgpack.packb(asdict(self))
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> WorkerSetup:
        """The reverse of ``pack``."""
        parts = msgpack.unpackb(data, max_bin_len=len(data))
        return cls(**{**parts, "config": WorkerConfig(**parts["config"]), "files": JobFiles(**parts["files"])})


class _Worker:
    """Tasks in, outcomes out, in one process."""

    def __init__(
        self, index: int, slots: int, scoreboard: Scoreboard, answers: CallIndex, outbox: Outbox, made: int
    ) -> None:
        self._index, self._count, self._answers, self._outbox = index, slots, answers, outbox
        self._made = made  # calls that its predecessor had sent, with no answer when it died
        self._slots = Slots(slots, scoreboard, outbox, self)
        self._stopping = threading.Event()
        self._executor: TaskRunner | None = None
        self._initialized = b""  # the initializer that has run in this process
        self._orphans = Orphans()

    def handle(self, kind: int, payload: bytes) -> bool:
        """Handle one frame from the supervisor; False: leave."""
        if kind == framing.TASKS:
            put = self._slots.put
            for task in framing.unpack_tasks(payload):
                put(task)
        elif kind == framing.SETUP:
            self._set_up(payload)
        elif kind == framing.ENDPOINT:
            if self._executor is not None:
                self._executor.endpoint_came(*msgpack.unpackb(payload))
        elif kind == framing.DROP:
            self._stopping.set()
        elif kind == framing.LEAVE:
            return False
        return True

    def _set_up(self, payload: bytes) -> None:
        setup = WorkerSetup.unpack(payload)
        config = setup.config
        try:
            self._slots.files = []
            self.close()
            self._stopping = threading.Event()
            logging.getLogger().setLevel(config.log_level)
            self._executor = TaskRunner(
                config,
                self._index,
                self._count,
                self._slots.emit,
                self._stopping,
                open_ports=lambda: self._ports(setup),
                path=setup.path,
                initialize=config.initializer_blob != self._initialized,
            )
            self._initialized = config.initializer_blob
            if patched():
                raise ConfigError(GREENLETS, setting="map_fn")
            self._slots.files = posix.opened_in(setup.files.folder)
            self._slots.start()
        except BaseException as error:  # noqa: BLE001  # user code: an import, an initializer
            if not self._outbox.own:
                leave(error)
            self._outbox.emit(m.FAILED_START, -1, -1, cannot_start(error, config).encode())
            return
        if not self._outbox.own:
            leave()  # a fork that came back from an import, or from the initializer
        self._orphans.know()  # children that imports and the initializer started are theirs to wait for
        self._outbox.emit(m.READY, -1, -1)

    def _ports(self, setup: WorkerSetup) -> WorkerPorts:
        budget = BudgetClient(setup.address, setup.authkey, self._index, time.monotonic_ns(), made=self._made)
        return local_ports(setup.config, setup.files, self._index, self._count, answers=self._answers, budget=budget)

    def run(self, task: m.Start) -> None:
        """A slot runs a task."""
        executor = self._executor
        if executor is None or self._stopping.is_set():
            self._slots.emit(m.DROPPED, task.chunk, task.model)
        else:
            executor.run(task)

    def fail(self, task: m.Start, error: BaseException) -> None:
        """A slot could not report the outcome of a task."""
        executor = self._executor
        if executor is None:
            self._slots.emit(m.DROPPED, task.chunk, task.model)
        else:
            executor.fail(task, error)

    def look_after(self) -> None:
        """Poll for events without notification: ended threads, descriptors that a task closed, dead orphans."""
        if not self._slots.whole:
            self._outbox.end(THREAD_ENDED)
        self._slots.check()
        self._orphans.reap()

    @property
    def look_s(self) -> float:
        """How often to look. More often while orphans die: their zombies count against the limit of processes."""
        return ORPHANS_S if self._orphans.any else LOOK_S

    def close(self) -> None:
        """Close what the last job had opened."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None


def worker_main(
    life_fd: int,
    index: int,
    slots: int,
    scoreboard: Scoreboard,
    answers: CallIndex,
    dispatch_fd: int,
    outbox_fd: int,
    out_fd: int,
    err_fd: int,
    supervisor: int,
    made: int,
) -> None:
    """The target of a worker's ``multiprocessing.Process``; ends the process itself."""
    posix.die_with_parent(supervisor)
    os.setpgid(0, 0)
    posix.adopt_orphans()
    posix.prefer_when_out_of_memory()
    os.dup2(out_fd, 1)
    os.dup2(err_fd, 2)
    posix.close_all_but({0, 1, 2, life_fd, dispatch_fd, outbox_fd})
    standard_streams.open_streams()
    leaving.begin()
    outbox = Outbox(outbox_fd, scoreboard)
    own = [(fd, posix.identity(fd)) for fd in (life_fd, dispatch_fd)]
    os.register_at_fork(after_in_child=lambda: _give_back(outbox, own))
    logging.getLogger().handlers[:] = [Lines(outbox)]
    try:
        left = _serve(_Worker(index, slots, scoreboard, answers, outbox, made), dispatch_fd)
        if not left:
            outbox.end(CLOSED)
        leaving.leave()
    except BaseException as error:  # noqa: BLE001  # the process ends here; its cause goes to the host's logger
        if not outbox.own:
            leave(error)
        if isinstance(error, OSError) and posix.identity(dispatch_fd) != own[1][1]:
            outbox.end(CLOSED)
        sys.stderr.write(f"{where(error, own='/dev/null')}\n{describe(error)}\n")
        outbox.end(f"its main thread was ended by {describe(error)}")
    finally:
        os._exit(1)


def _serve(worker: _Worker, dispatch_fd: int) -> bool:
    """Read frames until LEAVE. False: the pipe has ended: the supervisor died, or user code closed it here."""
    reader = framing.FrameReader(dispatch_fd)
    look_at = 0.0
    while not reader.ended:
        if _readable(dispatch_fd, worker.look_s):
            for kind, payload in reader.read():
                if not worker.handle(kind, payload):
                    worker.close()
                    return True
        if (now := _now()) >= look_at:
            look_at = now + worker.look_s
            worker.look_after()
    return False


def _readable(fd: int, timeout_s: float) -> bool:
    waiting = _poll()
    waiting.register(fd, _POLLIN)
    return bool(waiting.poll(timeout_s * 1e3))


def _give_back(outbox: Outbox, own: Sequence[tuple[int, tuple[int, int]]]) -> None:
    """In a fork of the worker: close the copies, so that the pipes still end with the worker itself."""
    outbox.forget()
    for fd, identity in own:
        posix.close_if(fd, identity)
