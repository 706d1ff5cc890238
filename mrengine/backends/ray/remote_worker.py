"""One worker as the host sees it: what it was sent, what it runs, and which calls of its actor are under way.

At most one call of a kind is under way. A failed call does not tell what became of the worker: ``hello`` does, by the
name of its process. The same process is sent again what it has not acknowledged; another one means a death.
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

WAIT_S = 2.0  # a worker without messages replies after that, to report its memory
BATCH = 512  # tasks at most in one call
SHIPPED_BYTES = 64 << 20  # of texts that a worker holds, unless those of its slots are larger
LOST_NODE = "its node or its process was lost"
ENDED = "its process ended"
GARBLED = "something else than the engine wrote into the file of its messages"

Pack = Callable[[Sequence[tuple[Start, bool]]], bytes]
Item = tuple[str, Any]


class Remote:
    """One worker; ``make()`` creates its actor."""

    def __init__(self, index: int, slots: int, make: Callable[[], Any]) -> None:
        self._index, self._slots, self._make = index, slots, make
        self._actor: Any = make()
        self._life = ""  # the name of the process that answers; empty: not known, ask by ``hello``
        self._was = ""  # the name that was known before that
        self._refs: dict[str, Any] = {}  # kind of call → its reference
        self._unpacker = Unpacker()
        self._setup: tuple[int, Any] = (0, None)
        self._pack: Pack | None = None
        self._has_stored: Callable[[int], bool] = lambda chunk: True
        self._reset()
        self.resident = 0
        self.halted = ""  # the process of another worker that this one has found stopped
        self.process = ""  # its name among all machines
        self._remade = False  # Ray had ended the actor, and its successor has not answered yet
        self._number = 0
        self._silent = False  # the next death is not reported: it belongs to an earlier round

    def _reset(self) -> None:
        """Forget what was sent to the last process: nothing was sent to this one."""
        self._tasks: deque[Start] = deque()
        self._items: deque[Item] = deque()  # to be sent beside tasks
        self._pushed: list[Item] | None = None  # sent, but not acknowledged
        self._shipped: dict[tuple[int, int], int] = {}  # (chunk, model) of the tasks that it has → bytes
        self._running: list[Started] = []
        self._killed = False
        self._begun = False  # it has reported that it is ready for the round, or cannot be

    # called by the backend

    def set_up(self, number: int, setup: Any, pack: Pack, has_stored: Callable[[int], bool]) -> None:
        """Begin a round. ``setup``: packed ``WorkerSetup``; ``has_stored(chunk)``: whether there may be answers."""
        busy = bool(self._shipped or self._running)
        self._setup, self._pack, self._has_stored = (number, setup), pack, has_stored
        if busy:  # with tasks of a round that ended without them: their outcomes would be taken for this round's
            self._silent = True
            self.kill()
        # A push under way may still reach the process: it keeps its number, and comes before the setup.
        pushed, killed = self._pushed, self._killed
        self._reset()
        self._killed = killed
        self._pushed = pushed if "push" in self._refs else None
        self._items.append(("setup", setup))

    def send(self, tasks: Sequence[Start]) -> None:
        self._tasks.extend(tasks)

    def say(self, kind: str, payload: Any = None) -> None:
        """Send something other than a task."""
        self._items.append((kind, payload))

    def started(self) -> Sequence[Started]:
        return self._running

    @property
    def stopped(self) -> bool:
        """Whether a signal has stopped it, as far as this machine can see."""
        here = self.process.endswith(f"@{proc.boot_id()}{proc.pid_namespace()}")
        return here and is_stopped(self.process)

    def drain(self) -> list[Message]:
        """Take back the tasks that were not sent yet."""
        self._items.append(("drop", None))
        tasks, self._tasks = self._tasks, deque()
        return [(self._index, m.DROPPED, task.chunk, task.model, b"") for task in tasks]

    def kill(self) -> None:
        """Kill the process; Ray starts another one."""
        import ray

        # Once: the engine asks again until the death is reported, and that might strike the next process.
        if not self._killed:
            self._killed = True
            self._lose()  # nothing more is sent to it
            self._refs.clear()
            ray.kill(self._actor, no_restart=False)

    def _lose(self) -> None:
        """It is not known which process is there: ``pump`` asks."""
        self._life, self._was = "", self._life or self._was

    def leave(self) -> Any:
        """Ask the worker to end in order; the reference is ready when it has."""
        return self._actor.leave.options(concurrency_group="do").remote()

    def end(self) -> None:
        """End the actor for good."""
        import ray

        ray.kill(self._actor, no_restart=True)

    # calls

    def pump(self) -> list[Any]:
        """Make the calls that are due; return the references to wait for."""
        if not self._life:
            if "hello" not in self._refs:
                self._refs["hello"] = self._actor.hello.options(concurrency_group="life").remote()
            return list(self._refs.values())
        if "take" not in self._refs:
            take = self._actor.take.options(concurrency_group="say")
            self._refs["take"] = take.remote(self._unpacker.at, WAIT_S)
        # One at a time: while it travels, the next batch grows, so that short tasks travel by hundreds.
        if "push" not in self._refs and (self._pushed is not None or self._batch()):
            push = self._actor.push.options(concurrency_group="do")
            self._refs["push"] = push.remote(self._number, self._pushed)
        return list(self._refs.values())

    def _batch(self) -> bool:
        """Put together the next push. False: there is nothing to send."""
        items = list(self._items)
        self._items.clear()
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
        """As many tasks as the worker's memory has room for."""
        held = sum(self._shipped.values()) if self._tasks else 0
        due: list[tuple[Start, bool]] = []
        room = BATCH if held < SHIPPED_BYTES else self._slots - len(self._shipped)
        large = held // max(1, len(self._shipped)) > SHIPPED_BYTES // BATCH
        room = min(room, self._slots) if large else room
        while self._tasks and len(due) < room:
            task = self._tasks.popleft()
            due.append((task, task.attempt > 1 or self._has_stored(task.chunk)))
        return due

    # replies

    def take(self, ready: set[Any]) -> list[Message]:
        """The messages that the calls among ``ready`` have brought."""
        import ray

        messages: list[Message] = []
        for kind, reference in list[tuple[str, Any]](self._refs.items()):
            if reference not in ready or self._refs.get(kind) is not reference:
                continue
            ended = self._refs.pop(kind)
            try:
                reply: Any = ray.get(ended)
            except ray.exceptions.ActorDiedError as error:
                messages += self._ended(str(error))
            except ray.exceptions.RayActorError:  # it may be starting again, or out of reach for a moment
                self._lose()
            else:
                if kind == "push":
                    self._pushed = None
                else:
                    messages += self._take_came(*reply) if kind == "take" else self._hello_came(*reply)
        return messages

    def _hello_came(
        self, life: str, process: str, left: list[tuple[int, int, float]] | None, cause: str
    ) -> list[Message]:
        self._refs.clear()
        self._remade = False
        if self._killed and life == self._was:
            return []  # it has not died yet
        was, self._was, self._life, self.process = self._was, "", life, process
        if not was or was == life:
            return []
        return self._replaced(left, cause)

    def _replaced(self, left: list[tuple[int, int, float]] | None, cause: str) -> list[Message]:
        """Another process has taken the place of a dead one: the messages that it left, and its death."""
        messages: list[Message] = []
        if left is None:  # on another node, or the files are gone: what was reported last counts
            self._unpacker.at = 0
            running, cause = self._running, cause or LOST_NODE
        else:
            messages = self._left_behind()
            running, cause = _started(left), cause or ENDED
        garbled, self._unpacker = self._unpacker.broken, Unpacker(self._unpacker.at)
        cause = GARBLED if garbled else cause
        silent, self._silent = self._silent, False
        self._reset()
        if self._setup[1] is not None:
            self._items.append(("setup", self._setup[1]))
        return messages if silent else [*messages, (self._index, m.DIED, -1, -1, Death(running, None, cause, garbled))]

    def _left_behind(self) -> list[Message]:
        """The messages of a dead process that were not fetched yet."""
        import ray

        messages: list[Message] = []
        take = self._actor.take.options(concurrency_group="say")
        while (reply := ray.get(take.remote(self._unpacker.at, 0)))[0]:
            data, begin = reply[:2]
            messages += self._of_this_round(self._unpacker.messages(self._index, data, begin))
            if self._unpacker.at == begin:
                # No whole frame: a kill cut the last one short, or what stands there is none. The new process has
                # no round yet, so nothing of it is passed over but what it printed.
                self._unpacker.at = begin + len(data)
        return messages

    def _ended(self, why: str) -> list[Message]:
        """Ray does not start the actor again: somebody has ended it, or it could not be created at all."""
        was = self._life or self._was
        if not was or self._remade:
            return [(self._index, m.FAILED_START, -1, -1, f"Ray could not start it: {why}".encode())]
        self._refs.clear()
        self._life, self._was, self._remade = "", was, True
        self._actor = self._make()  # on the same node it finds the files of the old one
        return []

    def _take_came(
        self, data: bytes, begin: int, running: list[tuple[int, int, float]], resident: int, halted: str
    ) -> list[Message]:
        messages = self._of_this_round(self._unpacker.messages(self._index, data, begin))
        if self._begun:
            self._running = _started(running)
        self.resident, self.halted = resident, halted
        if self._unpacker.broken:
            self.kill()  # nothing that it says can be read any more
        return messages

    def _of_this_round(self, received: Sequence[Message]) -> list[Message]:
        """The messages since the round began, and the answers of calls from any round: those were paid for."""
        messages: list[Message] = []
        for message in received:
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


def _started(rows: Sequence[Sequence[Any]]) -> list[Started]:
    """With times of this machine's clock in place of ages."""
    now = time.monotonic()
    return [Started(chunk, model, now - age if math.isfinite(age) else math.inf) for chunk, model, age in rows]
