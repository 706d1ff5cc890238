"""Shows a run to its user: a bar on a terminal or in a notebook, else log lines. ``meter`` is the arithmetic."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from mrengine.errors import ConfigError
from mrengine.progress.bar import Bar, NotebookBar, in_notebook
from mrengine.progress.meter import Clock, Meter, describe
from mrengine.progress.watching import Lines, Progress, Silent, is_logged
from mrengine.records import RateLimit

__all__ = ["Bar", "Meter", "Progress", "Silent", "describe", "open_progress"]


def open_progress(
    wanted: bool | None,
    limits: Mapping[str, RateLimit] | None = None,
    *,
    stream: TextIO | None = None,
    clock: Clock = time.monotonic,
) -> Progress:
    """A bar, log lines, or nothing. ``wanted=None``: a bar in a notebook, or if stderr is a terminal and rich is
    installed; else log lines, if the logger "mrengine.progress" takes INFO. ``limits``: of the models, to show the used
    share.

    ConfigError: a bar is wanted, and rich is not installed.
    """
    if wanted is False:
        return Silent()
    tpm = {model: limit.tpm for model, limit in (limits or {}).items() if limit.tpm}
    if stream is None and in_notebook():
        return NotebookBar(tpm, clock=clock)
    stream = sys.stderr if stream is None else stream
    if stream is None or (wanted is None and not _is_terminal(stream)):
        return Lines(tpm, clock=clock) if is_logged() else Silent()
    try:
        return Bar(stream, tpm, clock=clock)
    except ImportError as error:
        if wanted is None:
            return Silent()  # rich is optional, and nobody has asked for a bar
        raise ConfigError("a progress bar needs rich: pip install rich", setting="progress") from error


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False
