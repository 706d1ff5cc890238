"""What a user sees of a run on a terminal: the arithmetic in ``Meter``, the drawing in ``Bar``.

The bar draws to stderr, in the caller's thread, at most ten times a second, and leaves sys.stdout and sys.stderr as
they are. rich is imported when the first bar is drawn. It uses rich's ``Live`` and not its ``Progress``: a host may
fork, so there must be no refresh thread; and on a narrow terminal the pace and the state must give way before the time
left, which columns that are laid out one by one cannot do.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from mrengine.errors import ConfigError
from mrengine.events import (
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

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Bar", "Meter", "Progress", "Silent", "open_progress"]

WINDOW_S = 30.0
SAMPLE_S = 0.25
REDRAW_S = 0.1
BAR, LEAST_BAR = 20, 6  # characters

Clock = Callable[[], float]


class Meter:
    """Counts, pace and time left. ``done`` includes failures and resumed chunks; the pace is that of this run."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self.begin(0, 0)

    def begin(self, total: int, resumed: int) -> None:
        """Start a round."""
        self.total, self.so_far = total, False
        self.done = resumed
        self.failed = 0
        self._started = self._clock()
        self._samples.clear()
        self._samples.append((self._started, resumed))

    def count(self, *, done: int, failed: int) -> None:
        """Update the counts; ``done`` includes failures."""
        self.done, self.failed = done, failed
        now = self._clock()
        if now - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] < now - WINDOW_S:
            self._samples.popleft()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the round began."""
        return self._clock() - self._started

    @property
    def per_second(self) -> float:
        """Chunks a second over the last half minute; 0 before the first."""
        since, done = self._samples[0]
        return (self.done - done) / max(self._clock() - since, 1e-9)

    def grow(self, total: int, *, so_far: bool) -> None:
        """The total is known better; ``so_far``: and not to its end."""
        self.total, self.so_far = total, so_far

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the current pace; None before there is one, and while the total is not known."""
        pace = self.per_second
        return (self.total - self.done) / pace if pace > 0 and not self.so_far else None


class Progress(Protocol):
    """Shows the state of a run; a callback for all events."""

    def __call__(self, event: Event) -> None:
        """Update by an event."""

    def tick(self) -> None:
        """Redraw although no event has come."""

    def state(self, text: str) -> None:
        """Show what the run is doing: "reading", "draining", or "" for normal work."""

    def say(self, text: str) -> None:
        """A line on stderr, above the bar."""

    def close(self) -> None:
        """Remove the bar from the screen; idempotent."""


class Silent:
    """No bar."""

    def __call__(self, event: Event) -> None:
        pass

    def tick(self) -> None:
        """Nothing to redraw."""

    def state(self, text: str) -> None:
        """Nothing to show."""

    def say(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Nothing to remove."""


def open_progress(wanted: bool | None, *, stream: TextIO | None = None, clock: Clock = time.monotonic) -> Progress:
    """A bar, or one that shows nothing. ``wanted=None``: a bar only if stderr is a terminal and rich is installed.

    Raises ConfigError where a bar is wanted and rich is not installed.
    """
    stream = sys.stderr if stream is None else stream
    if wanted is False or stream is None or (wanted is None and not _is_terminal(stream)):
        return Silent()
    try:
        return Bar(stream, clock=clock)
    except ImportError as error:
        if wanted is None:
            return Silent()
        raise ConfigError("a progress bar needs rich: pip install rich", setting="progress") from error


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal. Without a console sys.stderr is None, and a closed one raises."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


class Bar:
    """One line on the terminal: state, bar, done/total, failed, pace, time left."""

    def __init__(self, stream: TextIO, *, clock: Clock = time.monotonic) -> None:
        from rich.console import Console

        self.meter = Meter(clock=clock)
        self._clock = clock
        self._console = Console(file=stream)
        self._live: Any = None
        self._closed = self._console.is_dumb_terminal
        self._text = "starting"
        self._waiting, self._waiting_until = "", 0.0
        self._drawn = float("-inf")

    def __call__(self, event: Event) -> None:
        """Update by an event."""
        if isinstance(event, (ChunkProcessed, ChunkFailed)):
            failed = self.meter.failed + isinstance(event, ChunkFailed)
            self.meter.count(done=event.done, failed=failed)
            self.meter.grow(event.total, so_far=event.total_so_far)
            self.tick()
        elif isinstance(event, JobStart):
            self.meter.begin(event.total, event.resumed)
            self.meter.grow(event.total, so_far=event.total_so_far)
            self.state("")
        elif isinstance(event, BudgetWait):
            self._wait("waiting for the rate limit", event.wait_ms / 1000)
        elif isinstance(event, CallRetry):
            self._wait(f"asking {event.model} again ({event.status or 'no answer'})", event.wait_s + REDRAW_S)
        elif isinstance(event, JobDraining):
            self.state(f"draining, {event.in_flight} in flight")
        elif isinstance(event, ReduceStart):
            self.state("reducing")
        elif isinstance(event, JobComplete):
            self.close()

    def tick(self) -> None:
        """Redraw, unless it was drawn just now."""
        if self._clock() - self._drawn >= REDRAW_S:
            self._draw()

    def state(self, text: str) -> None:
        """Show what the run is doing: "reading", "draining", or "" for normal work."""
        self._text = text
        self._draw()

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._live is None:
            Silent().say(text)
        else:
            self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar from the screen, so that a traceback does not print into it."""
        self._closed = True
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if self._closed:
            return
        self._drawn = self._clock()
        if self._live is None:
            from rich.live import Live

            # No refresh thread, as the host may fork; no redirection: sys.stdout and sys.stderr stay the user's.
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(self._line(), refresh=True)

    def _line(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        words = describe(self.meter, self._state(), width=self._console.width - 1)
        room = min(BAR, self._console.width - 1 - len(words) - 1)
        if room < LEAST_BAR:  # no room for both: the words are more useful
            return Text(words, no_wrap=True, overflow="ellipsis")
        line = Table.grid(Column(width=room), Column(no_wrap=True, overflow="ellipsis"), padding=(0, 1))
        bar = ProgressBar(total=self.meter.total or None, completed=self.meter.done, pulse=not self.meter.total)
        line.add_row(bar, words)
        return line

    def _state(self) -> str:
        if self._text:
            return self._text
        return self._waiting if self._clock() < self._waiting_until else ""

    def _wait(self, text: str, seconds: float) -> None:
        self._waiting, self._waiting_until = text, self._clock() + seconds
        self.tick()


def describe(meter: Meter, state: str = "", *, width: int = 10_000) -> str:
    """The text of the line, as "12/40 chunks, draining, 1 failed, 3.1/s, 0:09 left".

    If it exceeds ``width``, the pace is dropped first, then the state; the time left is always shown.
    """
    count = f"{meter.done}/{meter.total}{'…' * meter.so_far} chunks" if meter.total else ""
    failed = f"{meter.failed} failed" if meter.failed else ""
    pace = ""
    if meter.per_second > 0:
        pace = f"{meter.per_second:.1f}/s" if meter.per_second >= 1 else f"{1 / meter.per_second:.1f} s each"
    left = meter.eta_s is not None and meter.done < meter.total
    time_ = f"{_clock_time(meter.eta_s or 0)} left" if left else _clock_time(meter.elapsed_s)
    for words in ((count, state, failed, pace, time_), (count, state, failed, time_), (count, failed, time_)):
        line = ", ".join(word for word in words if word)
        if len(line) <= width:
            break
    return line


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
