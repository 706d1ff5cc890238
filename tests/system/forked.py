"""A host in a forked process: what it says comes over a pipe, however it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

Say = Callable[..., None]


class Host:
    """Runs ``work(say)`` in a child. ``say(…)`` reaches the parent at once; an exception is said as "raised"."""

    def __init__(self, work: Callable[[Say], object]) -> None:
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(read_end)
            _live(work, write_end)
        os.close(write_end)
        self._pipe = os.fdopen(read_end, "r", encoding="utf-8")

    def hear(self) -> list[Any] | None:
        """The next thing it says; None at its end."""
        line = self._pipe.readline()
        return json.loads(line) if line.endswith("\n") else None

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def finish(self) -> list[list[Any]]:
        """All that it still says until its end."""
        said = []
        while (fact := self.hear()) is not None:
            said.append(fact)
        self.close()
        os.waitpid(self.pid, 0)
        return said

    def close(self) -> None:
        """Hear no more of it."""
        self._pipe.close()


def _live(work: Callable[[Say], object], pipe: int) -> None:
    def say(*fact: Any) -> None:
        os.write(pipe, json.dumps(fact).encode() + b"\n")

    try:
        work(say)
    except BaseException as error:  # the parent hears of it
        say("raised", type(error).__name__, str(error))
    finally:
        os._exit(0)
