"""Ends a worker the way an interpreter ends: what user code has registered to be run at exit is run.

Otherwise temporary folders, shared memory, buffered files and child processes of a map function would be left behind by
every job. A worker that is killed leaves them, as any process does.
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
    with suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]  # executors end, threads that are no daemons are waited for
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or replaced by user code
            stream.flush()
    _close_files()
    os._exit(0)


def _close_files() -> None:
    """What an interpreter closes as it frees its modules: what is buffered is written, NamedTemporaryFiles go. Those
    that write into others (text into bytes, gzip into a file) come first.
    """
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
    """Finalizers and daemonic children of multiprocessing; then its resource tracker unlinks what nobody has: it is a
    process of the worker's group, which is killed when the worker has ended.
    """
    from multiprocessing import resource_tracker, util

    with suppress(Exception):
        util._exit_function()  # type: ignore[attr-defined]
    with suppress(Exception):
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
