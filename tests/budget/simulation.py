"""A provider with a token bucket, and workers that draw on a budget, all on one simulated clock: no test waits."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mrengine.budget.connection import CallReport
from mrengine.budget.service import BudgetService
from mrengine.budget.wait_queue import rank_of
from mrengine.records import Observed

HOP_S = 0.0005  # from a worker to the manager and back
RIDE_S = 0.005


class Clock:
    """Seconds that pass only when advanced."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Provider:
    """Admits calls from a bucket of one minute's limit; ``tells`` the level of "admission", "answer", or nothing."""

    clock: Clock
    limit: float = 60_000.0
    level: float | None = None
    tells: str | None = None
    admitted: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.level = self.limit if self.level is None else self.level
        self.at = self.clock.now

    def now_level(self) -> float:
        assert self.level is not None
        self.level = min(self.limit, self.level + self.limit / 60 * (self.clock.now - self.at))
        self.at = self.clock.now
        return self.level

    def admit(self, cost: float) -> tuple[bool, int]:
        """Whether the call may pass, and what remains after it."""
        if self.now_level() < cost:
            self.refused.append(self.clock.now)
            return False, int(self.level or 0)
        assert self.level is not None
        self.level -= cost
        self.admitted.append((self.clock.now, cost))
        return True, int(self.level)

    def headers(self, remaining: int) -> Observed | None:
        if self.tells is None:
            return None
        stated = remaining if self.tells == "admission" else int(self.now_level())
        return Observed(limit_tokens=int(self.limit), remaining_tokens=stated)


@dataclass
class Job:
    """One worker process of a run: ``calls`` to make, ``slots`` at a time."""

    service: BudgetService
    worker: int
    calls: int
    slots: int
    priority: str = "P1_user"
    counted: int = 1038
    output: int = 0
    start_s: float = 0.0


class Simulation:
    """Runs jobs against a provider that charges ``cost`` a call; ``exchanges`` counts the calls to managers."""

    def __init__(
        self,
        provider: Provider,
        jobs: list[Job],
        *,
        seed: int = 1,
        cost: float = 1038,
        usage: tuple[int, int, int] = (1038, 0, 0),
        latency_s: float = 0.3,
        travel_s: float = 0.2,
        estimated: bool = False,
    ) -> None:
        self.provider, self.clock = provider, provider.clock
        self.random = random.Random(seed)
        self.cost, self.usage = cost, usage
        self.latency_s, self.travel_s = latency_s, travel_s
        self.estimated = estimated
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.serial = 0
        self.exchanges = 0
        self.first = self.last = None  # type: float | None
        self.workers = [_Worker(self, job) for job in jobs]

    def at(self, when: float, do: Callable[[], None]) -> None:
        self.serial += 1
        heapq.heappush(self.events, (when, self.serial, do))

    def run(self, limit_s: float = 600.0) -> float:
        """Seconds from the first request to the last answer."""
        end = self.clock.now + limit_s
        for worker in self.workers:
            self.at(self.clock.now + worker.job.start_s, worker.begin)
        while self.events:
            when, _, do = heapq.heappop(self.events)
            assert when < end, "the simulation does not end"
            self.clock.now = max(self.clock.now, when)
            do()
        assert self.first is not None
        assert self.last is not None
        return self.last - self.first

    @property
    def waits(self) -> list[float]:
        """Seconds from request to grant, of all workers."""
        return [wait_s for worker in self.workers for wait_s in worker.waits]

    def travel(self) -> float:
        return self.random.uniform(0.0, self.travel_s)


class _Worker:
    """What BudgetClient does, in events."""

    def __init__(self, simulation: Simulation, job: Job) -> None:
        self.simulation, self.job = simulation, job
        self.left = deque(range(1, job.calls + 1))
        self.waiting: dict[int, float] = {}
        self.done: list[CallReport] = []
        self.number = 0
        self.waits: list[float] = []
        self.due: float | None = None

    def begin(self) -> None:
        self.job.service.hello(self.job.worker, 0, ())
        for _ in range(self.job.slots):
            self.next_call()

    def next_call(self) -> None:
        if self.left:
            self.left.popleft()
            self.ask()

    def ask(self) -> None:
        self.number += 1
        self.waiting[self.number] = self.simulation.clock.now
        self.wake(HOP_S)

    def wake(self, after_s: float) -> None:
        when = self.simulation.clock.now + after_s
        if self.due is None or when < self.due:
            self.due = when
            self.simulation.at(when, lambda: self.exchange(when))

    def exchange(self, when: float) -> None:
        if self.due != when:
            return
        self.due = None
        self.simulation.exchanges += 1
        job, rank = self.job, rank_of(self.job.priority)
        asks = [(n, "m", job.counted, job.output, rank, 0, self.simulation.estimated) for n in self.waiting]
        done, self.done = self.done, []
        reply = job.service.exchange(job.worker, 0, asks, done)
        assert reply is not None
        granted, refused, waits, _ = reply
        assert not refused
        for number in granted:
            self.waits.append(self.simulation.clock.now - self.waiting.pop(number))
            self.call(number)
        if waits:
            self.wake(min(30.0, min(wait_s for _, wait_s, _ in waits)) + HOP_S)

    def call(self, number: int) -> None:
        simulation = self.simulation
        simulation.at(simulation.clock.now + simulation.travel(), lambda: self.arrive(number))

    def arrive(self, number: int) -> None:
        simulation = self.simulation
        if simulation.first is None:
            simulation.first = simulation.clock.now
        admitted, remaining = simulation.provider.admit(simulation.cost)
        latency_s = simulation.latency_s if admitted else 0.0
        simulation.at(simulation.clock.now + latency_s, lambda: self.answer(number, admitted, remaining))

    def answer(self, number: int, admitted: bool, remaining: int) -> None:
        simulation = self.simulation
        headers = simulation.provider.headers(remaining)
        stated = None if headers is None else tuple(getattr(headers, name) for name in headers.__slots__)
        usage = simulation.usage if admitted else (0, 0, 0)
        self.done.append(
            (number, "m", self.job.counted if simulation.estimated else 0, self.job.output, usage, True, stated)
        )
        self.wake(RIDE_S)
        simulation.last = simulation.clock.now
        if admitted:
            self.next_call()
        else:
            self.ask()
