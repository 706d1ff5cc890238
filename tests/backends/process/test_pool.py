"""The pool as the engine sees it, without a process: its handles are played."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mrengine.backends.process import framing
from mrengine.backends.process.pool import ProcessPool
from mrengine.engine.protocol import NEED_ENDPOINT, RESULT, Start, Started


class Handle:
    """A worker from outside."""

    def __init__(self) -> None:
        self.pid, self.killed, self.scoreboard = 0, 0, self
        self.runs = [Started(3, 0, 1.0)]

    def started(self) -> list[Started]:
        return self.runs

    def kill(self) -> None:
        self.killed += 1


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three workers, the last of which is not there; what is written to each is kept."""
    made: Any = ProcessPool(3, 2)
    made._handles[:2] = [Handle(), Handle()]
    made.written = []
    monkeypatch.setattr(made, "_write", lambda worker, data: made.written.append((worker, data)))
    monkeypatch.setattr(made, "_look_after", list)
    yield made
    made._handles[:] = [None] * 3
    made.close()


def test_tasks_go_to_their_worker_in_one_frame(pool: Any) -> None:
    """16 bytes each."""
    tasks = [Start(1, 0, 1), Start(2, 0, 3)]
    pool.send(1, tasks)
    ((worker, data),) = pool.written
    assert (worker, list(framing.unpack_tasks(data[5:]))) == (1, tasks)
    assert len(data) == 5 + 16 * len(tasks)


def test_a_worker_that_is_not_there_runs_nothing_and_holds_nothing(pool: Any) -> None:
    """The engine may ask between a death and the next worker."""
    assert list(pool.started(0)) == [Started(3, 0, 1.0)]
    assert (list(pool.started(2)), pool.resident(2), pool.stopped(2)) == ([], 0, 0)
    pool.kill(2)
    pool.kill(0)
    assert [handle.killed for handle in pool._handles[:2]] == [1, 0]


def test_a_drain_reaches_everybody(pool: Any) -> None:
    """Those that are being forked, too: what is written waits for them."""
    pool.drain()
    assert pool.written == [(worker, framing.frame(framing.DROP)) for worker in range(3)]


def test_the_address_of_a_model_server_goes_to_all_and_its_request_no_further(
    pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker asks, and the others would next."""
    monkeypatch.setattr(pool._helpers, "serve", lambda name, window, notify: notify(name, "http://there", "key"))
    asks = (0, NEED_ENDPOINT, -1, -1, msgpack.packb(["small", 4096]))
    outcome = (0, RESULT, 1, 0, b"x")
    monkeypatch.setattr(pool._selector, "poll", lambda timeout_s: [asks, outcome])
    assert pool.poll(0.0) == [outcome]
    told = framing.frame(framing.ENDPOINT, msgpack.packb(["small", "http://there", "key"]))
    assert pool.written == [(worker, told) for worker in range(3)]
