"""Detects whether gevent or eventlet has patched this process, so that threads or their waits are greenlets."""

from __future__ import annotations

import _thread
import sys
from _thread import start_new_thread

__all__ = ["GREENLETS", "patched"]

GREENLETS = (
    "gevent or eventlet has patched it (gevent.monkey.patch_all() or eventlet.monkey_patch(), whole or in part, in a "
    "module that map_fn or the initializer imports), and its slots are threads: patch in the program alone, under "
    "if __name__ == '__main__', or keep map_fn in a module that does not"
)


def patched() -> bool:
    """Whether a thread that is started now would be a greenlet, or would wait for greenlets that nobody runs."""
    if _thread.start_new_thread is not start_new_thread:
        return True
    gevent, eventlet = map(sys.modules.get, ("gevent.monkey", "eventlet.patcher"))
    saved, patches = getattr(gevent, "saved", None), getattr(eventlet, "already_patched", None)
    return bool(saved or patches)
