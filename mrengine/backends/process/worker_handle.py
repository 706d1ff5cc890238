"""One worker process as the supervisor sees it: its pipes, its scoreboard, its life."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Sequence

from mrengine import posix, proc
from mrengine.backends.process import framing
from mrengine.backends.process.child import ChildProcess
from mrengine.backends.process.outbox import CLOSED, THREAD_ENDED
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.backends.process.worker import worker_main
from mrengine.engine.protocol import Death, Message
from mrengine.log.file.call_index import CallIndex

__all__ = ["WorkerHandle"]

DYING_S = 0.5  # between the end of its pipes and that of a process
UNDYING_S = 5.0  # between SIGKILL and the end of a process, which may hold much memory


class WorkerHandle:
    """A forked worker. ``out_fd`` and ``err_fd`` are where its stdout and stderr go."""

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
        self._cut_at: float | None = None  # when one of its pipes was seen to be closed
        self._maimed_at: float | None = None  # when one of its slots' threads was seen to be gone
        self._killed_at: float | None = None
        self._unsent: deque[memoryview] = deque()

    def read(self) -> list[Message]:
        """What the worker has written. Bytes that are no frame end it: nothing after them can be read."""
        messages = list(self._reader.read(self.index))
        if self._reader.broken:
            self.end("something else than the worker wrote into its pipe to the supervisor")
        if self._reader.ended:
            self._cut()
        return messages

    def _cut(self) -> None:
        if self._cut_at is None:
            self._cut_at = time.monotonic()

    def end_if_half_dead(self) -> None:
        """Kill a worker whose pipe or thread has ended while its process lives on.

        C code may end a thread that holds the interpreter's lock; the rest of the process then hangs for ever. The
        delay is for a process that is about to die anyway: its own exit status says more.
        """
        now = time.monotonic()
        if self._killed_at is not None:
            posix.reap_traced(self.pid)
        if self._maimed_at is None and posix.has_lost(self.pid, self.scoreboard.threads):
            self._maimed_at = now
        for since, cause in ((self._cut_at, CLOSED), (self._maimed_at, THREAD_ENDED)):
            if since is not None and now >= since + DYING_S and not self.dead:
                self.end(cause)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be read from the worker's outbox."""
        return self._reader.ended or self._reader.broken

    @property
    def dead(self) -> bool:
        """Whether the process has ended, or was killed and cannot end: it waits for a disk, or for a debugger."""
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
                self._cut()
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
        """Kill it for a fault of its own; the first cause counts."""
        self._ended_for = self._ended_for or cause
        self.kill()

    def reap(self) -> tuple[Sequence[Message], Death]:
        """After its death: its last messages, then how it died. Its process group is killed with it."""
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
        """Its own last words are the best cause, then the reason it was killed for, then its exit status."""
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
