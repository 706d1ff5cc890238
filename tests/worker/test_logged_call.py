"""A call is in the log before it is made, and its answer before anybody has seen it."""

from __future__ import annotations

import threading
from typing import Any

import cloudpickle
import pytest

from mrengine import ModelSpec
from mrengine.engine.protocol import Start, WorkerConfig
from mrengine.errors import ModelRefused, ModelUnavailable, Stopped
from mrengine.log.format import codec, task_records
from mrengine.providers.call.breaker import Breaker
from mrengine.providers.models.model import resolve_models
from mrengine.records import Chunk, Completion, Request, Usage
from mrengine.worker.logged_call import LARGEST_TEXT, LoggedCall
from mrengine.worker.model_clients import ModelClients
from mrengine.worker.task_calls import Deadline, Question, TaskCalls


class Answers:
    """A provider that plays a script, of which each worker has one."""

    script: tuple[Any, ...] = ()

    def __init__(self, spec: ModelSpec) -> None:
        self._left = list(Answers.script)

    def complete(self, request: Request) -> Completion:
        found = self._left.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        pass


class Told:
    """What went into the log, in order, and what was noted."""

    def __init__(self) -> None:
        self.log: list[tuple[int, Any]] = []
        self.notes: list[str] = []

    def emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        read = {codec.INTENT: task_records.unpack_intent, codec.CALL: task_records.unpack_call}.get(kind)
        if read is not None:
            self.log.append((kind, read(payload)))


def made(*script: Any, stopping: threading.Event | None = None) -> tuple[LoggedCall, Told, TaskCalls]:
    """A call whose provider plays ``script``."""
    Answers.script = script
    models = resolve_models(ModelSpec("played", provider=Answers))
    pack, told, calls = cloudpickle.dumps, Told(), TaskCalls()
    config = WorkerConfig("j", 0, "P1_user", False, b"", pack(models), pack((None, ())), 60, 0, 30)
    clients = ModelClients(config, 0, 1, told.emit, stopping or threading.Event(), None)
    chunk = Chunk(0, "d", 0, 9, 0, 2, "prose", "the chunk")
    store: Any = None
    question = Question(
        task=Start(0, 0, 1),
        chunk=chunk,
        deadline=Deadline(60.0, lambda waiting: None),
        calls=calls,
        store=store,
        index=0,
        request=Request("played", "p"),
        response_model=None,
        on_truncation="error",
        reusable=True,
        owner=b"",
    )
    call = LoggedCall(clients, models[0], question, b"d" * 16, Breaker(), alternatives=False, turn=0)
    return call, told, calls


ANSWER = Completion("yes", usage=Usage(3, 1))


def test_an_intent_stands_before_the_call_and_the_answer_after_it() -> None:
    """Under the same digest; the text is one that no message may repeat."""
    call, told, calls = made(ANSWER)
    assert call.send(Request("played", "p")).text == "yes"
    assert [kind for kind, _ in told.log] == [codec.INTENT, codec.CALL]
    assert told.log[0][1].digest == told.log[1][1].digest
    assert (told.log[1][1].usage, told.log[1][1].reusable) == (Usage(3, 1), True)
    assert calls.texts == ["yes"]


def test_a_refusal_that_was_not_billed_settles_its_intent() -> None:
    """A budget that reads the log does not count it; the next attempt has an intent of its own."""
    call, told, _ = made(ModelUnavailable("busy", model="played", status=429, retry_after_s=0.0), ANSWER)
    call.send(Request("played", "p"))
    assert [kind for kind, _ in told.log] == [codec.INTENT, codec.CALL, codec.INTENT, codec.CALL]
    assert (told.log[1][1].finish_reason, told.log[1][1].reusable) == ("refused", False)


def test_a_call_of_which_nobody_knows_whether_it_was_billed_stays_open() -> None:
    """Its intent counts as spent."""
    call, told, _ = made(ModelUnavailable("cut off", model="played"), ANSWER)
    call.send(Request("played", "p"))
    assert [kind for kind, _ in told.log] == [codec.INTENT, codec.INTENT, codec.CALL]


def test_an_answer_that_no_record_holds_counts_and_is_asked_for_again() -> None:
    """It is not taken for the empty text that the log has of it."""
    call, told, _ = made(Completion("x" * (LARGEST_TEXT + 1), usage=Usage(3, 1)))
    assert len(call.send(Request("played", "p")).text) == LARGEST_TEXT + 1
    record = told.log[-1][1]
    assert (record.text, record.reusable, record.usage) == ("", False, Usage(3, 1))


def test_a_provider_that_gives_no_completion_is_named() -> None:
    """What it gave is not in the message."""
    call, _, _ = made({"text": "secret"})
    with pytest.raises(ModelRefused, match="gave a dict, not a Completion") as failed:
        call.send(Request("played", "p"))
    assert "secret" not in str(failed.value)


def test_nothing_is_sent_when_the_job_is_stopping() -> None:
    """No intent, either: it would count as a call."""
    stopping = threading.Event()
    stopping.set()
    call, told, _ = made(ANSWER, stopping=stopping)
    with pytest.raises(Stopped):
        call.send(Request("played", "p"))
    assert told.log == []
