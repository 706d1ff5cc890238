"""Which calls wait for a batch; whole jobs are in tests/batches."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.worker import batched_call
from mrengine.worker.batched_call import BatchMode

MODEL: Any = object()


@pytest.fixture(autouse=True)
def batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that has them."""
    monkeypatch.setattr(batched_call, "has_batches", lambda model: model is MODEL)


def test_a_round_without_batches_asks_directly() -> None:
    """There is no mode."""
    assert BatchMode.of(None) is None


def test_a_call_goes_into_a_batch_where_its_model_has_them() -> None:
    """Another model's does not."""
    mode = BatchMode(since=0)
    assert mode.takes(MODEL, b"d")
    assert not mode.takes(object(), b"d")  # type: ignore[arg-type]


def test_what_batches_failed_to_answer_is_asked_directly_or_fails() -> None:
    """As ``finish`` says: BatchedCall is what fails it."""
    assert not BatchMode(since=0, direct=frozenset([b"d"])).takes(MODEL, b"d")
    assert BatchMode(since=0, direct=frozenset([b"d"]), finish="fail").takes(MODEL, b"d")


def test_after_the_deadline_everything_is_direct_or_fails() -> None:
    """The batches' time is over."""
    assert not BatchMode(since=0, late="direct").takes(MODEL, b"d")
    assert BatchMode(since=0, late="fail").takes(MODEL, b"d")
