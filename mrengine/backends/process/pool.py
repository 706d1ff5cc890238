"""The backend of processes: watches the pipes and lives of all workers, and replaces a dead one at once.

It also runs the processes beside the workers: the budget manager, and servers of embedded models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgpack

from mrengine import posix
from mrengine.backends.process import framing
from mrengine.backends.process.helper_processes import HelperProcesses
from mrengine.backends.process.printed import OutputPipe
from mrengine.backends.process.private_folder import SocketPlace
from mrengine.backends.process.selector import Selector
from mrengine.backends.process.worker import WorkerHandle, WorkerSetup
from mrengine.engine.protocol import BROKEN, DIED, FAILED_START, NEED_ENDPOINT, Message, RoundSetup, Start, Started
from mrengine.job.driver import Driver
from mrengine.log.file.call_index import CallIndex

__all__ = ["ProcessPool"]

FINISH_S = 3.0  # how long a worker that is asked to end has for the exit handlers of user code
LOOK_S = 0.5  # how often to look for deaths without notification
SHORT_S = 0.5  # in place of FINISH_S, where nobody waits for the job any more or its tasks have had their time


class ProcessPool:
    """``workers`` forked processes of ``slots`` threads each; implements :class:`mrengine.engine.protocol.Backend`.

    The process that owns it must have one thread. ``selector`` and ``sockets``: the owner's, if it waits for more.
    """

    # One thread, because a fork copies only the thread that forks: a lock that another thread held would stay taken in
    # the child for ever.
    def __init__(
        self, workers: int, slots: int, selector: Selector | None = None, sockets: SocketPlace | None = None
    ) -> None:
        self.workers, self.slots = workers, slots
        self._selector = selector or Selector()
        self._helpers = HelperProcesses(self._selector, sockets or SocketPlace())
        self._handles: list[WorkerHandle | None] = [None] * workers
        self._pipes: list[OutputPipe] = []
        self._setup = b""
        self._answers: CallIndex | None = None
        self._look_at = 0.0
        self._replacing = True  # whether a new worker takes the place of a dead one

    @staticmethod
    def driver(*, drain_s: float) -> Driver:
        """The host's end: it starts a supervisor, which runs the pool and the engine."""
        from mrengine.backends.process.driver import ProcessDriver

        return ProcessDriver(drain_s=drain_s)

    # the engine's side

    def poll(self, timeout_s: float) -> list[Message]:
        messages = self._selector.poll(timeout_s)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            messages += self._look_after()
        return [message for message in messages if message[1] != NEED_ENDPOINT or self._serve(message[4])]

    def _serve(self, payload: bytes) -> bool:
        """Start the embedded model's server for a worker, and send its address to all workers once it is up.

        False: the engine need not see this message.
        """
        name, context_window = msgpack.unpackb(payload)
        self._helpers.serve(name, context_window, self._send_endpoint)
        return False

    def _send_endpoint(self, name: str, url: str, key: str) -> None:
        for worker in range(self.workers):
            self._write(worker, framing.frame(framing.ENDPOINT, msgpack.packb([name, url, key])))

    def send(self, worker: int, tasks: Sequence[Start]) -> None:
        self._write(worker, framing.frame(framing.TASKS, framing.pack_tasks(tasks)))

    def started(self, worker: int) -> Sequence[Started]:
        handle = self._handles[worker]
        return handle.scoreboard.started() if handle is not None else ()

    def resident(self, worker: int) -> int:
        import psutil

        handle = self._handles[worker]
        try:
            return int(psutil.Process(handle.pid).memory_info().rss) if handle is not None else 0
        except (psutil.Error, OSError):
            return 0

    def stopped(self, worker: int) -> int:
        handle = self._handles[worker]
        return posix.stopped_by(handle.pid) if handle is not None else 0

    def drain(self) -> None:
        for worker in range(self.workers):
            self._write(worker, framing.frame(framing.DROP))

    def kill(self, worker: int) -> None:
        handle = self._handles[worker]
        if handle is not None:
            handle.kill()

    # life and death

    def set_up(self, setup: RoundSetup) -> list[Message]:
        """Start the budget manager, send the round's setup to all workers, and fork those that are missing."""
        try:
            manager = self._helpers.manager(setup.budget, setup.files.folder)
        except OSError as error:  # as where no worker can be started: trying again would not help
            return [(-1, BROKEN, -1, -1, f"no process can be started: {error.strerror or error}".encode())]
        if setup.answers is not self._answers:  # an index in shared memory: only workers forked after it can see it
            self.end_workers()
        self._answers = setup.answers
        worker_setup = WorkerSetup(setup.worker, setup.files, *manager, setup.path)
        self._setup = framing.frame(framing.SETUP, worker_setup.pack())
        self._replacing = True
        messages: list[Message] = []
        for index, handle in enumerate(self._handles):
            if handle is None:
                messages += self._fork(index)
            else:
                self._write(index, self._setup)
        return messages

    def _fork(self, index: int, made: int = 0) -> list[Message]:
        if not self._pipes:
            self._open_pipes()
        assert self._answers is not None
        out, err = (pipe.write_fd for pipe in self._pipes)
        try:
            handle = WorkerHandle(index, self.slots, self._answers, out, err, made)
        except OSError as error:  # no more processes, descriptors or memory: trying again would not help
            return [(index, FAILED_START, -1, -1, f"no process can be started: {error}".encode())]
        self._handles[index] = handle
        self._selector.watch(handle.outbox, lambda: self._on_outbox(handle))
        self._selector.watch(handle.life, lambda: self._on_death(handle))
        self._write(index, self._setup)
        return []

    def _open_pipes(self) -> None:
        self._pipes = [OutputPipe("map_fn", 20), OutputPipe("map_fn", 30)]  # stdout: INFO, stderr: WARNING
        for pipe in self._pipes:
            self._selector.watch(pipe.fd, pipe.read)

    def _write(self, worker: int, data: bytes) -> None:
        handle = self._handles[worker]
        if handle is not None and not handle.send(data):
            self._selector.watch(handle.dispatch, lambda: self._on_room(handle), write=True)

    def _on_room(self, handle: WorkerHandle) -> list[Message]:
        if self._handles[handle.index] is handle and handle.flush():
            self._selector.forget(handle.dispatch)
        return []

    def _on_outbox(self, handle: WorkerHandle) -> list[Message]:
        if self._handles[handle.index] is not handle:  # an event of a worker that was replaced in this very poll
            return []
        messages = handle.read()
        if handle.ended:  # its pidfd reports the death; an outbox at EOF is always ready, and would make the poll spin
            self._selector.forget(handle.outbox)
        return messages

    def _on_death(self, handle: WorkerHandle) -> list[Message]:
        if self._handles[handle.index] is not handle:
            return []
        messages = self._reap(handle)
        if self._replacing:
            messages += self._fork(handle.index, handle.scoreboard.calls)
        return messages

    def forget_job(self) -> None:
        """End the job: until the next one, what served it is not replaced when it dies."""
        self._helpers.forget_job()

    def _look_after(self) -> list[Message]:
        """Kill workers that live on with a broken pipe or a lost thread, and find deaths that no event reports."""
        # Without pidfds, a worker's child may keep the pipe open whose end would report the worker's death.
        for handle in self._present():
            handle.end_if_half_dead()
        dead = [handle for handle in self._present() if handle.dead]
        return [*self._helpers.look_after(), *(message for handle in dead for message in self._on_death(handle))]

    def _present(self) -> list[WorkerHandle]:
        """The workers that are not reaped yet."""
        return [handle for handle in self._handles if handle is not None]

    def _reap(self, handle: WorkerHandle) -> list[Message]:
        # Before reap() closes them: the next worker's pipes may get the same numbers.
        for fd in (handle.outbox, handle.life, handle.dispatch):
            self._selector.forget(fd)
        self._handles[handle.index] = None
        last, death = handle.reap()
        posix.kill_orphans(
            {other.pid for other in self._present()}
        )  # orphaned grandchildren became children of this process
        return [*last, (handle.index, DIED, -1, -1, death)]

    def end_workers(self, within_s: float = FINISH_S) -> None:
        """Ask all workers to leave, wait for them, then kill what is left. Their last messages are dropped."""
        self._replacing = False
        handles = self._present()
        for handle in handles:
            handle.send(framing.frame(framing.LEAVE))
        until = time.monotonic() + within_s  # bounded, as exit handlers of user code may never return
        for handle in handles:
            posix.readable((handle.life,), max(0.0, until - time.monotonic()))
            self._reap(handle)

    def last_lines(self) -> list[Message]:
        """Printed lines that are not read yet, with a last one that has no newline."""
        return [line for pipe in self._pipes for line in pipe.last()]

    def close(self, within_s: float = FINISH_S) -> None:
        """End all workers and the processes that serve them, and close the pipes of what they print."""
        self.end_workers(within_s)
        for pipe in self._pipes:
            self._selector.forget(pipe.fd)
            pipe.close()
        self._pipes = []
        self._helpers.close()
