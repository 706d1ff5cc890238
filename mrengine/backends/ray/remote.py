"""One worker, from the host: what it was sent, what it runs as far as is known, and which calls are on their way.

At most one call of a kind is under way. A call that fails says nothing of the worker: ``hello`` tells whether it is the
same process, and then what was not acknowledged is sent again, or another one, whose predecessor has died.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from mrengine import proc
from mrengine.backends.ray.outbox import Unpacker, is_stopped
from mrengine.engine import protocol as m
from mrengine.engine.protocol import Death, Message, Start, Started
from mrengine.log.format import codec

__all__ = ["Remote"]

WAIT_S = 2.0  # a worker that has nothing to say answers all the same, with its memory
BATCH = 512  # tasks at most in one call
SHIPPED_BYTES = 64 << 20  # of texts that a worker holds, unless its slots need more
LOST_NODE = "its node or its process was lost"
ENDED = "its process ended"

Pack = Callable[[Sequence[tuple[Start, bool]]], bytes]
Item = tuple[str, Any]


class Remote:
    """``make()`` makes its actor."""

    def __init__(self, index: int, slots: int, make: Callable[[], Any]) -> None:
        self._index, self._slots, self._make = index, slots, make
        self._actor: Any = make()
        self._life = ""
        self._refs: dict[str, Any] = {}  # kind of call → its reference
        self._unpacker = Unpacker()
        self._setup: tuple[int, Any] = (0, None)
        self._pack: Pack | None = None
        self._known: Callable[[int], bool] = lambda chunk: True
        self._reset()
        self.resident = 0
        self.halted = ""  # the process of another worker that this one has found stopped
        self.process = ""  # its name among all machines
        self._remade = False  # Ray had ended the actor, and its successor has not said a word yet
        self._number = 0
        self._silent = False  # its next death is nobody's affair: it belongs to an earlier round

    def _reset(self) -> None:
        """Nothing has been sent to the process that is there now."""
        self._tasks: deque[Start] = deque()
        self._items: deque[Item] = deque()  # what else is to be sent
        self._pushed: list[Item] | None = None
        self._shipped: dict[tuple[int, int], int] = {}
        self._running: list[Started] = []
        self._killed = False
        self._begun = False  # its word that it is ready, or cannot be, has come

    # what the backend asks for

    def set_up(self, number: int, setup: Any, pack: Pack, known: Callable[[int], bool]) -> None:
        """Another round. ``setup``: its packed ``WorkerSetup``; ``known(chunk)``: whether it may have answers."""
        busy = bool(self._shipped or self._running)
        self._setup, self._pack, self._known = (number, setup), pack, known
        if busy:
            self._silent = True
            self.kill()
        pushed, killed = self._pushed, self._killed
        self._reset()
        self._killed = killed
        self._pushed = pushed if "push" in self._refs else None
        self._items.append(("setup", setup))

    def send(self, tasks: Sequence[Start]) -> None:
        self._tasks.extend(tasks)

    def say(self, kind: str, payload: Any = None) -> None:
        """Something else than a task."""
        self._items.append((kind, payload))

    def started(self) -> Sequence[Started]:
        return self._running

    @property
    def stopped(self) -> bool:
        """Whether a signal has stopped it, as far as this machine can see."""
        here = self.process.endswith(f"@{proc.boot_id()}{proc.pid_namespace()}")
        return here and is_stopped(self.process)

    def drain(self) -> list[Message]:
        """What was not sent yet comes back at once."""
        self._items.append(("drop", None))
        tasks, self._tasks = self._tasks, deque()
        return [(self._index, m.DROPPED, task.chunk, task.model, b"") for task in tasks]

    def kill(self) -> None:
        """Once: the engine asks again until it hears of the death, and the next process must not be the one to die."""
        import ray

        if not self._killed:
            self._killed = True
            self._life, self._was = "", self._life or self._was  # nothing more is sent to it
            self._refs.clear()
            ray.kill(self._actor, no_restart=False)

    def leave(self) -> Any:
        """Ask it to end in order; the reference tells when it has."""
        return self._actor.leave.options(concurrency_group="do").remote()

    def end(self) -> None:
        """For good."""
        import ray

        ray.kill(self._actor, no_restart=True)

    # calls

    def pump(self) -> list[Any]:
        """Make the calls that are due; the references to wait for."""
        if not self._life:
            if "hello" not in self._refs:
                self._call("hello", self._actor.hello.options(concurrency_group="life").remote())
            return list(self._refs.values())
        if "take" not in self._refs:
            take = self._actor.take.options(concurrency_group="say")
            self._call("take", take.remote(self._unpacker.at, WAIT_S))
        if "push" not in self._refs and (self._pushed is not None or self._batch()):
            push = self._actor.push.options(concurrency_group="do")
            self._call("push", push.remote(self._number, self._pushed))
        return list(self._refs.values())

    def _call(self, kind: str, reference: Any) -> None:
        self._refs[kind] = reference

    def _batch(self) -> bool:
        """Put together what is to be sent next, if there is anything."""
        items: list[Item] = []
        while self._items:
            items.append(self._items.popleft())
        if tasks := self._due():
            assert self._pack is not None
            packed = self._pack(tasks)
            for task, _ in tasks:
                self._shipped[task.chunk, task.model] = len(packed) // len(tasks)
            items.append(("tasks", packed))
        if not items:
            return False
        self._number += 1
        self._pushed = items
        return True

    def _due(self) -> list[tuple[Start, bool]]:
        """Tasks to send: as many as there is room for in the worker's memory."""
        held = sum(self._shipped.values()) if self._tasks else 0
        due: list[tuple[Start, bool]] = []
        room = BATCH if held < SHIPPED_BYTES else self._slots - len(self._shipped)
        large = held // max(1, len(self._shipped)) > SHIPPED_BYTES // BATCH
        room = min(room, self._slots) if large else room
        while self._tasks and len(due) < room:
            task = self._tasks.popleft()
            due.append((task, task.attempt > 1 or self._known(task.chunk)))
        return due

    # answers

    def take(self, ready: set[Any]) -> list[Message]:
        """What the calls have brought that are among ``ready``."""
        import ray

        messages: list[Message] = []
        for kind, reference in list[tuple[str, Any]](self._refs.items()):
            if reference not in ready or self._refs.get(kind) is not reference:
                continue
            del self._refs[kind]
            try:
                answer: Any = _value(reference)
            except ray.exceptions.ActorDiedError as error:
                messages += self._ended(str(error))
            except ray.exceptions.RayActorError:  # it may be starting again, or out of reach for a moment
                self._life, self._was = "", self._life or self._was
            else:
                messages += getattr(self, f"_{kind}_came")(*answer if kind != "push" else (answer,))
        return messages

    _was = ""

    def _hello_came(
        self, life: str, process: str, left: list[tuple[int, int, float]] | None, cause: str
    ) -> list[Message]:
        self._refs.clear()
        self._remade = False
        if self._killed and life == self._was:
            return []  # it is still dying
        was, self._was, self._life, self.process = self._was, "", life, process
        if not was or was == life:
            return []
        return self._replaced(left, cause)

    def _replaced(self, left: list[tuple[int, int, float]] | None, cause: str) -> list[Message]:
        """Another process has taken the place of one that is dead."""
        import ray

        said: list[Message] = []
        if left is None:  # on another node, or the files are gone
            self._unpacker = Unpacker()
        else:
            while True:  # what it had said
                data, begin, *_ = ray.get(
                    self._actor.take.options(concurrency_group="say").remote(self._unpacker.at, 0)
                )
                if not data:
                    break
                said += self._heard(self._unpacker.messages(self._index, data, begin))
        running = self._running if left is None else _started(left)
        return [*said, *self._died(running, cause or (LOST_NODE if left is None else ENDED))]

    def _died(self, running: Sequence[Started], cause: str) -> list[Message]:
        silent, self._silent = self._silent, False
        self._reset()
        if self._setup[1] is not None:
            self._items.append(("setup", self._setup[1]))
        return [] if silent else [(self._index, m.DIED, -1, -1, Death(running, None, cause))]

    def _ended(self, why: str) -> list[Message]:
        """Ray does not start it again: somebody has ended it, or it could not be made at all. The next one may find its
        files.
        """
        was = self._life or self._was
        if not was or self._remade:
            return [(self._index, m.FAILED_START, -1, -1, f"Ray could not start it: {why}".encode())]
        self._refs.clear()
        self._life, self._was, self._remade = "", was, True
        self._actor = self._make()
        return []

    def _push_came(self, number: int) -> list[Message]:
        self._pushed = None
        return []

    def _take_came(
        self, data: bytes, begin: int, running: list[tuple[int, int, float]], resident: int, halted: str
    ) -> list[Message]:
        messages = self._heard(self._unpacker.messages(self._index, data, begin))
        if self._begun:
            self._running = _started(running)
        self.resident, self.halted = resident, halted
        return messages

    def _heard(self, said: Sequence[Message]) -> list[Message]:
        """What belongs to this round."""
        messages: list[Message] = []
        for message in said:
            worker, kind, chunk, model, payload = message
            if kind in (m.READY, m.FAILED_START):
                self._begun = chunk == self._setup[0]
                if self._begun:
                    messages.append((worker, kind, -1, -1, payload))
            elif self._begun or kind == codec.CALL:
                if kind in m.OUTCOMES:
                    self._shipped.pop((chunk, model), None)
                messages.append(message)
        return messages


def _value(reference: Any) -> Any:
    import ray

    return ray.get(reference)


def _started(rows: Sequence[Sequence[Any]]) -> list[Started]:
    now = time.monotonic()
    return [Started(chunk, model, now - age if math.isfinite(age) else math.inf) for chunk, model, age in rows]
