"""A limit that machines share: a real server, real deaths, and clocks that differ."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine.budget import redis_limits
from mrengine.budget.limiter import Limiter
from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.redis_limits import RedisLimit, SharedLimitDown
from mrengine.budget.server import BudgetConfig, make_service
from mrengine.budget.shared_limits import Shares, global_name
from mrengine.errors import ConfigError
from mrengine.records import RateLimit
from tests.conftest import require, require_packages

fork = multiprocessing.get_context("fork")


class Server:
    """A server on a socket of its own, which keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.url = folder, f"unix://{folder / 's'}"
        self.start()

    def start(self) -> None:
        command = [require("redis-server"), "--port", "0", "--unixsocket", str(self._folder / "s")]
        self._process = subprocess.Popen(
            [*command, "--save", "", "--dir", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        client = redis_limits._client(self.url)
        while True:
            try:
                client.ping()
                break
            except Exception:
                time.sleep(0.02)
        client.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    require_packages("redis")
    folder = Path(tempfile.mkdtemp(prefix="r-"))
    server = Server(folder)
    yield server
    server.kill()
    shutil.rmtree(folder)


def manager(server: Server, clock: Any = time.monotonic, name: str = "team", **limit: Any) -> TokenBucketManager:
    limit = limit or {"tpm": 60_000}
    shared = RateLimit(shared=f"{server.url}#{name}", **limit)
    sharing = Shares("/nowhere", clock=clock)
    return TokenBucketManager({"m": shared}, clock=clock, sharing=sharing, process=global_name())


def test_managers_of_one_name_draw_on_one_limit_whatever_their_clocks_say(server: Server) -> None:
    """What one is granted the other does not get, and it comes back by the server's time; another name is apart."""
    ahead, behind = (lambda: time.monotonic() + 1e6), (lambda: time.monotonic() / 2 - 5000)
    one, other = manager(server, ahead), manager(server, behind)
    assert one.request("m", 59_400, "P0").granted
    refused = other.request("m", 1000, "P0")
    assert refused.granted == 0
    assert 500 < refused.wait_ms <= 1000
    assert manager(server, name="others").request("m", 59_400, "P0").granted
    until = time.monotonic() + 5
    while not other.request("m", 1000, "P0").granted:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not one.request("m", 1000, "P0").granted


def test_a_server_that_was_away_overruns_nothing(server: Server) -> None:
    """While it is away nothing is granted; when it comes back with nothing in it, what was taken is known here."""
    budget = manager(server)
    assert budget.request("m", 59_400, "P0").granted
    server.kill()
    with pytest.raises(SharedLimitDown):
        budget.request("m", 1000, "P0")
    server.start()
    assert not budget.request("m", 20_000, "P0").granted


def test_a_worker_waits_while_the_server_is_away(server: Server) -> None:
    """Its request is told to come again; a call that ended meanwhile is settled when it is back."""
    limit = RateLimit(tpm=60_000, concurrent=1, shared=server.url)
    service = make_service(BudgetConfig(limits={"m": limit}, shared_dir="/nowhere"))
    service.hello(0, 1, ())
    first, second = (1, "m", 100, 10, 0, 100, False), (2, "m", 100, 10, 0, 100, False)
    assert service.exchange(0, 1, [first], [])[0] == [1]  # type: ignore[index]
    server.kill()
    reply = service.exchange(0, 1, [second], [(1, "m", 0, 10, None, True, None)])
    assert reply is not None
    assert (reply[0], [wait[0] for wait in reply[2]]) == ([], [2])
    server.start()
    assert service.exchange(0, 1, [second], [])[0] == [2]  # type: ignore[index]


def _dies(url: str, ready: Any) -> None:
    with RedisLimit(url, "k", Limiter(RateLimit(concurrent=1), 0.0), process="dead@there") as limiter:
        limiter.occupy("dead@there")
    with RedisLimit(url, "k", Limiter(RateLimit(concurrent=1), 0.0), process="dead@there"):
        ready.send(True)
        time.sleep(60)


def test_what_a_dead_process_held_is_free(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease ends by itself, and so do its calls in flight."""
    monkeypatch.setattr(redis_limits, "LEASE_MS", 300)
    mine, theirs = fork.Pipe()
    child = fork.Process(target=_dies, args=(server.url, theirs))
    child.start()
    assert mine.recv()
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    limit = RedisLimit(server.url, "k", Limiter(RateLimit(concurrent=1), 0.0), process="me@here")
    with limit as limiter:
        assert limiter.in_flight == {"dead@there": 1}
    monkeypatch.setattr(redis_limits, "ALIVE_S", -1.0)
    with limit as limiter:
        assert limiter.in_flight == {}


def _draw(url: str, results: Any, until: float) -> None:
    shared = RateLimit(tpm=600_000, burst_s=1.0, shared=url)
    budget = TokenBucketManager({"m": shared}, sharing=Shares("/nowhere"), process=global_name())
    grants = []
    while (before := time.monotonic()) < until:
        grant = budget.request("m", 50, "P1_user")
        if grant.granted:
            grants.append((before, time.monotonic()))
        else:
            time.sleep(min(grant.wait_ms / 1000, 0.2))
    results.send(grants)


def test_processes_share_the_rate_and_keep_the_rule(server: Server) -> None:
    """Four real processes that take what they get: in sum never more than one limit."""
    pipes, children = [], []
    until = time.monotonic() + 2.0
    for _ in range(4):
        mine, theirs = fork.Pipe()
        child = fork.Process(target=_draw, args=(server.url, theirs, until))
        child.start()
        pipes.append(mine)
        children.append(child)
    together = [grant for pipe in pipes for grant in pipe.recv()]
    for child in children:
        child.join()
    assert together
    for start, _ in together:
        inside = sorted(after for before, after in together if before >= start)
        assert all(50 * n <= 4000 + 10_000 * (end - start) + 1 for n, end in enumerate(inside, 1))


def test_an_address_that_is_none_is_refused() -> None:
    """By what it is, without what stands in it."""
    require_packages("redis")
    with pytest.raises(ConfigError, match="no address of a server"):
        RedisLimit("redis://host:port", "k", Limiter(RateLimit(tpm=1), 0.0), process="p")
