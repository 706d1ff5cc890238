"""Progress displays: their interface, what all of them make of events, and the one that writes log lines."""

from __future__ import annotations

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress

from mrengine.events import (
    BatchEnded,
    BatchProgress,
    BatchSubmitted,
    BudgetWait,
    CallRetry,
    ChunkFailed,
    ChunkProcessed,
    Event,
    JobComplete,
    JobDraining,
    JobStart,
    ReduceStart,
)
from mrengine.progress.meter import Clock, Meter, describe

__all__ = ["Lines", "Progress", "Silent", "Watching", "is_logged"]

log = logging.getLogger("mrengine.progress")


class Progress:
    """Shows the state of a run; a callback for all events. This one shows nothing."""

    def __call__(self, event: Event) -> None:
        """Update by an event."""

    def tick(self) -> None:
        """Redraw, although no event has come."""

    def state(self, text: str) -> None:
        """Show what the run is doing: "reading", "draining", or "" for normal work."""

    def load(self, in_flight: int) -> None:
        """Take the number of tasks that are with workers now."""

    def use(self, model: str, tokens: int) -> None:
        """Take the tokens of a call to the model that was answered."""

    def say(self, text: str) -> None:
        """Print a line on stderr, above the bar."""
        with suppress(OSError, ValueError, AttributeError):  # stderr is closed, or there is none
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Remove the bar from the screen; idempotent."""


class Silent(Progress):
    """No display: events need not be made for it."""


class Watching(Progress, ABC):
    """A display that follows the events of a run. ``meter``: its counts; ``doing()``: what it does or waits for."""

    every_s: float  # between two drawings

    def __init__(self, tpm: Mapping[str, int] | None = None, *, clock: Clock = time.monotonic) -> None:
        self.meter = Meter(tpm, clock=clock)
        self._clock = clock
        self._text = "starting"
        self._waiting, self._waiting_until = "", 0.0
        self._batches: dict[str, tuple[int, int]] = {}  # requests, and how many of them are done
        self._drawn = float("-inf")

    @abstractmethod
    def _draw(self) -> None:
        """Show the meter."""

    def __call__(self, event: Event) -> None:
        """Update by an event."""
        # Chunks first: a job has a million of them, and a few of the others.
        if isinstance(event, (ChunkProcessed, ChunkFailed)):
            failed = self.meter.failed + isinstance(event, ChunkFailed)
            self.meter.count(done=event.done, failed=failed)
            self.meter.grow(event.total, so_far=event.total_so_far)
            if isinstance(event, ChunkProcessed):
                self.meter.spend(event.usage, event.cost_usd)
            self.tick()
        elif isinstance(event, JobStart):
            self.meter.begin(event.total, event.resumed)
            self.meter.grow(event.total, so_far=event.total_so_far)
            self.state("")
        elif isinstance(event, BudgetWait):
            self._wait("waiting for the rate limit", event.wait_ms / 1000)
        elif isinstance(event, CallRetry):
            # A drawing longer than the wait: the state of a short one would never be seen.
            self._wait(f"asking {event.model} again ({event.status or 'no answer'})", event.wait_s + self.every_s)
        elif isinstance(event, (BatchSubmitted, BatchProgress)):
            done = event.done + event.failed if isinstance(event, BatchProgress) else 0
            self._batches[event.batch_id] = (event.requests, done)
            self.tick()
        elif isinstance(event, BatchEnded):
            self._batches.pop(event.batch_id, None)
            self.tick()
        elif isinstance(event, JobDraining):
            self.state(f"draining, {event.in_flight} in flight")
        elif isinstance(event, ReduceStart):
            self.state("reducing")
        elif isinstance(event, JobComplete):
            self.close()  # before the caller prints its results

    def tick(self) -> None:
        """Redraw, unless it was drawn just now."""
        if self._clock() - self._drawn >= self.every_s:
            self._redraw()

    def state(self, text: str) -> None:
        """Show what the run is doing, at once: it may last."""
        self._text = text
        self._redraw()

    def load(self, in_flight: int) -> None:
        """Take the number of tasks that are with workers now."""
        self.meter.in_flight = in_flight

    def use(self, model: str, tokens: int) -> None:
        """Take the tokens of a call to the model that was answered."""
        self.meter.use(model, tokens)

    def doing(self) -> str:
        """What the run does or waits for just now; "" while it works."""
        if self._text:
            return self._text
        if self._clock() < self._waiting_until:
            return self._waiting
        if self._batches:
            done = sum(done for _, done in self._batches.values())
            return f"waiting for batches ({done} of {sum(of for of, _ in self._batches.values())} requests done)"
        return ""

    def _redraw(self) -> None:
        self._drawn = self._clock()
        self._draw()

    def _wait(self, text: str, seconds: float) -> None:
        self._waiting, self._waiting_until = text, self._clock() + seconds
        self.tick()


def is_logged() -> bool:
    """Whether the lines are logged at all; if not, no events are made for them."""
    return log.isEnabledFor(logging.INFO)


class Lines(Watching):
    """Progress where stderr is no terminal, for cron mails and journals: a line at INFO every half minute."""

    every_s = 30.0

    def __init__(self, tpm: Mapping[str, int] | None = None, *, clock: Clock = time.monotonic) -> None:
        super().__init__(tpm, clock=clock)
        self._drawn = clock()  # so that the first line comes after half a minute, and a short run has none

    def state(self, text: str) -> None:
        """Keep the state for the next line: alone it is no reason for one."""
        self._text = text
        self.tick()

    def _draw(self) -> None:
        log.info("%s", describe(self.meter, self.doing()))
