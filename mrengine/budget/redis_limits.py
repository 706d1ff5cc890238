"""Limits that machines share: the state of a limiter in Redis, taken and put back by two short scripts.

``take`` leases the limit, reads the server's clock, and brings the state; ``give`` puts it back, if the lease holds.
Between them the arithmetic is that of :mod:`mrengine.budget.limiter`. Times in the state are the server's, so clocks
of machines may differ. A lease ends by itself when its holder dies; who lives shows it every few seconds.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack

from mrengine.budget.limiter import Limiter
from mrengine.errors import ConfigError

__all__ = ["RedisLimit", "SharedLimitDown", "is_redis"]

LEASE_MS = 5000
ALIVE_S, SIGN_S = 30.0, 8.0
UNUSED_MS = 86_400_000
TIMEOUT_S = 2.0
LEASE_WAIT_S = 10.0  # for a lease: its holder takes milliseconds, or has died
PAUSE_S = (0.001, 0.005)

TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], ARGV[3], time[1])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
local till = tonumber(redis.call('HGET', KEYS[1], 'till') or '0')
if till > now then return {0} end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'till', string.format('%.0f', now + ARGV[2]))
local state = redis.call('HMGET', KEYS[1], 'version', 'state')
return {1, time[1], time[2], state[1] or '', state[2] or '', redis.call('HGETALL', KEYS[2])}
"""
GIVE = """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'state', ARGV[2])
redis.call('HDEL', KEYS[1], 'holder', 'till')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


class SharedLimitDown(ConnectionError):
    """The server of a shared limit does not answer: nothing is granted until it does."""


def is_redis(name: str | None) -> bool:
    """Whether the name of a shared limit is a place."""
    return name is not None and name.startswith(("redis://", "rediss://", "unix://"))


class RedisLimit:
    """Access to one limit on a server: ``with`` leases it. ``url``: of the server; what follows a ``#`` is part of the
    limit's name. ``clock``: that of the limiter. ``process``: this one's name, unique among all machines.
    """

    def __init__(
        self, url: str, key: str, limiter: Limiter, *, process: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        client = _client(url.partition("#")[0])
        self._take, self._give = client.register_script(TAKE), client.register_script(GIVE)
        self._client, self._limiter, self._process, self._clock = client, limiter, process, clock
        self._keys = [f"mrengine:limit:{key}", "mrengine:alive"]
        self._token, self._shift = "", 0.0
        self._seen, self._unsaved = "", False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Limiter:
        seconds, micros, version, state, alive = self._leased()
        now = int(seconds) + int(micros) / 1e6
        self._shift = self._clock() - now
        mine = self._unsaved and version.decode() in ("", self._seen)  # the server was gone before it had our state
        if state and not mine:
            self._limiter.load(moved(msgpack.unpackb(state, strict_map_key=False), self._shift))
        self._seen = version.decode()
        signs = {name.decode(): int(at) for name, at in zip(alive[::2], alive[1::2], strict=True)}
        for name in self._limiter.processes():
            if signs.get(name, 0.0) < now - ALIVE_S:
                self._limiter.forget(name)
        return self._limiter

    def __exit__(self, *_: object) -> None:
        state = msgpack.packb(moved(self._limiter.dump(), -self._shift))
        self._unsaved = True
        given = self._call(self._give, self._keys[:1], [self._token, state, UNUSED_MS])
        if (
            given
        ):  # else the lease had ended: another has the limit, and what was taken here stands with the next access
            self._seen, self._unsaved = self._token, False
        self._show_life()

    def _leased(self) -> list[Any]:
        until = time.monotonic() + LEASE_WAIT_S
        while True:
            self._token = secrets.token_hex(8)
            held, *rest = self._call(self._take, self._keys, [self._token, LEASE_MS, self._process, UNUSED_MS])
            if held:
                return list(rest)
            if time.monotonic() > until:
                raise SharedLimitDown("a shared limit stays leased")
            time.sleep(random.uniform(*PAUSE_S))

    def _call(self, script: Any, keys: list[str], args: list[Any]) -> Any:
        import redis

        try:
            return script(keys=keys, args=args)
        except redis.RedisError as error:  # without its text, which may hold the server's password
            raise SharedLimitDown(f"the server of a shared limit does not answer: {type(error).__name__}") from None

    def _show_life(self) -> None:
        """While calls are in flight here, tell so: those of a process that is silent are not counted any more."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._signs, name="mrengine-life", daemon=True)
            self._thread.start()

    def _signs(self) -> None:
        import redis

        while True:
            time.sleep(SIGN_S)
            try:
                seconds, _ = self._client.time()
                self._client.hset(self._keys[1], self._process, seconds)
            except redis.RedisError:
                continue  # it comes back, or the next access will tell


def _client(url: str) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ConfigError(
            f"RateLimit(shared='redis://…') needs a client: pip install 'mrengine[redis]' ({error})", setting="limits"
        ) from error
    try:
        return redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 1)
        )
    except ValueError as error:
        raise ConfigError(f"RateLimit(shared=…) is no address of a server: {error}", setting="limits") from None


def moved(state: list[Any], by: float) -> list[Any]:
    """The state of a limiter as ``dump`` describes it, on a clock that is ``by`` seconds ahead."""
    own, seen, (waiting, last_seen, served), in_flight, hold_until, probing, call_s, number = state
    window, ceiling, (refused_at, refused), *rest = probing
    return [
        {i: _bucket(bucket, by) for i, bucket in own.items()},
        {i: [_bucket(bucket, by), mark] for i, (bucket, mark) in seen.items()},
        [
            [[*row[:4], row[4] + by, row[5] + by, *row[6:]] for row in waiting],
            [at + by for at in last_seen],
            [at + by for at in served],
        ],
        in_flight,
        hold_until + by,
        [window, ceiling, (refused_at + by, refused), *rest],
        call_s,
        number,
    ]


def _bucket(dumped: list[Any], by: float) -> list[Any]:
    capacity, rate, level, at, *rest = dumped
    return [capacity, rate, level, at + by, *rest]
