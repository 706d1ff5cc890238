"""The packed values that travel between host and actors, and the ports of a worker that take them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from mrengine.engine.protocol import Start, WorkerConfig
from mrengine.errors import LogError, Stopped
from mrengine.log.format.chunk_rows import ChunkRow
from mrengine.log.format.task_records import CallRecord, pack_call, unpack_call
from mrengine.providers.models import keys
from mrengine.providers.models.model import Model, every_lane
from mrengine.worker.chunk_reader import ChunkReader, TrackedChunk, decoded
from mrengine.worker.stored_answers import StoredCalls

__all__ = [
    "ASK",
    "AskedAnswers",
    "NoJournal",
    "ShippedTexts",
    "Task",
    "WorkerSetup",
    "answered",
    "pack_tasks",
    "unpack_tasks",
    "variables_of",
]

ASK = 96  # a kind of message, for the backend alone: a question for stored answers, msgpack [number, what, argument…]
LOOK_S = 0.25  # between two looks whether the job is stopping

# chunk, model, attempt, whether there may be stored answers, row | None, document, heads, text | error
Task = list[Any]


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker gets for a round.

    ``number``: of the round in this backend. ``path`` (the host's ``sys.path``) and ``folder`` (the job's) are for
    workers on the host's own machine, which ``boot`` names. ``budget``: the actor's name. ``variables``: those of the
    host's environment that models name for keys and headers.
    """

    number: int
    config: WorkerConfig
    path: Sequence[str]
    boot: str
    folder: str
    budget: str
    variables: Mapping[str, str] = field(repr=False)


