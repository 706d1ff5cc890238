"""Owns the host's end of a supervisor: starting it, speaking with it, noticing its death, and clearing up after it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from mrengine import posix
from mrengine.backends.process import framing
from mrengine.errors import ConfigError

__all__ = ["SupervisorHandle", "python_executable"]

# Read on the way in: what the supervisor imports for itself comes from where the host has it, and from the
# interpreter's own site-packages before the host's path: a msgpack.py in the current folder must not be met.
_BOOT = """
import json, os, struct, sys
def read(n):
    data = b""
    while len(data) < n:
        more = os.read(fd, n - len(data))
        if not more:
            os._exit(1)
        data += more
    return data
fd = int(sys.argv[1])
facts = json.loads(read(struct.unpack("<I", read(4))[0]))
sys.path.insert(0, facts["home"])
import mrengine
del sys.path[0]
sys.path += [p for p in [facts["home"], *facts["path"]] if p not in sys.path]
from mrengine.backends.process.supervisor import main
main(fd, facts)
"""
MARK = "MRENGINE_SUPERVISOR"
WHOLE_BYTES = 4096  # a frame of this size is written whole or not at all
STOPPED_AFTER_S = 5.0  # silence after which a supervisor is looked at: one that was stopped by a signal is ended


def python_executable() -> str:
    """MRENGINE_PYTHON, else ``sys.executable`` where that is a python, else the prefix's: under uWSGI it is not."""
    given = os.environ.get("MRENGINE_PYTHON")
    if given:
        return given
    if sys.executable and os.path.basename(sys.executable).startswith(("python", "pypy")):
        return sys.executable
    for name in (f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3", "python"):
        path = os.path.join(sys.prefix, "bin", name)
        if os.access(path, os.X_OK):
            return path
    raise ConfigError("no python is found to start the supervisor with: set MRENGINE_PYTHON", setting="MRENGINE_PYTHON")


def _absolute_path() -> list[str]:
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return [entry for entry in sys.path if os.path.isabs(entry)]
    return [os.path.join(here, entry) for entry in sys.path]


def _above_stderr(sock: socket.socket) -> int:
    """A copy of a socket's descriptor above 2: a host whose stdout is closed hands out its number."""
    return fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)


class SupervisorHandle:
    """A supervisor: a fresh, isolated interpreter in a session of its own. One thread at a time may use it.

    In a fork of its host it is gone: what the child said or read there would be the parent's.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        os.set_blocking(ours.fileno(), False)
        fd = _above_stderr(theirs)
        theirs.close()
        self._socket = ours
        self._mark = secrets.token_hex(8)  # in the environment of all that is below it, a daemon's too
        try:
            self._process = subprocess.Popen(
                [python_executable(), "-I", "-c", _BOOT, str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(fd,),
                env={**os.environ, MARK: self._mark},
                start_new_session=True,
            )
        except BaseException as error:
            self._socket.close()  # if it was started all the same, it sees the end and goes
            if not isinstance(error, OSError):
                raise
            raise ConfigError(f"the supervisor cannot be started: {error}", setting="MRENGINE_PYTHON") from error
        finally:
            os.close(fd)
        self.pid = self._process.pid
        self._host = os.getpid()
        self._reader = framing.FrameReader(self._socket.fileno())
        self.runtime: str | None = None  # its private folder, for whoever dies last to remove
        self._heard = time.monotonic()
        self._introduce()

    def _introduce(self) -> None:
        home = str(Path(__file__).resolve().parents[3])
        facts = json.dumps({"home": home, "path": _absolute_path(), "host": os.getpid()}).encode()
        self._send_all(struct.pack("<I", len(facts)) + facts)

    def send(self, kind: int, payload: bytes = b"") -> bool:
        """Send a frame; False when the supervisor is gone."""
        return self._send_all(framing.frame(kind, payload))

    def _send_all(self, data: bytes) -> bool:
        if self._forked:
            return False
        view, since = memoryview(data), time.monotonic()
        while view:
            try:
                view, since = view[os.write(self._socket.fileno(), view) :], time.monotonic()
            except BlockingIOError:
                self._wait_for_room(since)
            except (BrokenPipeError, ConnectionResetError):
                return False
            except BaseException:  # a signal handler's
                if len(data) > WHOLE_BYTES:
                    self.kill()  # it may have half a frame, and would take what follows for the rest
                raise
        return True

    def _wait_for_room(self, since: float) -> None:
        """A supervisor that was stopped by a signal reads nothing: it is ended."""
        waits_long = not posix.writable(self._socket.fileno(), 0.5) and time.monotonic() - since > STOPPED_AFTER_S
        if waits_long and posix.is_stopped(self.pid):
            self.kill()

    def receive(self, timeout_s: float, *also: int) -> list[tuple[int, bytes]]:
        """Frames that have come, after waiting at most ``timeout_s`` for them or for another descriptor to be
        readable.
        """
        if self._forked:
            return []
        if self._socket.fileno() in posix.readable((self._socket.fileno(), *also), max(0.0, timeout_s)):
            self._heard = time.monotonic()
            frames = self._reader.read()
            return [frame for frame in frames if frame[0] != framing.BEAT]
        self._end_if_stopped()
        return []

    @property
    def gone(self) -> bool:
        """Whether it has ended, and all that it had said was read."""
        return self._reader.ended or self._forked

    def returncode(self, *, wait_s: float) -> int | None:
        """Its exit code, -N for signal N, waiting at most ``wait_s`` for it; None: it runs, or is no child of ours."""
        if self._forked:
            return None
        try:
            return self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return None

    @property
    def _forked(self) -> bool:
        """Whether this is a fork of the process that started it."""
        return os.getpid() != self._host

    def _end_if_stopped(self) -> None:
        if time.monotonic() - self._heard > STOPPED_AFTER_S:
            self._heard = time.monotonic()
            if posix.is_stopped(self.pid):
                self.kill()

    def kill(self) -> None:
        """SIGKILL it; its children follow."""
        if not self._forked and self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def close(self, *, wait_s: float) -> None:
        """Ask it to end, wait, then make sure: afterwards nothing of its session is left, nor its private folder."""
        if self._forked:
            self._process.poll()  # no child of this process: it will not ask after it again
            self._socket.close()
            return
        self.send(framing.CLOSE)
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._socket.close()
        self._clear_up()

    def _clear_up(self) -> None:
        """What a supervisor that was killed could not end itself: its session's processes, daemons of map_fn that had
        left it, its folder.
        """
        until = time.monotonic() + 1.0
        while left := self._left():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if time.monotonic() > until:
                break
            time.sleep(0.002)
        if self.runtime is not None:
            shutil.rmtree(self.runtime, ignore_errors=True)

    def _left(self) -> list[int]:
        left = posix.session_members(self.pid)
        if self._process.returncode == 0:  # it has ended those that had left the session by itself
            return left
        return [*left, *posix.started_with(f"{MARK}={self._mark}")]
