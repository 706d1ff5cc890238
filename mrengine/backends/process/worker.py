"""A worker process, from both ends: what runs in the fork, and the handle that the supervisor has of it.

In the fork the main thread reads the pipe from the supervisor, and ``slots`` threads run tasks. map_fn never runs in
the main thread, so that a stop gets through whatever it does; its import and the initializer do run there, before any
task. When the pipe ends the supervisor is gone, and the worker exits at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from select import POLLIN as _POLLIN
from select import poll as _poll  # the system's own, whatever patches the module later
from time import monotonic as _now

import msgpack

from mrengine import posix, proc
from mrengine.backends.process import framing, leaving, printed
from mrengine.backends.process.child import ChildProcess
from mrengine.backends.process.orphans import Orphans
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.backends.process.slots import CLOSED, GREENLETS, THREAD_ENDED, Lines, Outbox, Slots, patched
from mrengine.budget.client import BudgetClient
from mrengine.engine import protocol as m
from mrengine.engine.protocol import Death, JobFiles, Message, WorkerConfig
from mrengine.errors import ConfigError
from mrengine.log.file.call_index import CallIndex
from mrengine.worker.forks import leave
from mrengine.worker.ports import WorkerPorts, local_ports
from mrengine.worker.redact import describe, where
from mrengine.worker.task_runner import TaskRunner, cannot_start

__all__ = ["WorkerHandle", "WorkerSetup", "worker_main"]

DYING_S = 0.5  # how long a process may outlive the end of its pipes
UNDYING_S = 5.0  # how long it may outlive SIGKILL: to free much memory takes time
LOOK_S = 0.1
ORPHANS_S = 0.02


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The content of a SETUP frame. ``address`` and ``authkey`` are those of the budget manager."""

    config: WorkerConfig
    files: JobFiles
    address: str
    authkey: bytes
    path: Sequence[str] | None

    def pack(self) -> bytes:
        """The payload of the frame."""
        packed: bytes = msgpack.packb(asdict(self))
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> WorkerSetup:
        """The reverse of ``pack``."""
        parts = msgpack.unpackb(data, max_bin_len=len(data))
        return cls(**{**parts, "config": WorkerConfig(**parts["config"]), "files": JobFiles(**parts["files"])})


