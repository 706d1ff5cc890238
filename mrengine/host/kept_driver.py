"""Holds a runner's driver: opened when a run needs it, kept between the runs of a ``with`` block, never shared by a
fork.
"""

from __future__ import annotations

import os
import sys
import types
import warnings

from mrengine.backends.registry import find_backend, open_driver
from mrengine.host.uninterrupted import uninterrupted
from mrengine.job.driver import Driver
from mrengine.settings import Settings

__all__ = ["KeptDriver"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class KeptDriver:
    """Opens and ends a driver. ``kept``: it outlives its run. ConfigError: there is no such ``backend``."""

    def __init__(self, backend: str, *, drain_s: float, address: str | None = None) -> None:
        self._name, self._make, self._drain_s = backend, find_backend(backend, address), drain_s
        self._driver: Driver | None = None
        self._pid = 0
        self.kept = False

    @classmethod
    def of(cls, settings: Settings) -> KeptDriver:
        """The driver that a runner's settings name."""
        return cls(settings.backend_name, drain_s=settings.drain_s, address=settings.address)

    def open(self) -> Driver:
        """The driver that is open, or a new one."""
        if self._driver is not None and self._pid != os.getpid():
            self.close()  # this process is a fork: the pool belongs to the parent, whose job close() does not touch
        if self._driver is None:  # none was opened, or its supervisor died in the run before
            self._pid = os.getpid()
            if self._name != "sequential":
                _warn_in_event_loop()
            with uninterrupted():  # an interrupt would leave a supervisor that nobody has, or ends
                self._driver = open_driver(self._make, drain_s=self._drain_s)
        return self._driver

    def drop(self) -> None:
        """End the driver at once: its supervisor has died."""
        with uninterrupted():
            driver, self._driver = self._driver, None
            if driver is not None:
                driver.kill()
                driver.close()

    def close(self) -> None:
        """End the driver; nothing is left running."""
        with uninterrupted():
            driver, self._driver = self._driver, None
            if driver is not None:
                driver.close()


def _warn_in_event_loop() -> None:
    """Warn at the user's own line, if this thread runs an event loop that is not a notebook's."""
    # A cell blocks its kernel's loop by nature. Where asyncio was never imported, no loop runs: no need to load it.
    asyncio = sys.modules.get("asyncio.events")
    if asyncio is not None and asyncio._get_running_loop() is not None and not _in_a_cell():
        warnings.warn(
            "run() blocks the running event loop until the job is done: use await asyncio.to_thread(runner.run, …)",
            RuntimeWarning,
            stacklevel=_frames_of_ours(),
        )


def _in_a_cell() -> bool:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != "IPython.core.interactiveshell":
        frame = frame.f_back
    return frame is not None


def _frames_of_ours() -> int:
    """The ``stacklevel`` of the first frame that is not of this package: the user's own line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    return level
