"""Progress as log lines if stderr is no terminal: for cron mails and journals."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from mrengine.progress.meter import Clock, describe
from mrengine.progress.watching import Watching

__all__ = ["Lines", "is_logged"]

log = logging.getLogger("mrengine.progress")


def is_logged() -> bool:
    """Whether the lines are logged at all; if not, no events are made for them."""
    return log.isEnabledFor(logging.INFO)


class Lines(Watching):
    """A line at INFO to the logger "mrengine.progress" every half minute; none of a run that is shorter."""

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
