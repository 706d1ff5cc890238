"""Ends a worker the way an interpreter ends: runs the exit handlers of user code.

Without them every job would leave temporary folders, shared memory, unwritten buffers and child processes of its map
function behind. A worker that is killed leaves them, as any process does.
"""

from __future__ import annotations

import atexit
import gc
import io
import logging
import os
import sys
import threading
import weakref
from contextlib import suppress

__all__ = ["begin", "leave"]


def begin() -> None:
    """Forget, in a new worker, the exit handlers of its parent, and register the interpreter's own."""
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    atexit._clear()
    atexit.register(logging.shutdown)
    atexit.register(_end_multiprocessing)  # before logging ends: handlers run in the reverse order
    atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]  # TemporaryDirectory
    weakref.finalize._registered_with_atexit = True  # type: ignore[attr-defined]


def leave() -> None:
    """Run the exit handlers, then end the process. The supervisor kills a worker that takes too long."""
    with suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]  # executors end, threads that are no daemons are waited for
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or replaced by user code
            stream.flush()
    _close_files()
    os._exit(0)


def _close_files() -> None:
    """Close files, as an interpreter does that frees its modules: buffers are written, NamedTemporaryFiles removed."""
    # Files that write into others (text into bytes, gzip into a file) come first.
    standard = {id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)}
    temporary = getattr(sys.modules.get("tempfile"), "_TemporaryFileWrapper", io.IOBase)
    found = [one for one in gc.get_objects() if issubclass(type(one), (io.IOBase, temporary))]
    for one in sorted(found, key=lambda one: _depth(type(one))):
        with suppress(Exception):
            if id(one) not in standard:
                one.close()


def _depth(kind: type) -> int:
    if issubclass(kind, io.TextIOBase):
        return 0
    below = ((io.RawIOBase, 3), (io.BufferedWriter, 2), (io.BufferedRandom, 2), (io.BufferedReader, 2))
    return next((depth for base, depth in below if issubclass(kind, base)), 1)


def _end_multiprocessing() -> None:
    """Run multiprocessing's finalizers, end its daemonic children, and let its resource tracker unlink the rest."""
    # The tracker is stopped, and so waited for, here: it is in the worker's process group, which is killed afterwards.
    from multiprocessing import resource_tracker, util

    with suppress(Exception):
        util._exit_function()  # type: ignore[attr-defined]
    with suppress(Exception):
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
