"""What a worker needs from outside is injected: with ports of its own it runs without a job folder."""

from __future__ import annotations

import threading
from typing import Any

import cloudpickle
import pytest

from mrengine.engine import protocol as m
from mrengine.engine.protocol import WorkerConfig
from mrengine.log.format import codec, task_records
from mrengine.log.format.chunk_rows import ChunkRow
from mrengine.providers.models.model import resolve_models
from mrengine.worker.chunk_reader import TrackedChunk
from mrengine.worker.ports import WorkerPorts
from mrengine.worker.stored_answers import turn_digest
from mrengine.worker.task_runner import TaskRunner

TEXTS = {0: "one", 7: "seven"}


class Shipped:
    """All four ports: what came with the tasks, and what was asked for."""

    def __init__(self) -> None:
        self.answers: dict[bytes, task_records.CallRecord] = {}
        self.kept: list[bytes] = []
        self.acquired: list[tuple[str, bool]] = []
        self.settled = self.closed = 0

    def read(self, chunk: int) -> TrackedChunk:
        row = ChunkRow(0, "prose", 0, 1, 0, len(TEXTS[chunk]), 0, 0, b"")
        return TrackedChunk(chunk, "doc", row, lambda chunk, row: TEXTS[chunk])

    def turns(self, digest: bytes, *, chunk: int, attempt: int, owner: bytes = b"") -> list[task_records.CallRecord]:
        found: list[task_records.CallRecord] = []
        while (known := self.answers.get(turn_digest(digest, len(found)))) is not None:
            found.append(known)
        return found

    def document_of(self, chunk: int) -> str:
        return "doc"

    def earlier(self, digest: bytes, *, chunk: int, attempt: int) -> int | None:
        return None

    def text(self, offset: int) -> str:
        raise AssertionError("nothing was shared")

    def share(self, call: task_records.CallRecord, payload: bytes, owner: bytes) -> None: ...

    def acquire(self, model: str, *tokens: int, bound_tokens: int | None = None, **more: Any) -> Any:
        self.acquired.append((model, bound_tokens is not None))
        return self

    def settle(self, *args: Any, **more: Any) -> None:
        self.settled += 1

    def keep(self, payload: bytes) -> None:
        self.kept.append(payload)

    def close(self) -> None:
        self.closed += 1


def run(map_fn: Any, ports: Shipped, *chunks: int) -> list[tuple[int, int, int, bytes]]:
    said: list[tuple[int, int, int, bytes]] = []
    pack = cloudpickle.dumps
    config = WorkerConfig(
        "j", 0, "P1_user", False, pack(map_fn), pack(resolve_models("fake")), pack((None, ())), 60, 0, 30
    )
    emit = lambda *message: said.append(message)  # noqa: E731
    runner = TaskRunner(
        config, 3, 1, emit, threading.Event(), open_ports=lambda: WorkerPorts(ports, ports, ports, ports)
    )
    for chunk in chunks:
        runner.run(m.Start(chunk, 0, 1))
    runner.close()
    return said


def test_a_task_runs_on_what_was_shipped() -> None:
    """Text, budget and journal are the ports'; the answer is kept before anybody hears of it."""
    ports = Shipped()
    said = run(lambda chunk, context: [chunk.text, context.complete(chunk.text).text != ""], ports, 0, 7)
    assert [kind for kind, *_ in said] == [codec.INTENT, codec.CALL, codec.RESULT] * 2
    results = [task_records.unpack_result(payload) for kind, *_, payload in said if kind == codec.RESULT]
    assert [(found.chunk_id, found.worker_id, found.result) for found in results] == [
        (0, 3, ["one", True]),
        (7, 3, ["seven", True]),
    ]
    assert ports.kept == [payload for kind, *_, payload in said if kind == codec.CALL]
    assert (ports.acquired, ports.settled, ports.closed) == ([("fake", True)] * 2, 2, 4)


def test_answers_that_another_place_knows_are_taken() -> None:
    """No intent, no budget, no call."""
    first = Shipped()
    said = run(lambda chunk, context: context.complete("the same").text, first, 0)
    second = Shipped()
    call = task_records.unpack_call(first.kept[0])
    second.answers[call.digest] = call
    again = run(lambda chunk, context: context.complete("the same").text, second, 0)
    assert [kind for kind, *_ in again] == [codec.RESULT]
    assert not second.acquired
    assert task_records.unpack_result(again[-1][3]).result == task_records.unpack_result(said[-1][3]).result


def test_ports_are_opened_when_user_code_is_loaded() -> None:
    """An initializer that fails leaves nothing open."""

    def fails() -> None:
        raise LookupError

    def opened() -> WorkerPorts:
        raise AssertionError("too early")

    pack = cloudpickle.dumps
    config = WorkerConfig("j", 0, "P1_user", False, pack(len), pack(()), pack((fails, ())), 60, 0, 30)
    with pytest.raises(LookupError):
        TaskRunner(config, 0, 1, lambda *message: None, threading.Event(), open_ports=opened)
