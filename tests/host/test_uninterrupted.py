"""Signal handlers are the program's own again, however the frame of a run was left."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from mrengine.host.uninterrupted import Signals


@pytest.fixture
def handler() -> Iterator[Any]:
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    yield signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_a_block_that_an_interrupt_kept_from_being_left_takes_nothing_later(handler: Any) -> None:
    """It struck between the caller's loop and the end of the stream's ``yield``; all was given back since."""
    signals = Signals()
    signals.take()
    outside = signals.outside()
    outside.__enter__()
    assert signal.getsignal(signal.SIGUSR1) is handler
    signals.take()
    assert signal.getsignal(signal.SIGUSR1) is not handler
    signals.give_back()
    del outside
    gc.collect()
    assert signal.getsignal(signal.SIGUSR1) is handler
