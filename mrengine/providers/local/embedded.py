"""The embedded model: its window, the chunks it is good for, its limit, and the process that serves it.

The process is a fresh interpreter (``server_main``) with llama.cpp's own HTTP server, on loopback, at a port that the
system chooses. It speaks the OpenAI protocol, so that the http provider makes the calls, and applies the chat template
of the model's file.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrengine import posix
from mrengine.errors import ConfigError
from mrengine.providers.local import server_main
from mrengine.providers.local.model_file import is_embedded, locate
from mrengine.records import RateLimit

__all__ = ["CONTEXT_WINDOW", "LIMITS", "TARGET_TOKENS", "ModelServer", "model_server", "threads"]

# What SmolLM2 was trained for, prompt and answer together, in tokens of its own: English text has about 1.2 of them for
# each one of o200k_base.
CONTEXT_WINDOW = 8192
TARGET_TOKENS = 240  # of o200k_base in a chunk: the model summarises a paragraph soundly, and a page badly
# The server computes one call at a time; others would wait in it, where no timeout can tell waiting from work.
LIMITS = RateLimit(concurrent=1)
# Greedy, so that an answer can be repeated. A small greedy model falls into loops: DRY lowers the chance of repeating
# the last few words, and unlike a repetition penalty it leaves names and numbers of the text alone.
_SAMPLING: Mapping[str, float | int] = {
    "temp": 0.0, "dry_multiplier": 0.8, "dry_allowed_length": 5, "dry_penalty_last_n": 64,
}  # fmt: skip
READY_S = 60.0
STOP_S = 5.0
MOST_THREADS = 8  # more do not help a model this small


def model_server(name: str, *, context_window: int | None = None) -> ModelServer:
    """The server, not yet started, of "local" or "local:/path/to/model.gguf".

    The model's file must be there already (``model_file.ensure``, in the host): ConfigError if it is not.
    ``context_window`` is in tokens.
    """
    path = locate(name)
    alias, sampling = ("local", _SAMPLING) if is_embedded(name) else (path.name, {})
    return ModelServer(path, alias=alias, context_window=context_window or CONTEXT_WINDOW, sampling=sampling)


class ModelServer:
    """A server of one model, which its clients know as ``alias``. ``start()`` does not wait for it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        alias: str,
        context_window: int,
        sampling: Mapping[str, float | int] | None = None,
        executable: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._key = secrets.token_urlsafe(32)
        self._order: dict[str, Any] = {
            "path": str(self.path),
            "alias": alias,
            "key": self._key,
            "port": 0,
            "context_window": context_window,
            "sampling": dict(sampling or {}),
            "threads": threads(),
            "sys_path": [entry for entry in sys.path if entry],
        }
        self._executable = executable or sys.executable
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    def __repr__(self) -> str:
        return f"ModelServer({self.path.name!r}, pid={self.pid}, url={self._url!r})"

    def start(self) -> None:
        """Start it, or start it again after it died, at the same address and key: its clients need not be told."""
        self.stop()
        self._url = None
        self._process = subprocess.Popen(
            [self._executable, "-I", server_main.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        order = {**self._order, "parent": os.getpid()}
        try:
            # The order comes over stdin, as the key in it must not stand in argv; the child ends when its stdin does.
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
        except BrokenPipeError:
            pass  # it ended at once: address() raises

    @property
    def pid(self) -> int | None:
        """The child's pid while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether the child runs. Reaps one that ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def ready_fd(self) -> int:
        """Readable when ``address()`` has an answer; at its end when the child has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def address(self, timeout_s: float = READY_S) -> tuple[str, str]:
        """Base URL and API key, once it is up. ConfigError that says why it does not come up."""
        if self._url is None:
            self._url = self._await_url(timeout_s)
        return self._url, self._key

    def _await_url(self, timeout_s: float) -> str:
        if self._process is None:
            raise ConfigError("the model server was not started", setting="models")
        deadline = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n"):
            if not posix.readable((self.ready_fd,), max(0.0, deadline - time.monotonic())):
                self.stop()
                raise ConfigError(f"{self.path.name} was not served within {timeout_s:g} s", setting="models")
            block = os.read(self.ready_fd, 65536)
            if not block:
                break
            line += block
        answer = json.loads(line) if line.endswith(b"\n") else {}
        if "url" not in answer:
            self.stop()
            reason = answer.get("error", "its process ended")
            raise ConfigError(f"{self.path.name} cannot be served: {reason}", setting="models")
        self._order["port"] = answer["port"]
        return str(answer["url"])

    def stop(self) -> None:
        """Kill it, as it has nothing to save; idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(STOP_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def threads() -> int:
    """CPUs that this process may use, by its affinity and its control group's quota; at most 8."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such group, or "max": no quota
        pass
    return max(1, min(count, MOST_THREADS))
