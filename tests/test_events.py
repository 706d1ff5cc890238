"""Events and the dispatcher."""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields
from types import FrameType
from typing import Any

import pytest

from mrengine.errors import ConfigError
from mrengine.events import EVENTS, BudgetWait, Dispatcher, Event, JobStart, make


class SoftTimeLimit(Exception):
    """As Celery's: an Exception that a signal handler raises."""


def start_event() -> JobStart:
    return JobStart(job_id="j", at=1.0, total=3, resumed=1)


@pytest.fixture
def usr1() -> Iterator[Callable[[Any], None]]:
    """Set a handler for SIGUSR1; the old one comes back."""
    old = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, old)


def raise_limit(signum: int, frame: FrameType | None) -> None:
    raise SoftTimeLimit


def strike(_event: Event) -> None:
    """A callback during which the signal comes."""
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(1000):
        pass


def test_events_are_frozen_and_know_their_names() -> None:
    """Every event of the contract exists under its name, and cannot be changed."""
    assert set(EVENTS) >= {
        *("job:start", "chunk:processed", "chunk:failed", "chunk:retry", "budget:wait"),
        *("worker:crashed", "worker:respawned", "reduce:start", "job:complete"),
    }
    event = make("budget:wait", job_id="j", at=2.0, model="gpt-4o", wait_ms=5.0)
    assert (event.name, event) == ("budget:wait", BudgetWait(job_id="j", at=2.0, model="gpt-4o", wait_ms=5.0))
    with pytest.raises(FrozenInstanceError):
        event.at = 3.0  # type: ignore[misc]
    for name, kind in EVENTS.items():
        assert {"name", "job_id", "at"} <= {f.name for f in fields(kind)}, name


def test_on_returns_the_callback_and_off_takes_it_away() -> None:
    """on() may be used in place; off() of a stranger is no error."""
    heard: list[str] = []
    dispatcher = Dispatcher()
    callback = dispatcher.on("job:start", lambda event: heard.append(event.name))
    assert dispatcher.wants("job:start")
    assert not dispatcher.wants("job:complete")
    dispatcher.emit(start_event())
    dispatcher.off("job:start", callback)
    dispatcher.off("job:complete", callback)
    dispatcher.emit(start_event())
    assert heard == ["job:start"]


def test_star_hears_everything() -> None:
    """The callbacks of the name come first, then those of all."""
    heard: list[str] = []
    dispatcher = Dispatcher()
    dispatcher.on("*", lambda event: heard.append("*" + event.name))
    dispatcher.on("job:start", lambda event: heard.append(event.name))
    dispatcher.emit(start_event())
    dispatcher.emit(BudgetWait(job_id="j", at=1.0, model="m", wait_ms=1.0))
    assert heard == ["job:start", "*job:start", "*budget:wait"]


def test_unknown_event_name_is_refused() -> None:
    """A slip in a name would be a callback that is never called."""
    with pytest.raises(ConfigError, match="chunk:processed"):
        Dispatcher().on("chunk:procesed", print)


def test_raising_callback_is_logged_without_its_message_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The next callback is called; the log names the place, not the text."""
    heard: list[str] = []
    dispatcher = Dispatcher()

    def bad(_event: Event) -> None:
        raise KeyError("patient text")

    dispatcher.on("job:start", bad)
    dispatcher.on("job:start", lambda event: heard.append(event.name))
    with caplog.at_level(logging.INFO, "mrengine"):
        dispatcher.emit(start_event())
        dispatcher.emit(start_event())
    assert heard == ["job:start"] * 2
    (record,) = caplog.records  # the second time is a debug line
    assert "bad" in record.message
    assert "KeyError" in record.message
    assert "test_events.py" in record.message
    assert "patient" not in caplog.text


def test_keyboard_interrupt_passes_through() -> None:
    """A BaseException is nobody's callback error."""
    dispatcher = Dispatcher()

    def interrupt(_event: Event) -> None:
        raise KeyboardInterrupt

    dispatcher.on("*", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dispatcher.emit(start_event())


class Handler:
    def __call__(self, signum: int, frame: FrameType | None) -> None:
        raise_limit(signum, frame)

    def method(self, signum: int, frame: FrameType | None) -> None:
        raise SoftTimeLimit


@pytest.mark.parametrize(
    "handler",
    [
        raise_limit,
        Handler(),
        Handler().method,
        functools.partial(lambda extra, signum, frame: raise_limit(signum, frame), 1),
    ],
    ids=["function", "object", "method", "partial"],
)
@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_what_a_signal_handler_raised_passes_through(handler: Any, early: bool, usr1: Callable[[Any], None]) -> None:
    """Whatever kind of callable the handler is, and whether it was set before the dispatcher was made or later."""
    if early:
        usr1(handler)
    dispatcher = Dispatcher()
    if not early:
        usr1(handler)
    dispatcher.on("job:start", strike)
    with pytest.raises(SoftTimeLimit):
        dispatcher.emit(start_event())


def test_handler_that_restores_the_old_one_before_it_raises(usr1: Callable[[Any], None]) -> None:
    """At the time of the exception it is no handler any more, but it was one when the run began."""

    def once(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        raise SoftTimeLimit

    usr1(once)
    dispatcher = Dispatcher()
    dispatcher.on("job:start", strike)
    with pytest.raises(SoftTimeLimit):
        dispatcher.emit(start_event())


def test_same_exception_raised_by_the_callback_itself_is_logged(
    usr1: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    """It is the handler's frame that tells, not the type."""
    usr1(raise_limit)
    dispatcher = Dispatcher()

    def own(_event: Event) -> None:
        raise SoftTimeLimit

    dispatcher.on("job:start", own)
    dispatcher.emit(start_event())
    assert "SoftTimeLimit" in caplog.text


def test_signal_inside_a_deep_call_of_the_callback_passes_through(usr1: Callable[[Any], None]) -> None:
    """The handler's frame is found under any depth of the callback's own."""
    usr1(raise_limit)

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            strike(start_event())

    dispatcher = Dispatcher()
    dispatcher.on("*", lambda _event: deep(50))
    with pytest.raises(SoftTimeLimit):
        dispatcher.emit(start_event())
