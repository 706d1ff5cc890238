"""Owns a worker process: its pipe is read by the main thread, its tasks run in ``slots`` threads.

map_fn never runs in the main thread, so that a stop is heard whatever it does; its import and the initializer do,
before anything else. When the pipe ends the supervisor is gone, and the worker goes at once.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from queue import SimpleQueue
from typing import Literal, TextIO

import msgpack

from mrengine import posix
from mrengine.backends.process import framing
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.engine import protocol as m
from mrengine.engine.setup import WorkerConfig
from mrengine.log.file.call_index import CallIndex
from mrengine.log.format import codec
from mrengine.worker.redact import describe
from mrengine.worker.task_runner import TaskRunner

__all__ = ["Outbox", "worker_main"]


class Outbox:
    """The pipe to the supervisor: one frame at a time, whole, from any thread. A full pipe makes the writer wait."""

    def __init__(self, fd: int, board: Scoreboard) -> None:
        self._fd, self._board = fd, board
        self._lock = threading.Lock()

    def emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        """Send one frame; what only the board has to know stays here."""
        if kind in (m.IN_LINE, m.AT_WORK):
            self._board.in_line(chunk, model, waits=kind == m.IN_LINE)
            return
        data = framing.tagged(kind, chunk, model, payload)
        with self._lock:
            if kind == codec.INTENT:
                self._board.called(1)
            elif kind == codec.CALL:
                self._board.called(-1)
            sent = os.write(self._fd, data)
            while sent < len(data):
                sent += os.write(self._fd, memoryview(data)[sent:])


class _Lines(logging.Handler):
    """What map_fn logs goes to the logger of the same name in the host."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = msgpack.packb([record.name, record.levelno, self.format(record)[:8192]])
        except Exception:  # noqa: BLE001  # a record's own formatting; logging must not end a task
            self.handleError(record)
            return
        self._outbox.emit(m.LINE, -1, -1, line)


class _Worker:
    """Tasks in, outcomes out, in one process."""

    def __init__(
        self, index: int, slots: int, board: Scoreboard, answers: CallIndex, outbox: Outbox, made: int
    ) -> None:
        self._index, self._slots, self._board, self._answers, self._outbox = index, slots, board, answers, outbox
        self._made = made  # calls that the worker before this one had sent and not heard of
        self._queue: SimpleQueue[m.Start | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._executor: TaskRunner | None = None
        self._initialized = b""  # the initializer that has run in this process
        self._threads: list[threading.Thread] = []

    def handle(self, kind: int, payload: bytes) -> bool:
        """One frame of the supervisor; False: go."""
        if kind == framing.TASKS:
            put = self._queue.put
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
        try:
            self.close()
            self._stopping = threading.Event()
            setup = WorkerConfig.unpack(payload)
            logging.getLogger().setLevel(setup.log_level)
            self._executor = TaskRunner(
                setup,
                self._index,
                self._slots,
                self._outbox.emit,
                self._stopping,
                answers=self._answers,
                made=self._made,
                initialize=setup.initializer_blob != self._initialized,
            )
            self._initialized = setup.initializer_blob
        except BaseException as error:  # noqa: BLE001  # user code: an import, an initializer
            self._outbox.emit(m.FAILED_START, -1, -1, describe(error).encode("utf-8", "replace"))
            return
        if not self._threads:
            for slot in range(self._slots):
                thread = threading.Thread(target=self._serve, args=(slot,), name=f"mrengine-slot-{slot}", daemon=True)
                thread.start()
                self._threads.append(thread)
        self._outbox.emit(m.READY, -1, -1)

    def _serve(self, slot: int) -> None:
        get, board, emit = self._queue.get, self._board, self._outbox.emit
        while True:
            task = get()
            if task is None:
                return
            executor = self._executor
            if executor is None or self._stopping.is_set():
                emit(m.DROPPED, task.chunk, task.model)
                continue
            board.start(slot, task.chunk, task.model)
            executor.run(task)
            board.clear(slot)

    def close(self) -> None:
        """Close what the last job had opened."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None


def _text(fd: int, mode: Literal["r", "w"]) -> TextIO:
    return open(fd, mode, buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def worker_main(
    life_fd: int,
    index: int,
    slots: int,
    board: Scoreboard,
    answers: CallIndex,
    dispatch_fd: int,
    outbox_fd: int,
    out_fd: int,
    err_fd: int,
    supervisor: int,
    made: int,
) -> None:
    """The target of a worker's ``multiprocessing.Process``; ends the process itself. ``life_fd``: see ``Forked``."""
    posix.die_with_parent(supervisor)
    os.setpgid(0, 0)
    posix.adopt_orphans()
    os.dup2(out_fd, 1)
    os.dup2(err_fd, 2)
    posix.close_all_but({0, 1, 2, life_fd, dispatch_fd, outbox_fd})
    sys.stdin, sys.stdout, sys.stderr = _text(0, "r"), _text(1, "w"), _text(2, "w")  # nothing comes from the first
    outbox = Outbox(outbox_fd, board)
    logging.getLogger().handlers[:] = [_Lines(outbox)]
    worker = _Worker(index, slots, board, answers, outbox, made)
    reader = framing.FrameReader(dispatch_fd)
    try:
        while not reader.ended:
            for kind, payload in reader.read():
                if not worker.handle(kind, payload):
                    worker.close()
                    os._exit(0)
    except BaseException:  # noqa: BLE001  # the process ends here; its cause goes to the host's logger
        traceback.print_exc()
    finally:
        os._exit(1)
