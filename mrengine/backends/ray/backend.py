"""The host's end of the backend: tasks of the engine become calls of actors, and their replies its messages."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import cloudpickle
import msgpack

from mrengine import proc
from mrengine.backends.ray import wire
from mrengine.backends.ray.actor import Worker
from mrengine.backends.ray.budget import BudgetHost
from mrengine.backends.ray.cluster import Cluster, actor_class
from mrengine.backends.ray.remote_worker import Remote
from mrengine.engine import protocol as m
from mrengine.engine.protocol import Backend, Message, RoundSetup, Start, Started
from mrengine.log.format import codec
from mrengine.worker.chunk_reader import ChunkReader
from mrengine.worker.ports import stored_calls

__all__ = ["RayBackend"]

LEAVE_S = 3.0  # for what user code has registered for the end, as in the process backend
CORES = 0.5  # the share of the cluster's cores that workers occupy together: map functions may use Ray, too
GROUPS = {"do": 1, "say": 1, "life": 1}


class RayBackend:
    """Implements :class:`mrengine.engine.protocol.Backend`. ``address``: of a running cluster."""

    horizon_s = 0.5  # the work that a worker should have ahead: a call and its reply take some milliseconds, or many
    start_s = 120.0  # Ray starts a process when a node has room for it

    def __init__(self, workers: int, slots: int, *, address: str | None = None) -> None:
        self.workers, self.slots = workers, slots
        self._token = secrets.token_hex(8)
        self._cluster: Cluster | None = Cluster(address)
        self._budget = BudgetHost(f"mrengine-budget-{self._token}", self._cluster.node)
        self._team: list[Remote] = []
        self._number = 0
        self._reader: ChunkReader | None = None
        self._called: set[int] = set()  # chunks with an answer in this run, but no outcome yet
        self._returned: list[Message] = []  # tasks that ``drain`` took back

    @classmethod
    def at(cls, address: str) -> Callable[[int, int], Backend]:
        """A backend on the cluster of this address."""
        return partial(cls, address=address)

    def set_up(self, setup: RoundSetup) -> Sequence[Message]:
        self._close_reader()
        self._number += 1
        self._setup, self._called, self._returned = setup, set(), []
        files = setup.files
        self._reader = ChunkReader(files.folder, files.spool, files.table, files.documents, check=files.check_texts)
        config = setup.worker
        self._stored = stored_calls(self._reader.reader, config, files, setup.answers)
        # A question for a stored answer costs a call of the actor: none is asked where there can be no answer.
        is_alone = config.answers is None and config.batch is None and not config.single_flight
        has_stored = self._called.__contains__ if is_alone and not len(setup.answers) else (lambda chunk: True)
        self._budget.start(setup.budget())
        if not self._team:
            self._team = [Remote(index, self.slots, self._maker(index)) for index in range(self.workers)]
        worker_setup = wire.WorkerSetup(
            number=self._number,
            config=setup.worker,
            path=list(setup.path or sys.path),
            boot=proc.boot_id(),
            folder=files.folder,
            budget=self._budget.name,
            variables=wire.variables_of(cloudpickle.loads(setup.worker.models_blob), os.environ),
        )
        packed = cloudpickle.dumps(worker_setup)
        pack = partial(wire.pack_tasks, self._reader)
        for worker in self._team:
            worker.set_up(self._number, packed, pack, has_stored)
            worker.pump()
        return ()

    def _maker(self, index: int) -> Callable[[], Any]:
        cluster = self._cluster
        assert cluster is not None
        cores = min(1.0, CORES * cluster.cpus / self.workers)
        made = actor_class(
            Worker,
            num_cpus=max(0.001, int(cores * 1000) / 1000),
            max_restarts=-1,
            max_task_retries=0,  # a retry by Ray would repeat paid calls behind the engine's back
            concurrency_groups=GROUPS,
        ).options(scheduling_strategy="SPREAD")
        return lambda: made.remote(index, self.slots, self._token, cluster.temporary)

    def send(self, worker: int, tasks: Sequence[Start]) -> None:
        self._team[worker].send(tasks)

    def poll(self, timeout_s: float) -> Sequence[Message]:
        import ray

        messages, self._returned = self._returned, []
        references = [reference for worker in self._team for reference in worker.pump()]
        references += [self._budget.watch] if self._budget.watch is not None else []
        if not references:
            time.sleep(timeout_s)
            return messages
        ready, rest = ray.wait(references, num_returns=1, timeout=0.0 if messages else timeout_s)
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0.0)[0]
        if self._budget.watch in ready:
            self._budget.lost(self._setup.budget())
        replies = set(ready)
        for worker in self._team:
            messages += self._for_engine(worker, worker.take(replies))
        for worker in self._team:
            worker.pump()  # the calls travel while the engine works
        return messages

    def _for_engine(self, worker: Remote, received: Sequence[Message]) -> list[Message]:
        """The messages for the engine; the others are answered here."""
        messages, answers = [], []
        for message in received:
            _, kind, chunk, _, payload = message
            if kind == wire.ASK:
                answers.append(wire.answered(self._stored, payload))
                continue
            if kind == m.NEED_ENDPOINT:
                why = "backend='ray' serves no embedded model: run a server, and name it by ModelSpec(base_url=…)"
                worker.say("endpoint", (msgpack.unpackb(payload)[0], "", why))
                continue
            if kind == codec.CALL:
                self._called.add(chunk)
            elif kind in (codec.RESULT, codec.FAILURE):
                self._called.discard(chunk)
            messages.append(message)
        if answers:
            worker.say("answers", answers)
        return messages

    def started(self, worker: int) -> Sequence[Started]:
        return self._team[worker].started()

    def resident(self, worker: int) -> int:
        return self._team[worker].resident

    def stopped(self, worker: int) -> int:
        """SIGSTOP for any signal that stops: nobody can tell which one it was."""
        # This process sees workers on its own machine, a worker sees its neighbour on the node.
        remote = self._team[worker]
        halted = {other.halted for other in self._team if other.halted}
        return int(signal.SIGSTOP) if remote.stopped or remote.process in halted else 0

    def drain(self) -> None:
        for worker in self._team:
            self._returned += worker.drain()

    def kill(self, worker: int) -> None:
        self._team[worker].kill()

    def close(self) -> None:
        if self._cluster is None:
            return
        try:
            self._end()
        finally:
            self._close_reader()
            self._cluster.close()
            self._cluster = None

    def _end(self) -> None:
        import ray

        team, self._team = self._team, []
        with suppress(Exception):  # the cluster may be gone
            leaving = [worker.leave() for worker in team]
            ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_S)
        for worker in team:
            with suppress(Exception):
                worker.end()
        with suppress(Exception):
            self._budget.close()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._stored.close()
            self._reader.close()
            self._reader = None
