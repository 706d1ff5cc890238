"""One task from start to outcome: whatever user code does, exactly one message says what became of it."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mrengine.engine import protocol as m
from mrengine.errors import ModelRefused, ModelUnavailable, Retry
from mrengine.log.format import codec, task_records
from mrengine.log.format.chunk_rows import ChunkRow
from mrengine.worker.chunk_reader import TrackedChunk
from tests.worker.test_ports import Shipped, run

TEXT = "the patient was seen on Monday by Dr Ames"


class Named(Shipped):
    """Ports that know their documents, as a failure's record needs."""

    def read(self, chunk: int) -> TrackedChunk:
        return TrackedChunk(chunk, "doc", ChunkRow(0, "prose", 0, 9, 0, len(TEXT), 0, len(TEXT), b""), lambda *_: TEXT)

    def document_of(self, chunk: int) -> str:
        return f"doc{chunk}"


def raises(error: BaseException) -> Any:
    def map_fn(chunk: Any, _context: Any) -> None:
        assert chunk.text
        raise error

    return map_fn


def outcome(error: BaseException) -> tuple[int, bytes]:
    [(kind, _chunk, _model, payload)] = run(raises(error), Named(), 7)
    return kind, payload


@pytest.mark.parametrize("error", [ValueError(f"cannot parse {TEXT}"), SystemExit(TEXT), KeyboardInterrupt(TEXT)])
def test_an_exception_is_a_failure_that_does_not_repeat_the_chunk(error: BaseException) -> None:
    """sys.exit() ends the chunk, not the worker."""
    kind, payload = outcome(error)
    assert kind == codec.FAILURE
    failure = task_records.unpack_failure(payload)
    assert (failure.kind, failure.chunk_id, failure.attempts) == ("error", 7, 1)
    assert type(error).__name__ in failure.message
    assert "patient" not in failure.message


def test_a_value_that_cannot_be_stored_fails_by_that_name() -> None:
    """It would be lost in the log."""
    [(kind, *_, payload)] = run(lambda chunk, context: object(), Named(), 0)
    assert (kind, task_records.unpack_failure(payload).kind) == (codec.FAILURE, "unstorable")


@pytest.mark.parametrize(
    ("error", "after_s"),
    [
        (Retry("later", after_s=2.5), 2.5),
        (Retry("later"), None),
        (ModelUnavailable("later", retry_after_s=4.0), 4.0),
        (ModelUnavailable("later", retry_after_s=float("inf")), None),
    ],
)
def test_what_passes_is_tried_again_after_the_wait_that_it_asks_for(error: Exception, after_s: float | None) -> None:
    """A wait that is no finite number is the engine's to choose."""
    kind, payload = outcome(error)
    message, wait_s = msgpack.unpackb(payload)
    assert (kind, wait_s) == (m.RETRY, after_s)
    assert "later" in message


@pytest.mark.parametrize(("certain", "kind"), [(True, m.MODEL_DOWN), (False, m.MODEL_DOUBT)])
def test_a_refusal_of_the_model_is_reported_and_no_failure_of_the_chunk(certain: bool, kind: int) -> None:
    """The engine decides: the chunk may go to another model."""
    error = ModelRefused("wrong key", scope="model")
    error.certain = certain
    assert outcome(error)[0] == kind