class _Worker:
    """A worker in its own process: takes frames of the supervisor, and gives tasks to its slots."""

    def __init__(
        self, index: int, slots: int, scoreboard: Scoreboard, answers: CallIndex, outbox: Outbox, made: int
    ) -> None:
        self._index, self._count, self._answers, self._outbox = index, slots, answers, outbox
        self._scoreboard = scoreboard
        self._made = made  # calls that its predecessor had sent, and whose end the budget did not know when it died
        self._slots = Slots(slots, scoreboard, outbox, self)
        self._stopping = threading.Event()
        self._runner: TaskRunner | None = None
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
            if self._runner is not None:
                self._runner.endpoint_came(*msgpack.unpackb(payload))
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
            self._runner = TaskRunner(
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
        self._orphans.spare_present()  # children that imports and the initializer started are theirs to wait for
        self._outbox.emit(m.READY, -1, -1)

    def _ports(self, setup: WorkerSetup) -> WorkerPorts:
        at, settled = (setup.address, setup.authkey, self._index, time.monotonic_ns()), self._scoreboard.settled
        budget = BudgetClient(*at, made=self._made, on_settled=settled)
        return local_ports(setup.config, setup.files, self._index, self._count, answers=self._answers, budget=budget)

    def run(self, task: m.Start) -> None:
        """Run a task in a slot, or drop it while the round stops."""
        runner = self._runner
        if runner is None or self._stopping.is_set():
            self._slots.emit(m.DROPPED, task.chunk, task.model)
        else:
            runner.run(task)
            self._orphans.reap_between_tasks()

    def fail(self, task: m.Start, error: BaseException) -> None:
        """Report the failure of a task whose slot could not report its outcome."""
        runner = self._runner
        if runner is None:
            self._slots.emit(m.DROPPED, task.chunk, task.model)
        else:
            runner.fail(task, error)

    def look_after(self) -> None:
        """Look for harm that no event reports: ended threads, descriptors that a task closed, dead orphans."""
        if not self._slots.whole:
            self._outbox.end(THREAD_ENDED)
        self._slots.check()
        self._orphans.reap()

    @property
    def look_s(self) -> float:
        """How often to look. More often while orphans die: their zombies count against the limit of processes."""
        return ORPHANS_S if self._orphans.any else LOOK_S

    def close(self) -> None:
        """Close what the last round has opened."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


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
    """The target of a worker's ``multiprocessing.Process``. Does not return: it ends the process."""
    posix.die_with_parent(supervisor)
    os.setpgid(0, 0)  # so that whatever map_fn starts can be killed with it, as a group
    posix.adopt_orphans()
    posix.prefer_when_out_of_memory()  # a worker can be replaced, the supervisor would take the round along
    os.dup2(out_fd, 1)
    os.dup2(err_fd, 2)
    # A copy of another worker's pipe would keep that open after its owner died, and its end would go unnoticed.
    posix.close_all_but({0, 1, 2, life_fd, dispatch_fd, outbox_fd})
    printed.open_streams()
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
    """Read frames until LEAVE. False: the pipe has ended, as the supervisor died or user code closed it here."""
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
    """Close the pipes in a fork of the worker, so that they still end with the worker itself."""
    outbox.forget()
    for fd, identity in own:
        posix.close_if(fd, identity)


class WorkerHandle:
    """The supervisor's end of a forked worker. ``out_fd`` and ``err_fd`` take its stdout and stderr."""

    def __init__(self, index: int, slots: int, answers: CallIndex, out_fd: int, err_fd: int, made: int) -> None:
        if (threads := proc.thread_count()) != 1:
            raise AssertionError(f"the supervisor forks with {threads} threads")
        self.index = index
        self.scoreboard = Scoreboard(slots)
        (read_end, self.dispatch), (self.outbox, write_end) = posix.pipes(2)
        for fd in (self.dispatch, self.outbox):
            posix.enlarge_pipe(fd)
            os.set_blocking(fd, False)
        args = (index, slots, self.scoreboard, answers, read_end, write_end, out_fd, err_fd, os.getpid(), made)
        try:
            # No daemon: multiprocessing forbids those to have children, and map_fn may want some.
            self._child = ChildProcess(worker_main, args, f"mrengine-worker-{index}", daemon=False)
        except BaseException:
            os.close(self.dispatch)
            os.close(self.outbox)
            raise
        finally:
            os.close(read_end)
            os.close(write_end)
        self.pid, self.life = self._child.pid, self._child.life
        self._reader = framing.TaggedReader(self.outbox)
        self._ended_for = ""  # why it was killed from here
        self._closed_at: float | None = None  # when one of its pipes was seen to be closed
        self._thread_lost_at: float | None = None  # when one of its slots' threads was seen to be gone
        self._killed_at: float | None = None
        self._unsent: deque[memoryview] = deque()

    def read(self) -> list[Message]:
        """Read messages of the worker. Kills a worker in whose pipe there are bytes that are not a frame."""
        messages = list(self._reader.read(self.index))
        if self._reader.broken:
            self.end("something else than the worker wrote into its pipe to the supervisor")
        if self._reader.ended:
            self._note_closed()
        return messages

    def _note_closed(self) -> None:
        if self._closed_at is None:
            self._closed_at = time.monotonic()

    def end_if_half_dead(self) -> None:
        """Kill a worker whose pipe or thread has ended while its process lives on."""
        # C code may end a thread that holds the interpreter's lock: the rest of the process then hangs for ever. The
        # delay is for a process that is about to die anyway, whose own exit status says more.
        now = time.monotonic()
        if self._killed_at is not None:
            posix.reap_traced(self.pid)
        if self._thread_lost_at is None and posix.has_lost(self.pid, self.scoreboard.threads):
            self._thread_lost_at = now
        for since, cause in ((self._closed_at, CLOSED), (self._thread_lost_at, THREAD_ENDED)):
            if since is not None and now >= since + DYING_S and not self.dead:
                self.end(cause)

    @property
    def ended(self) -> bool:
        """Whether nothing more can be read from the worker's outbox."""
        return self._reader.ended or self._reader.broken

    @property
    def dead(self) -> bool:
        """Whether the process has ended, or was killed and cannot end, as it waits for a disk or a debugger."""
        undying = self._killed_at is not None and time.monotonic() >= self._killed_at + UNDYING_S
        return undying or self._child.ended

    def send(self, data: bytes) -> bool:
        """Write a frame, or keep what the pipe does not take; True when all is written."""
        self._unsent.append(memoryview(data))
        return self.flush()

    def flush(self) -> bool:
        """Write what is kept; True when nothing is left."""
        while self._unsent:
            data = self._unsent[0]
            try:
                sent = os.write(self.dispatch, data)
            except BlockingIOError:
                return False
            except BrokenPipeError:
                self._unsent.clear()
                self._note_closed()
                return True
            if sent < len(data):
                self._unsent[0] = data[sent:]
                return False
            self._unsent.popleft()
        return True

    def kill(self) -> None:
        """SIGKILL the worker and what it left in its process group."""
        if self._killed_at is None:
            self._killed_at = time.monotonic()
        posix.kill_group(self.pid)

    def end(self, cause: str) -> None:
        """Kill the worker for a fault of its own; the first cause counts."""
        self._ended_for = self._ended_for or cause
        self.kill()

    def reap(self) -> tuple[Sequence[Message], Death]:
        """Collect a dead worker: its last messages, and how it died. Kills what is left of its process group."""
        posix.kill_group(self.pid)
        last: list[Message] = []
        self._reader.ask = framing.READ_BYTES  # all that a pipe holds: a frame that is not whole then never will be
        while True:
            more = self.read()
            last += more
            if self.ended or not more:
                break
        started = self.scoreboard.started()
        code = self._child.exitcode(0.0 if self._killed_at is not None and self.dead else UNDYING_S)
        self.close()
        return last, Death(started, code, self._why(code), self._reader.broken)

    def _why(self, code: int | None) -> str:
        """The cause of the worker's death: its own last words, else why it was killed, else its exit status."""
        cause = self.scoreboard.cause or self._ended_for
        return f"the worker was ended: {cause}" if cause else _cause(code)

    def close(self) -> None:
        """Close the supervisor's ends."""
        os.close(self.dispatch)
        os.close(self.outbox)
        self._child.close()


def _cause(code: int | None) -> str:
    if code is None:
        return "the worker was killed and did not end"
    if code < 0:
        try:
            return f"the worker was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"the worker was ended by signal {-code}"
    return f"the worker left with exit code {code}"
