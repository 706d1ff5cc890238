"""The host's session with a supervisor."""

from __future__ import annotations

import os

from mrengine.backends.process.driver import ProcessDriver


def test_a_stop_after_the_end_writes_to_nobodys_file() -> None:
    """A signal handler may stop a session that was closed meanwhile, whose descriptors are others' by now."""
    session = ProcessDriver(drain_s=1.0)
    session.close()
    taken = [os.pipe() for _ in range(8)]  # the numbers that became free are among these
    try:
        session.stop("stopped")
        for read, _ in taken:
            os.set_blocking(read, False)
            try:
                assert os.read(read, 1) == b""
            except BlockingIOError:
                pass  # nothing was written
    finally:
        for pipe in taken:
            for fd in pipe:
                os.close(fd)
