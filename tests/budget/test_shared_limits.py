"""A limit that several processes draw on: real files, real locks, real deaths."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from mrengine.budget import shared_limits
from mrengine.budget.limiter import Limiter
from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.shared_limits import SharedLimit, Shares, is_alive, process_name
from mrengine.records import RateLimit
from tests.budget.simulation import Clock

fork = multiprocessing.get_context("fork")
LIMIT = RateLimit(tpm=60_000, shared="team")


def manager(folder, clock=time.monotonic, limit=LIMIT, **how):
    return TokenBucketManager({"m": limit}, clock=clock, sharing=Shares(folder, **how), process=process_name())


def test_two_managers_of_one_name_draw_on_one_limit(tmp_path):
    """What one is granted the other does not get; another model, or another name, is another limit."""
    clock = Clock()
    one, other = manager(tmp_path, clock), manager(tmp_path, clock)
    assert one.request("m", 59_400, "P0").granted
    refused = other.request("m", 1000, "P0")
    assert refused.granted == 0
    assert refused.wait_ms == pytest.approx(1000, abs=1)
    assert manager(tmp_path, clock, RateLimit(tpm=60_000, shared="others")).request("m", 59_400, "P0").granted


def test_runners_of_one_host_share_without_a_name(tmp_path):
    """The host's name is theirs; a limit of another host, or without any name, is apart."""
    clock = Clock()
    plain = RateLimit(tpm=60_000)
    assert manager(tmp_path, clock, plain, host="h1").request("m", 59_400, "P0").granted
    assert not manager(tmp_path, clock, plain, host="h1").request("m", 59_400, "P0").granted
    assert manager(tmp_path, clock, plain, host="h2").request("m", 59_400, "P0").granted
    assert manager(tmp_path, clock, plain).request("m", 59_400, "P0").granted


def test_a_model_of_the_same_name_at_another_endpoint_has_its_own_limit(tmp_path):
    """Two servers count apart, whatever their models are called."""
    clock = Clock()
    for place in ("http://one/v1", "http://other/v1"):
        budget = manager(tmp_path, clock, RateLimit(tpm=60_000), host="h", places={"m": place})
        assert budget.request("m", 59_400, "P0").granted
        assert not budget.request("m", 59_400, "P0").granted


def test_the_state_file_is_small_and_private(tmp_path):
    """0600 in a folder of 0700, a few kilobytes."""
    manager(tmp_path / "limits").request("m", 1000, "P0")
    (path,) = (tmp_path / "limits").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "limits").stat().st_mode & 0o777 == 0o700
    assert path.stat().st_size < 4096


@pytest.mark.parametrize("damage", [b"", b"\0" * 7, b"x" * 300])
def test_a_damaged_file_is_begun_anew(tmp_path, damage):
    """It holds a minute's worth of knowledge; nothing fails because of it."""
    first = manager(tmp_path)
    first.request("m", 1000, "P0")
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    assert manager(tmp_path).request("m", 1000, "P0").granted == 1000
    assert first.request("m", 1000, "P0").granted == 1000


def test_the_state_of_another_boot_is_not_taken(tmp_path):
    """Monotonic clocks begin anew."""
    limiter = Limiter(RateLimit(tpm=600), 0.0)
    old = SharedLimit(tmp_path / "f", limiter)
    old._boot = "another"
    with old:
        limiter.take((500.0, 500.0, 0.0, 1.0), 0.0)
    fresh = Limiter(RateLimit(tpm=600), 0.0)
    with SharedLimit(tmp_path / "f", fresh):
        assert fresh.own[0].level == pytest.approx(594.0)


def test_a_limit_that_nobody_used_for_a_day_is_swept(tmp_path):
    """The folder does not grow with every host that ever ran; who still has the file open finds the new one."""
    clock = Clock()
    old = manager(tmp_path, clock)
    old.request("m", 59_400, "P0")
    (path,) = tmp_path.iterdir()
    os.utime(path, (1.0, 1.0))
    assert manager(tmp_path, clock).request("m", 59_000, "P0").granted
    assert not old.request("m", 59_000, "P0").granted
    assert len(list(tmp_path.iterdir())) == 1


