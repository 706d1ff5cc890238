"""A real LLM server on loopback, in a process of its own. It speaks Chat Completions and Messages, and misbehaves on
demand.

::

    with LLMServer(latency_s=1.0, faults={"429": 0.05}) as server:
        runner = MapReduceRunner(models=f"{server.url}#any")
        …
        assert server.stats().paid_twice == 0
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from typing import IO, Any

from mrengine.testing.behaviour import Behaviour
from mrengine.testing.counts import Stats

__all__ = ["LLMServer", "Stats", "pack", "unpack"]

_START_S = 20.0


class LLMServer:
    """The handle of a test server. Options are those of ``Behaviour``; ``tls`` is ``(certificate file, key file)``.

    ``url`` is the base URL of OpenAI's shape (it ends with ``/v1``), ``root`` that of Anthropic's. The server ends with
    ``close()``, with the ``with`` block, and with the process that started it, however that ends, as their pipe closes.
    """

    def __init__(self, *, port: int = 0, tls: tuple[str, str] | None = None, **options: Any) -> None:
        behaviour = Behaviour(**options)
        # The child imports mrengine from the same path; callables of a behaviour are pickled by value or found there.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mrengine.testing.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C at the terminal is for the test, which still wants its counts
        )
        try:
            self.port = int(self._ask("start", {"behaviour": behaviour, "port": port, "tls": tls}))
        except BaseException:
            self.close()
            raise
        scheme = "https" if tls else "http"
        self.root = f"{scheme}://127.0.0.1:{self.port}"
        self.url = f"{self.root}/v1"

    def stats(self) -> Stats:
        """The counts so far."""
        return Stats(**self._ask("stats", None))

    def requests(self) -> list[dict[str, Any]]:
        """The last requests, each with ``headers`` and ``body``; ``record`` limits their number."""
        return list(self._ask("requests", None))

    def reset(self, **options: Any) -> None:
        """Reset the counts, and change the behaviour. Connections stay open."""
        self._ask("reset", Behaviour(**options))

    def batches(self) -> list[dict[str, Any]]:
        """All batches in the order of their creation: id, state, requests, executed, custom_ids, metadata."""
        return list(self._ask("batches", None))

    def advance(self, seconds: float) -> list[dict[str, Any]]:
        """Move the clock of the batches; returns all batches as they are then."""
        return list(self._ask("advance", seconds))

    def close(self) -> None:
        """Stop the server. Calls in flight are dropped."""
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()  # a callable of the behaviour hangs
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> LLMServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _ask(self, what: str, argument: Any) -> Any:
        # A read from a pipe has no timeout: a server that hangs is killed, which ends the read.
        watchdog = threading.Timer(_START_S, self._process.kill)
        watchdog.start()
        try:
            with self._lock:  # a question and its answer belong together, whichever threads ask
                if self._process.stdin is None or self._process.stdout is None:
                    raise RuntimeError("the test server has no pipes")
                self._process.stdin.write(pack((what, argument)))
                self._process.stdin.flush()
                answer = _receive(self._process.stdout)
        finally:
            watchdog.cancel()
        if isinstance(answer, str) and answer.startswith("error: "):
            raise RuntimeError(f"the test server: {answer}")
        return answer


# Messages over the private pipes between a test and its server: ``u32 length``, cloudpickle.


def pack(message: Any) -> bytes:
    """One framed message. Functions travel by value: a test's own are in no module that the server could import."""
    import cloudpickle

    data: bytes = cloudpickle.dumps(message)
    return struct.pack("<I", len(data)) + data


def unpack(buffer: bytes) -> tuple[Any, bytes] | None:
    """The first message of a buffer, and what follows it; None: it is not complete yet."""
    import pickle

    if len(buffer) < 4:
        return None
    (length,) = struct.unpack_from("<I", buffer)
    if len(buffer) < 4 + length:
        return None
    message = pickle.loads(buffer[4 : 4 + length])  # noqa: S301  # from our own parent, over its pipe
    return message, buffer[4 + length :]


def _receive(pipe: IO[bytes]) -> Any:
    """Read a message. Raises EOFError when the other side is gone."""
    head = pipe.read(4)
    # A short read means the end: the pipe is buffered, and read() waits for all that it was asked for.
    message = unpack(head + pipe.read(struct.unpack("<I", head)[0])) if len(head) == 4 else None
    if message is None:
        raise EOFError("the test server has ended")
    return message[0]
