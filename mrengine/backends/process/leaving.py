"""Ends a worker the way an interpreter ends: what user code has registered to be run at exit is run.

Otherwise temporary folders, shared memory, buffered files and child processes of a map function would be left behind by
every job. A worker that is killed leaves them, as any process does.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import weakref
from contextlib import suppress

__all__ = ["begin", "leave"]


def begin() -> None:
    """In a new worker: what its parent has registered is the parent's, and is not run here."""
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    atexit._clear()
    atexit.register(logging.shutdown)
    atexit.register(_end_multiprocessing)  # before logging ends: handlers run in the reverse order
    atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]  # TemporaryDirectory
    weakref.finalize._registered_with_atexit = True  # type: ignore[attr-defined]


def leave() -> None:
    """Run all of that, then end the process. The supervisor bounds the time, and kills what takes longer."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or replaced by user code
            stream.flush()
    os._exit(0)


def _end_multiprocessing() -> None:
    """Finalizers and daemonic children of multiprocessing; then its resource tracker unlinks what nobody has: it is a
    process of the worker's group, which is killed when the worker has ended.
    """
    from multiprocessing import resource_tracker, util

    with suppress(Exception):
        util._exit_function()  # type: ignore[attr-defined]
    with suppress(Exception):
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
