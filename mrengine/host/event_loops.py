"""Owns the warning of a host that calls ``run()`` inside its event loop."""

from __future__ import annotations

import os
import sys
import types
import warnings

__all__ = ["warn_in_event_loop"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def warn_in_event_loop() -> None:
    """Warn at the user's own line, if this thread runs a loop. A notebook's cell blocks its kernel's by nature."""
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
    """How far up the stack of the caller the user's code begins, as ``stacklevel`` counts."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    return level
