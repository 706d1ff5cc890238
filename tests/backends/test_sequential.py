"""The backend without processes: what is raised in map_fn and is not map_fn's own ends the run."""

from __future__ import annotations

import bdb
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner

DOCUMENTS = ["a", "b", "c"]
DRAIN_S = 8.0
pytestmark = pytest.mark.usefixtures("state_dir")


class Enough(Exception):
    """What a signal handler raises; Celery's SoftTimeLimitExceeded is an Exception, too."""


def strike(number: int, frame: object) -> None:
    raise Enough


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, strike)
    yield
    signal.signal(signal.SIGUSR1, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def limit() -> None:
    signal.raise_signal(signal.SIGUSR1)


def leave() -> None:
    raise bdb.BdbQuit


@pytest.mark.parametrize(
    ("strikes", "kind"),
    [(interrupt, KeyboardInterrupt), (limit, Enough), (leave, bdb.BdbQuit)],
    ids=lambda v: v.__name__,
)
def test_an_interrupt_in_map_fn_ends_the_run_and_costs_no_chunk(strikes: Any, kind: type[BaseException]) -> None:
    """At once, though its task never ended; what was done stays, the rest is run the next time."""

    def second(chunk: Any, _context: Any) -> str:
        if chunk.id == 1:
            strikes()
        return str(chunk.text)

    began = time.monotonic()
    with pytest.raises(kind):
        MapReduceRunner("struck", strategy="sequential", drain_s=DRAIN_S, map_version="1").run(DOCUMENTS, second)
    assert time.monotonic() - began < DRAIN_S
    status = Job("struck").status()
    assert (status.state, status.done, status.failed) == ("stopped", 1, 0)
    again = MapReduceRunner("struck", strategy="sequential", map_version="1").run(
        DOCUMENTS, lambda chunk, _: chunk.text
    )
    assert [found.result for found in again.results] == DOCUMENTS
    assert again.summary.resumed_chunks == 1


def test_an_exception_of_map_fn_is_its_chunks_own() -> None:
    """The same kind, raised by map_fn itself."""

    def second(chunk: Any, _context: Any) -> str:
        if chunk.id == 1:
            raise Enough
        return str(chunk.text)

    run = MapReduceRunner(strategy="sequential").run(DOCUMENTS, second)
    assert [failure.chunk_id for failure in run.failures] == [1]
