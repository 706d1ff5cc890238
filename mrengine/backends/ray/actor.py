"""A worker from inside: the threads of the process backend's workers, behind the calls of an actor instead of pipes.

Calls come one at a time in each of three groups: ``push`` (work to do), ``take`` (messages), ``hello`` (which process
this is). Ray restarts the actor when its process dies; the new process has nothing of the old one but its files.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle

from mrengine import proc
from mrengine.backends.process.slots import GREENLETS, THREAD_ENDED, Lines, Slots, patched
from mrengine.backends.ray.budget import ActorBudgetClient
from mrengine.backends.ray.outbox import PREFIX, Files, Printed, sweep
from mrengine.backends.ray.wire import ASK, AskedAnswers, NoJournal, ShippedTexts, WorkerSetup, unpack_tasks
from mrengine.budget.connection import REPLY_TIMEOUT_S
from mrengine.budget.shared_limits import global_name
from mrengine.engine import protocol as m
from mrengine.errors import ConfigError
from mrengine.log.file.worker_journal import WorkerJournal
from mrengine.worker.ports import WorkerPorts
from mrengine.worker.task_runner import TaskRunner, cannot_start

__all__ = ["Worker"]


class Worker:
    """One worker of a backend; ``token`` names the backend."""

    def __init__(self, index: int, slots: int, token: str, temporary: str) -> None:
        self._index, self._count, self._life = index, slots, uuid.uuid4().hex
        Path(temporary).mkdir(parents=True, exist_ok=True)
        sweep(Path(temporary))
        self._files = Files(Path(temporary) / f"{PREFIX}{token}-{index}", slots)
        self._made = self._files.calls  # calls of the dead predecessor: their grants are not to be returned
        self._outbox = self._files.outbox
        self._slots = Slots(slots, self._files.scoreboard, self._outbox, self)
        self._stopping = threading.Event()
        self._texts = ShippedTexts()
        self._answers = self._asked()
        self._runner: TaskRunner | None = None
        self._initialized = b""
        self._taken = 0  # the number of the newest batch
        import psutil

        self._process = psutil.Process()
        sys.stdout, sys.stderr = Printed(self._outbox, logging.INFO), Printed(self._outbox, logging.WARNING)
        logging.getLogger().handlers[:] = [Lines(self._outbox)]
        threading.Thread(target=self._look_after, name="mrengine-look", daemon=True).start()

    # calls

    def hello(self) -> tuple[str, str, list[tuple[int, int, float]] | None, str]:
        """The names of this life and of its process; what a predecessor on this node ran, with ages; why that ended.

        Ran None: there was no predecessor on this node.
        """
        left = self._files.left
        return self._life, global_name(), None if left is None else _aged(left), self._files.cause

    def take(self, after: int, wait_s: float) -> tuple[bytes, int, list[tuple[int, int, float]], int, str]:
        """Messages from an offset on, and that offset; what runs, with ages; resident bytes; another worker's process
        on this node that a signal has stopped, or "".
        """
        data, at = self._files.take(after, wait_s)
        running = _aged(self._files.scoreboard.started())
        return data, at, running, self._process.memory_info().rss, self._files.halted

    def push(self, number: int, items: list[tuple[str, Any]]) -> int:
        """Do what the items say, in order. A call that the host repeats, as its reply was lost, does nothing."""
        if number > self._taken:
            self._taken = number
            for kind, payload in items:
                getattr(self, f"_on_{kind}")(payload)
        return number

    def _on_tasks(self, packed: bytes) -> None:
        tasks, facts = unpack_tasks(packed)
        for task in tasks:
            self._texts.add(task, facts.get(task[5], b""))
            self._slots.put(m.Start(*task[:3]))

    def _on_answers(self, answers: Any) -> None:
        self._answers.receive(answers)

    def _on_endpoint(self, endpoint: tuple[str, str, str]) -> None:
        if self._runner is not None:
            self._runner.endpoint_came(*endpoint)

    def _on_drop(self, _: Any) -> None:
        self._stopping.set()

    def _on_setup(self, packed: bytes) -> None:
        setup: WorkerSetup = cloudpickle.loads(packed)
        config = setup.config
        try:
            self._close()
            self._stopping, self._texts = threading.Event(), ShippedTexts()
            self._answers = self._asked()
            logging.getLogger().setLevel(config.log_level)
            os.environ.update(setup.variables)
            self._runner = TaskRunner(
                config,
                self._index,
                self._count,
                self._slots.emit,
                self._stopping,
                open_ports=lambda: self._ports(setup),
                path=setup.path if setup.boot == proc.boot_id() else None,  # another machine has other folders
                initialize=config.initializer_blob != self._initialized,  # once for a process, not for each round
            )
            self._initialized = config.initializer_blob
            if patched():
                raise ConfigError(GREENLETS, setting="map_fn")
            self._slots.start()
        except BaseException as error:  # noqa: BLE001  # user code: an import, an initializer
            self._outbox.emit(m.FAILED_START, setup.number, -1, cannot_start(error, config).encode())
            return
        self._outbox.emit(m.READY, setup.number, -1)

    def _asked(self) -> AskedAnswers:
        return AskedAnswers(lambda asked: self._outbox.emit(ASK, -1, -1, asked), self._texts, self._stopping.is_set)

    def _ports(self, setup: WorkerSetup) -> WorkerPorts:
        settled = self._files.scoreboard.settled
        budget = ActorBudgetClient(
            setup.budget,
            b"",
            self._index,
            time.time_ns(),
            made=self._made,
            on_settled=settled,
            reply_timeout_s=5 * REPLY_TIMEOUT_S,  # by way of Ray, and perhaps from another machine
        )
        self._made = 0  # the calls of a predecessor are reported once
        is_host = setup.boot == proc.boot_id() and os.path.isdir(setup.folder)
        journal = WorkerJournal(setup.folder, setup.config.job_id, self._index, self._count) if is_host else NoJournal()
        return WorkerPorts(self._texts, self._answers, budget, journal)

    def leave(self) -> None:
        """Close everything and run what user code has registered for the end of the process."""
        self._close()
        with suppress(Exception):
            atexit._run_exitfuncs()  # by hand: Ray's kill, which follows, runs none of it
        self._files.remove()

    def _close(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    # called by the slots

    def run(self, task: m.Start) -> None:
        """Run a task and emit its outcome."""
        try:
            if self._runner is None or self._stopping.is_set():
                self._slots.emit(m.DROPPED, task.chunk, task.model)
            else:
                self._runner.run(task)
        finally:
            self._texts.drop(task.chunk)

    def fail(self, task: m.Start, error: BaseException) -> None:
        """Emit a failure as a task's outcome."""
        if self._runner is None:
            self._slots.emit(m.DROPPED, task.chunk, task.model)
        else:
            self._runner.fail(task, error)

    def _look_after(self) -> None:
        while True:
            time.sleep(0.5)
            if not self._slots.whole:
                self._outbox.end(THREAD_ENDED)
            self._files.look()


def _aged(started: Sequence[m.Started]) -> list[tuple[int, int, float]]:
    """With ages in place of times: the clocks of two machines have nothing in common."""
    now = time.monotonic()
    return [(chunk, model, now - since) for chunk, model, since in started]
