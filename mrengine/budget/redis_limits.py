"""Limits that machines share: a limiter whose state is in Redis, and whose arithmetic runs there in one script.

The operations of one exchange are noted, and sent as a single call of ``limiter.lua``: nobody waits for another, and no
death leaves anything locked. Times in the state are the server's, as clocks of machines may differ. A call whose reply
was lost is sent again under the same number, and is not executed twice.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack

from mrengine.budget.bucket import Bucket
from mrengine.budget.limiter import DIMENSIONS, NOTHING_USED, Held, Limiter, Wait
from mrengine.budget.server_bucket import pairs
from mrengine.budget.wait_queue import Key, Need, QueuedRequest, WaitQueue
from mrengine.errors import ConfigError
from mrengine.records import Observed

__all__ = ["RedisLimit", "SharedLimitDown", "is_redis"]

FORMAT = 1
ALIVE_S, HEARTBEAT_S = 30.0, 8.0  # a process without a heartbeat for so long is dead; how often it sends one
TIMEOUT_S = 2.0
SCRIPT = Path(__file__).with_name("limiter.lua")
# Operations that a caller repeats by itself after SharedLimitDown.
ASKED_AGAIN = ("join", "serve", "remaining", "nearly_empty")


class SharedLimitDown(ConnectionError):
    """The server of a shared limit does not answer: nothing is granted until it does."""


def is_redis(name: str | None) -> bool:
    """Whether the name of a shared limit is the address of a server."""
    return name is not None and name.startswith(("redis://", "rediss://", "unix://"))


class RedisLimit:
    """Access to one limit on a server, by ``with``. ``url``: of the server; the part after a ``#`` belongs to the
    limit's name. ``process``: the name of this one, unique among all machines. ``limiter``: the limit's state if the
    server has none. ``on_clock``: for tests, times are those given to the limiter's methods; else the server's.
    """

    def __init__(self, url: str, key: str, limiter: Limiter, *, process: str, on_clock: bool = False) -> None:
        self._client = _client(url.partition("#")[0])
        self._run = self._client.register_script(SCRIPT.read_text(encoding="utf-8"))
        self._key, self._process = f"mrengine:limit:{FORMAT}:{key}", process
        self._limiter = RemoteLimiter(limiter, self._exchange, on_clock=on_clock)
        self._fresh: Any = _fresh(limiter)
        self._known = b""  # the last state that the server reported
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Limiter:
        return self._limiter

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._limiter.flush()
        if self._limiter.holds:
            self._start_heartbeat()

    def _exchange(self, number: str, ops: list[Any], at: float | None) -> dict[str, Any]:
        request = self._request(number, ops)
        if at is not None:
            request["at"] = at
        reply = self._call(request if self._known else {**request, "fresh": self._fresh})
        if reply.get("empty"):  # the server was restarted, and has lost the state that is remembered here
            reply = self._call({**request, "seed": self._known})
        self._known = reply["state"]
        return reply

    def _request(self, number: str, ops: list[Any]) -> dict[str, Any]:
        limit = self._limiter.limit
        own = {"own": self._fresh["own"], "concurrent": limit.concurrent or False, "burst_s": limit.burst_s}
        return {"id": number, "process": self._process, "limit": own, "ops": ops, "alive_s": ALIVE_S}

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        import redis

        # Without bin types, which Redis's own reader of msgpack does not know.
        sent = msgpack.packb(request, use_bin_type=False, unicode_errors="surrogatepass")
        try:
            packed = self._run(keys=[self._key], args=[sent])
        except redis.RedisError as error:  # without its text, which may hold the server's password
            raise SharedLimitDown(f"the server of a shared limit does not answer: {type(error).__name__}") from None
        reply: dict[bytes, Any] = msgpack.unpackb(packed, raw=True)
        return {name.decode(): value for name, value in reply.items()}

    def _start_heartbeat(self) -> None:
        """Send heartbeats from now on: the server stops counting the calls of a process that is silent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._heartbeat, name="mrengine-heartbeat", daemon=True)
            self._thread.start()

    def _heartbeat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_S)
            if self._limiter.holds:
                with suppress(SharedLimitDown):  # it comes back, or the next access reports it
                    self._call({**self._request("", []), "seed": self._known})


Exchange = Callable[[str, list[Any], "float | None"], dict[str, Any]]


