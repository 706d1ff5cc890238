"""Tells whether the threads of this process are still threads: gevent and eventlet make greenlets of them."""

from __future__ import annotations

import _thread
from _thread import start_new_thread

__all__ = ["GREENLETS", "patched"]

GREENLETS = (
    "threads were turned into greenlets in it (gevent.monkey.patch_all() or eventlet.monkey_patch(), in a module that "
    "map_fn or the initializer imports), and its slots are threads: patch in the program alone, under "
    "if __name__ == '__main__', or keep map_fn in a module that does not"
)


def patched() -> bool:
    """Whether a thread that is started now would be a greenlet."""
    return _thread.start_new_thread is not start_new_thread
