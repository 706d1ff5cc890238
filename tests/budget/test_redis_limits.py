"""A limit that machines share: a real server, real deaths, and clocks that differ."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mrengine.budget import redis_limits
from mrengine.budget.limiter import GRACE_S, Held, Limiter
from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.redis_limits import RedisLimit, RemoteLimiter, SharedLimitDown
from mrengine.budget.server import BudgetConfig, make_service
from mrengine.budget.shared_limits import Shares, global_name
from mrengine.budget.wait_queue import QueuedRequest
from mrengine.errors import ConfigError
from mrengine.records import Observed, RateLimit
from tests.budget import test_limiter, test_manager
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


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections of the limits that a test has made."""
    made: list[Any] = []
    client = redis_limits._client
    monkeypatch.setattr(redis_limits, "_client", lambda url: made.append(client(url)) or made[-1])
    yield
    for one in made:
        one.close()


@contextmanager
def _running() -> Iterator[Server]:
    require_packages("redis")
    folder = Path(tempfile.mkdtemp(prefix="r-"))
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    with _running() as server:
        yield server


@pytest.fixture(name="standing", scope="module")
def _standing() -> Iterator[Server]:
    """One that many tests share."""
    with _running() as server:
        yield server


def manager(server: Server, clock: Any = time.monotonic, name: str = "team", **limit: Any) -> TokenBucketManager:
    limit = limit or {"tpm": 60_000}
    shared = RateLimit(shared=f"{server.url}#{name}", **limit)
    return TokenBucketManager({"m": shared}, clock=clock, sharing=Shares("/nowhere"), process=global_name())


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


def at(url: str, limit: RateLimit, *, process: str = "me@here", key: str = "k", **how: Any) -> RedisLimit:
    return RedisLimit(url, key, Limiter(limit, 0.0, **how), process=process)


def in_flight(limiter: Limiter) -> dict[str, int]:
    """The calls in flight that the server counts, by process."""
    assert isinstance(limiter, RemoteLimiter)
    limiter.note(None, "holders")
    return {process.decode(): int(count) for process, count in limiter.flush()}


def _dies(url: str, ready: Any) -> None:
    with at(url, RateLimit(concurrent=1), process="dead@there") as limiter:
        limiter.occupy()
        limiter.queue.join(QueuedRequest(("dead@there/1", 1), 0, (1.0, 1.0, 0.0, 1.0), 0.0, 600.0))
    ready.send(True)
    time.sleep(60)