class RemoteLimiter(Limiter):
    """A :class:`mrengine.budget.limiter.Limiter` on the server. Operations without a result are noted until one needs a
    result, which raises SharedLimitDown if the server does not answer.

    Noted operations remain, and are executed when the server is back. Grants of a call whose reply did not come are
    returned then, because the caller was told to try again.
    """

    def __init__(self, limiter: Limiter, exchange: Exchange, *, on_clock: bool) -> None:
        self.limit, self.own, self.born = limiter.limit, dict(limiter.own), limiter.born
        self._exchange, self._on_clock = exchange, on_clock
        self.queue = _RemoteQueue(self)
        self.taken = [0.0] * len(DIMENSIONS)
        self.holds = 0  # calls in flight of this process
        self._now: float | None = limiter.born if on_clock else None
        self._ops: list[Any] = []
        self._sent: tuple[str, list[Any], float | None] | None = None  # a call whose reply has not come

    # operations that are noted

    def note(self, now: float | None, *op: Any) -> None:
        """Note an operation. Those noted at another time are sent first, as each call has one time."""
        if self._on_clock and now is not None and now != self._now:
            if self._ops:
                self.flush()
            self._now = now
        self._ops.append(list(op))

    def occupy(self, process: str = "") -> None:
        self.holds += 1
        self.note(None, "occupy")

    def vacate(self, process: str = "") -> None:
        self.holds -= 1
        self.note(None, "vacate")

    def charge(self, used: Need, now: float) -> None:
        self.note(now, "charge", used)

    def settle(self, held: Held, used: Need | None, now: float, *, process: str = "") -> None:
        self.holds -= 1
        self._take(held.need, -1.0)
        self.note(now, "settle", _packed(held), used or False)

    def release(self, held: Held, process: str = "") -> None:
        self._take(held.need, -1.0)
        self.vacate(process)

    def _take(self, need: Need, sign: float) -> None:
        self.taken = [taken + sign * amount for taken, amount in zip(self.taken, need, strict=True)]

    def observe(
        self,
        observed: Observed,
        now: float,
        *,
        held: Held | None,
        refused: bool = False,
        others: Callable[[], Iterable[Held]] = tuple,
    ) -> None:
        stated = [[_or_false(limit), _or_false(left)] for limit, left in pairs(observed)]
        headers = {"pairs": stated, "retry_after_s": _or_false(observed.retry_after_s)}
        packed = [_packed(other) for other in others()]
        age_s = now - self.born
        self.note(now, "observe", headers, held is not None and _packed(held), refused, packed, list(self.taken), age_s)

    # operations with a result

    def serve(self, keys: Collection[Key], now: float, *, process: str = "") -> tuple[dict[Key, Held], list[Wait]]:
        self.note(now, "serve", [list(key) for key in keys])
        granted, waits = self.flush()
        return self._granted(granted), [Wait((_text(o), int(n)), wait, int(at)) for o, n, wait, at in waits]

    def _granted(self, rows: Iterable[Any]) -> dict[Key, Held]:
        granted = {}
        for owner, number, packed in rows:
            held = _held(packed)
            self.holds += 1
            self._take(held.need, 1.0)
            granted[_text(owner), int(number)] = held
        return granted

    def remaining(self) -> int:
        self.note(None, "remaining")
        return int(self.flush())

    def nearly_empty(self) -> bool:
        self.note(None, "nearly_empty")
        return bool(self.flush())

    def flush(self) -> Any:
        """Execute the noted operations; returns the result of the last one. SharedLimitDown."""
        try:
            if self._sent is not None:
                self._settle_late_grants(self._exchange(*self._sent)["results"])
            self._sent, self._ops = (secrets.token_hex(8), self._ops, self._now), []
            if not self._sent[1]:
                self._sent = None
                return None
            reply = self._exchange(*self._sent)
        except SharedLimitDown:
            self._ops = [op for op in self._ops if op[0] not in ASKED_AGAIN]
            raise
        self._sent = None
        for i, capacity, rate in reply["learned"]:
            if int(i) - 1 not in self.own:
                self.own[int(i) - 1] = Bucket(capacity, rate, 0.0)
        return reply["results"][-1]

    def _settle_late_grants(self, results: list[Any]) -> None:
        """Return the grants of a reply that came too late, before any other operation."""
        assert self._sent is not None
        later, self._ops = self._ops, []
        for op, result in zip(self._sent[1], results, strict=True):
            if op[0] == "serve":
                for held in self._granted(result[0]).values():
                    self.settle(held, NOTHING_USED, self._now or 0.0)
        self._ops += later
        self._sent = None


class _RemoteQueue(WaitQueue):
    """The wait queue on the server."""

    def __init__(self, limiter: RemoteLimiter) -> None:
        super().__init__(0.0)
        self._limiter = limiter

    def join(self, request: QueuedRequest) -> None:
        owner, number = request.key
        stays_s = request.expires - request.since
        self._limiter.note(request.since, "join", owner, number, request.rank, request.need, stays_s)

    def leave(self, key: Key) -> QueuedRequest | None:
        self._limiter.note(None, "leave", *key)
        return None


def _fresh(limiter: Limiter) -> dict[str, Any]:
    """The state of an unused limiter: capacity, rate and level of each bucket, and the idle ranks."""
    buckets = [limiter.own.get(i) for i in range(len(DIMENSIONS))]
    own = [[one.capacity, one.rate, one.level] if one is not None else False for one in buckets]
    return {"own": own, "idle": [at == float("-inf") for at in limiter.queue.last_seen]}


def _packed(held: Held) -> dict[str, Any]:
    marks = [held.marks.get(i, False) for i in range(len(DIMENSIONS))]
    return {"need": held.need, "marks": marks, "at": held.at, "number": held.number}


def _held(packed: dict[bytes, Any]) -> Held:
    marks = {i: int(mark) for i, mark in enumerate(packed[b"marks"]) if mark is not False}
    a, b, c, d = map(float, packed[b"need"])
    return Held((a, b, c, d), marks, packed[b"at"], int(packed[b"number"]))


def _or_false(value: float | None) -> float | bool:
    return False if value is None else value


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


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