def variables_of(models: Sequence[Model], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that the models name, with their keys; nothing else of the environment travels."""
    names: set[str] = set()
    for model in every_lane(models):
        names |= {model.key_env} if model.key_env else set()
        headers = model.spec.headers
        if isinstance(headers, Mapping):
            names |= {name for value in map(str, headers.values()) for name in keys.variables_in(value)}
    return {name: environment[name] for name in names if name in environment}


def task_of(reader: ChunkReader, start: Start, stored: bool) -> tuple[Task, bytes]:
    """A task with its text, and the facts of its document. What cannot be read becomes the task's failure there."""
    try:
        chunk, document, row, _, heads, facts = reader.read(start.chunk).parts
    except (LogError, OSError) as error:
        return [*start, stored, None, reader.document_of(start.chunk), None, str(error)], b""
    try:
        text: bytes | str = reader.bytes_of(chunk, row)
    except (LogError, OSError) as error:
        text = str(error)
    return [*start, stored, tuple(row), document, heads, text], facts


def pack_tasks(reader: ChunkReader, starts: Sequence[tuple[Start, bool]]) -> bytes:
    """A batch of tasks with the rows and texts of their chunks, and the facts of each document once."""
    # Ray puts a batch of 100 KB or more into its object store, and drops it when the worker has unpacked it: no node
    # holds the document.
    facts_by_document: dict[str, bytes] = {}
    tasks = []
    for start, stored in starts:
        task, facts = task_of(reader, start, stored)
        if facts:
            facts_by_document[task[5]] = facts
        tasks.append(task)
    packed: bytes = msgpack.packb([tasks, facts_by_document], unicode_errors="surrogatepass")
    return packed


def unpack_tasks(packed: bytes) -> tuple[list[Task], Mapping[str, bytes]]:
    """The reverse of ``pack_tasks``: the tasks, and the facts by document."""
    tasks, facts = msgpack.unpackb(packed, unicode_errors="surrogatepass", max_bin_len=len(packed))
    return tasks, facts


class ShippedTexts:
    """The chunks that came with tasks: implements :class:`mrengine.worker.ports.ChunkTexts`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: dict[int, tuple[Task, bytes, int]] = {}

    def add(self, task: Task, facts: bytes) -> None:
        """Keep the chunk of a task. It may have several tasks, one for each model."""
        with self._lock:
            held = self._chunks.get(task[0])
            self._chunks[task[0]] = task, facts, 1 if held is None else held[2] + 1

    def drop(self, chunk: int) -> None:
        """Let go of the chunk for one of its tasks."""
        with self._lock:
            task, facts, count = self._chunks.pop(chunk)
            if count > 1:
                self._chunks[chunk] = task, facts, count - 1

    def stored(self, chunk: int) -> bool:
        """Whether there may be answers to the chunk's calls already."""
        return bool(self._chunks[chunk][0][3])

    def document_of(self, chunk: int) -> str:
        held = self._chunks.get(chunk)
        return "" if held is None else str(held[0][5])

    def read(self, chunk: int) -> TrackedChunk:
        (_, _, _, _, row, document, heads, text), facts, _ = self._chunks[chunk]
        if row is None:
            raise LogError(text, reason="damaged")

        def text_of(chunk: int, row: ChunkRow) -> str:
            if isinstance(text, bytes):
                return decoded(chunk, row, text)
            raise LogError(text, reason="damaged")

        return TrackedChunk(chunk, document, ChunkRow(*row), text_of, (tuple(heads[0]), heads[1]), facts)

    def close(self) -> None:
        """Do nothing."""


class AskedAnswers:
    """Asks the host, whose log has the answers: implements :class:`mrengine.worker.ports.StoredAnswers`."""

    def __init__(self, ask: Callable[[bytes], None], texts: ShippedTexts, stopping: Callable[[], bool]) -> None:
        self._ask, self._texts, self._stopping = ask, texts, stopping
        self._changed = threading.Condition()
        self._number = 0
        self._answers: dict[int, list[Any]] = {}  # empty: not there yet

    def turns(self, digest: bytes, *, chunk: int, attempt: int, owner: bytes = b"") -> list[CallRecord]:
        if not self._texts.stored(chunk):
            return []
        turns = self._ask_host("turns", digest, chunk, attempt, owner)
        return [replace(unpack_call(payload), reused=reused) for payload, reused in turns]

    def earlier(self, digest: bytes, *, chunk: int, attempt: int) -> int | None:
        offset: int | None = self._ask_host("earlier", digest, chunk, attempt)
        return offset

    def text(self, offset: int) -> str:
        text: str | None = self._ask_host("text", offset)
        if text is None:
            raise LogError("an answer of a batch cannot be read from the log", reason="damaged")
        return text

    def share(self, call: CallRecord, payload: bytes, owner: bytes) -> None:
        if call.reusable and owner:
            self._ask(msgpack.packb([0, "share", payload, owner]))

    def close(self) -> None:
        """Do nothing."""

    def _ask_host(self, what: str, *args: Any) -> Any:
        with self._changed:
            self._number += 1
            number = self._number
            self._answers[number] = []
        self._ask(msgpack.packb([number, what, *args]))
        with self._changed:
            try:
                while not (answer := self._answers[number]):
                    if self._stopping():
                        raise Stopped("the job is stopping")
                    self._changed.wait(LOOK_S)
            finally:
                del self._answers[number]
        return answer[0]

    def receive(self, answers: Sequence[tuple[int, Any]]) -> None:
        """Give the host's answers to those who asked."""
        with self._changed:
            self._answers.update((number, [answer]) for number, answer in answers if number in self._answers)
            self._changed.notify_all()


def answered(stored: StoredCalls, question: bytes) -> tuple[int, Any]:
    """The host's side of ``AskedAnswers``: the number of a question, and its answer."""
    number, what, *args = msgpack.unpackb(question)
    if what == "turns":
        digest, chunk, attempt, owner = args
        calls = stored.turns(digest, chunk=chunk, attempt=attempt, owner=owner)
        return number, [(pack_call(call), call.reused) for call in calls]
    if what == "earlier":
        return number, stored.earlier(args[0], chunk=args[1], attempt=args[2])
    if what == "share":
        stored.share(unpack_call(args[0]), *args)
        return number, None
    try:
        return number, stored.text(args[0])
    except LogError:
        return number, None


class NoJournal:
    """For a worker that does not see the job's folder: its answers are lost if the driver dies before they arrive."""

    def keep(self, payload: bytes) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