def test_what_a_dead_process_held_is_free(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls in flight are, once it has shown no life for a while; and it locks nothing meanwhile."""
    mine, theirs = fork.Pipe()
    child = fork.Process(target=_dies, args=(server.url, theirs))
    child.start()
    assert mine.recv()
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    limit = at(server.url, RateLimit(concurrent=1))
    with limit as limiter:
        assert in_flight(limiter) == {"dead@there": 1}
    monkeypatch.setattr(redis_limits, "ALIVE_S", 0.0)
    with limit as limiter:
        assert in_flight(limiter) == {}


def test_who_has_calls_in_flight_shows_life(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing else happens; who has none keeps nothing alive."""
    monkeypatch.setattr(redis_limits, "HEARTBEAT_S", 0.02)
    with at(server.url, RateLimit(concurrent=2), process="long@there") as holder:
        holder.occupy()
    monkeypatch.setattr(redis_limits, "ALIVE_S", 0.5)
    time.sleep(1.0)  # longer than it would be kept
    with at(server.url, RateLimit(concurrent=2)) as limiter:
        assert in_flight(limiter) == {"long@there": 1}


def test_a_limit_that_nobody_uses_expires(server: Server) -> None:
    """One key, with an end, whoever was there."""
    for process in ("a@here", "b@there"):
        with at(server.url, RateLimit(tpm=60_000), process=process) as limiter:
            limiter.occupy()
    client = redis_limits._client(server.url)
    (key,) = client.keys()
    assert 0 < client.pttl(key) <= 86_400_000
    client.close()


class Lossy:
    """Replies are lost on their way, after the server has done what was asked."""

    def __init__(self, limit: RedisLimit, lost: int) -> None:
        self._run, self.lost = limit._run, lost
        limit._run = self

    def __call__(self, **how: Any) -> Any:
        import redis

        reply = self._run(**how)
        if self.lost:
            self.lost -= 1
            raise redis.ConnectionError
        return reply


def ask(limiter: Limiter, number: int, tokens: float = 1000.0) -> dict[Any, Held]:
    key = ("me@here/1", number)
    limiter.queue.join(QueuedRequest(key, 0, (tokens, tokens, 0.0, 1.0), 0.0, GRACE_S))
    return limiter.serve((key,), 0.0)[0]


@pytest.mark.parametrize("lost", [1, 2])
def test_a_reply_that_is_lost_takes_nothing_twice(server: Server, lost: int) -> None:
    """What it granted is given back, because whoever asked was told to come again."""
    limit = at(server.url, RateLimit(tpm=60_000, concurrent=1))
    with limit as limiter:
        ((_, held),) = ask(limiter, 0, 1.0).items()
        limiter.settle(held, None, 0.0)
    Lossy(limit, lost)
    for _ in range(lost):
        with pytest.raises(SharedLimitDown), limit as limiter:
            ask(limiter, 2, 20_000.0)
    with limit as limiter:
        assert ask(limiter, 2, 20_000.0)
        assert limiter.remaining() == pytest.approx(59_400 - 1 - 20_000, abs=5000)


class Exact:
    """Limiters on the clock of a test, each a limit of its own."""

    def __init__(self, url: str) -> None:
        self._url, self._made, self._name = url, 0, secrets.token_hex(4)

    def __call__(self, limit: RateLimit, now: float = 0.0, **how: Any) -> Limiter:
        self._made += 1
        own = Limiter(limit, now, **how)
        return RedisLimit(self._url, f"{self._name}-{self._made}", own, process="me@here", on_clock=True).__enter__()

    def sharing(self, _model: str, limit: RateLimit, limiter: Limiter) -> RedisLimit:
        self._made += 1
        return RedisLimit(self._url, f"{self._name}-{self._made}", limiter, process="me@here", on_clock=True)


INSIDE = {  # they look at what only the limiter of this process has
    "test_settling_gives_back_in_each_dimension",
    "test_the_state_survives_dump_and_load",
    "test_a_dead_process_holds_nothing",
    "test_where_all_were_refused_one_alone_tries_and_waits_longer_each_time",
    "test_a_provider_that_bears_8_calls_gets_little_more",
}


LONG = {
    "test_p0_in_a_flood_of_p2_is_served_within_a_second",
    "test_a_second_model_with_its_own_limit_doubles_what_is_granted",
    "test_a_waiting_p2_is_served_within_a_bounded_time_though_p0_never_pauses",
}


def _plain(module: Any) -> list[Any]:
    """The tests of a module that want nothing but a limiter; not hypothesis's, which wants them to be quick."""
    tests = inspect.getmembers(module, inspect.isfunction)
    names = [n for n, test in tests if n.startswith("test_") and not hasattr(test, "hypothesis")]
    plain = [n for n in names if n not in INSIDE and not inspect.signature(getattr(module, n)).parameters]
    return [pytest.param(n, marks=pytest.mark.system) if n in LONG else n for n in plain]


@pytest.mark.parametrize("name", _plain(test_limiter))
def test_the_tests_of_the_limiter_hold_for_the_script(standing: Server, monkeypatch: Any, name: str) -> None:
    exact = Exact(standing.url)
    monkeypatch.setattr(test_limiter, "Limiter", exact)
    getattr(test_limiter, name)()


@pytest.mark.parametrize("name", _plain(test_manager))
def test_the_tests_of_the_manager_hold_for_the_script(standing: Server, monkeypatch: Any, name: str) -> None:
    exact = Exact(standing.url)

    def made(limits: Any = None, **how: Any) -> TokenBucketManager:
        return TokenBucketManager(limits, sharing=exact.sharing, **how)

    monkeypatch.setattr(test_manager, "TokenBucketManager", made)
    getattr(test_manager, name)()


class Twins:
    """The limiter of this process and the script, given the same: whatever they answer is compared."""

    def __init__(self, url: str, limit: RateLimit, seed: int) -> None:
        self.draw, self.now = random.Random(seed), 100.0
        self.both = [Limiter(limit, self.now, idle=(0,)), Exact(url)(limit, self.now, idle=(0,))]
        self.held: list[list[Held]] = []
        self.number = 0

    def step(self) -> None:
        self.now += self.draw.choice([0.0, 0.01, 0.3, 2.0, 25.0])
        self.draw.choice([self.join, self.serve, self.serve, self.settle, self.settle, self.observe, self.leave])()
        levels = [one.remaining() for one in self.both]
        assert levels[1] == pytest.approx(levels[0], abs=1.5)

    def join(self) -> None:
        for _ in range(self.draw.randint(1, 4)):
            self.number += 1
            rank, given, made = self.draw.randint(0, 2), self.draw.randint(1, 4000), self.draw.randint(0, 500)
            need = (float(given + made), float(given), float(made), 1.0)
            for one in self.both:
                one.queue.join(QueuedRequest(("me@here/1", self.number), rank, need, self.now, self.now + GRACE_S))

    def serve(self) -> None:
        keys = [("me@here/1", n) for n in range(max(0, self.number - 12), self.number + 1) if self.draw.random() < 0.8]
        (granted, waits), (theirs, later) = (one.serve(keys, self.now) for one in self.both)
        assert list(granted) == list(theirs)
        assert [(one.key, one.position) for one in waits] == [(one.key, one.position) for one in later]
        assert [one.wait_s for one in later] == pytest.approx([one.wait_s for one in waits], abs=1e-4)
        self.held += [[granted[key], theirs[key]] for key in granted]

    def settle(self) -> None:
        if self.held:
            pair = self.held.pop(self.draw.randrange(len(self.held)))
            share = self.draw.choice([None, 0.0, 0.3, 1.0, 1.4])
            for one, held in zip(self.both, pair, strict=True):
                a, b, c, _ = held.need
                one.settle(held, None if share is None else (a * share, b * share, c * share, 1.0), self.now)

    def observe(self) -> None:
        pair = self.draw.choice(self.held) if self.held and self.draw.random() < 0.8 else [None, None]
        refused = self.draw.random() < 0.4
        stated = self.draw.choice([None, 0, 3000, 50_000])
        limit = self.draw.choice([None, 30_000, 90_000])
        observed = Observed(
            limit_tokens=limit, remaining_tokens=stated, limit_requests=self.draw.choice([None, 300]),
            remaining_requests=self.draw.choice([None, 5]), retry_after_s=2.0 if refused else None,
        )  # fmt: skip
        for which, (one, held) in enumerate(zip(self.both, pair, strict=True)):
            others = [known[which] for known in self.held]
            one.observe(observed, self.now, held=held, refused=refused, others=lambda others=others: others)

    def leave(self) -> None:
        for one in self.both:
            one.queue.leave(("me@here/1", self.number))


LIMITS = [
    RateLimit(tpm=60_000),
    RateLimit(tpm=40_000, output_tpm=3000, rpm=100, concurrent=5),
    RateLimit(rps=2, burst_s=10),
    RateLimit(),
]


@pytest.mark.parametrize("limit", LIMITS, ids=str)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.system) for seed in range(2, 30))])
def test_the_script_answers_as_the_limiter_does(standing: Server, limit: RateLimit, seed: int) -> None:
    """Whatever happens, in whatever order."""
    twins = Twins(standing.url, limit, seed)
    for _ in range(300):
        twins.step()


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
        at("redis://host:port", RateLimit(tpm=1))