def _hold(path, ready):
    with SharedLimit(path, Limiter(RateLimit(tpm=600), 0.0)):
        ready.send(True)
        time.sleep(60)


def test_the_lock_of_a_killed_holder_is_free_at_once(tmp_path):
    """SIGKILL in the middle of an access stops nobody."""
    mine, theirs = fork.Pipe()
    child = fork.Process(target=_hold, args=(tmp_path / "f", theirs))
    child.start()
    assert mine.recv()
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    limiter = Limiter(RateLimit(tpm=600), 0.0)
    with SharedLimit(tmp_path / "f", limiter):
        assert limiter.own[0].level == pytest.approx(594.0)


def test_the_slots_of_a_killed_process_are_free(tmp_path):
    """A process that dies with calls in flight and asks in the line leaves neither behind."""
    path = tmp_path / "f"
    dead = "999999:1"
    limiter = Limiter(RateLimit(concurrent=1), 0.0)
    with SharedLimit(path, limiter, alive=lambda name: True):
        limiter.occupy(dead)
    other = Limiter(RateLimit(concurrent=1), 0.0)
    with SharedLimit(path, other):
        assert other.in_flight == {}


def test_the_slots_of_a_process_that_cannot_be_seen_are_its_own_until_it_dies(tmp_path, monkeypatch):
    """In another container its pid means nothing: the kernel's lock on its name tells."""
    path, name = tmp_path / "f", "7:1 of another namespace"
    monkeypatch.setattr(shared_limits, "process_name", lambda: name)
    theirs, mine = (SharedLimit(path, Limiter(RateLimit(concurrent=1), 0.0), alive=lambda name: False) for _ in "ab")
    with theirs as limiter:
        limiter.occupy(name)
    monkeypatch.setattr(shared_limits, "process_name", lambda: "mine")
    monkeypatch.setattr(shared_limits, "LOOK_FOR_DEAD_S", 0.0)
    with mine as limiter:
        assert limiter.in_flight == {name: 1}
    theirs.close()
    with mine as limiter:
        assert limiter.in_flight == {}
    assert path.stat().st_size < 4096


def test_a_process_is_known_by_pid_and_start():
    """A pid that is used again is another process."""
    mine = process_name()
    assert mine == process_name(os.getpid())
    assert is_alive(mine)
    assert not is_alive(mine + "1")
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    name = process_name(child.pid)
    assert is_alive(name)
    child.kill()
    child.join()
    assert not is_alive(name)


def _draw(folder, results):
    budget = manager(folder, limit=RateLimit(tpm=600_000, burst_s=1.0, shared="team"))
    grants = []
    results.send("ready")
    until = results.recv()
    while (before := time.monotonic()) < until:
        grant = budget.request("m", 50, "P1_user")
        if grant.granted:
            grants.append((before, time.monotonic()))
        else:
            time.sleep(min(grant.wait_ms / 1000, 0.2))
    results.send(grants)


def test_processes_share_the_rate_fairly_and_keep_the_rule(tmp_path):
    """Four real processes that take what they get: in sum never more than one limit, each about as much."""
    pipes, children = [], []
    for _ in range(4):
        mine, theirs = fork.Pipe()
        child = fork.Process(target=_draw, args=(tmp_path, theirs))
        child.start()
        pipes.append(mine)
        children.append(child)
    assert [pipe.recv() for pipe in pipes] == ["ready"] * 4  # none begins late, as on a busy machine
    until = time.monotonic() + 1.5
    for pipe in pipes:
        pipe.send(until)
    grants = [pipe.recv() for pipe in pipes]
    for child in children:
        child.join()
    # A grant was made at some time between two: what lies between two such times for certain obeys the rule.
    together = [grant for some in grants for grant in some]
    for start, _ in together:
        inside = sorted(after for before, after in together if before >= start)
        assert all(50 * n <= 4000 + 10_000 * (end - start) + 1 for n, end in enumerate(inside, 1))
    counts = sorted(len(some) for some in grants)
    assert counts[0] >= 0.3 * counts[-1]
