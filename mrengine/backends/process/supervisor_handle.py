"""The host's handle on a supervisor: starts it, exchanges frames with it, notices its death, cleans up after it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import time
import weakref
from pathlib import Path

from mrengine import posix, proc
from mrengine.backends.process import framing
from mrengine.errors import ConfigError

__all__ = ["SupervisorHandle", "host_path", "python_executable"]

# The supervisor's first lines. mrengine comes from where the host has it; all else from the interpreter's own
# site-packages before the host's path, lest a msgpack.py in the current folder be imported. First of all it asks the
# kernel (Linux) to be continued when the host dies: a supervisor that a signal has stopped would notice nothing, and
# stay for ever. One that runs ignores SIGCONT.
_BOOT = f"""
import sys
if sys.platform == "linux":
    import ctypes, signal
    ctypes.CDLL(None).prctl({posix.PR_SET_PDEATHSIG}, int(signal.SIGCONT), 0, 0, 0)
import json, os, struct
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
log = logging.getLogger("mrengine")
MARK = "MRENGINE_SUPERVISOR"
WHOLE_BYTES = 4096  # a frame of this size is written whole or not at all
STOPPED_AFTER_S = 5.0  # silence after which a supervisor is looked at: one that was stopped by a signal is ended


def python_executable() -> str:
    """A supervisor's interpreter: MRENGINE_PYTHON, else ``sys.executable`` if that is a python, else the prefix's."""
    # Under uWSGI sys.executable is uWSGI itself.
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


def host_path() -> list[str]:
    """sys.path with absolute entries."""
    # A relative one means the folder that was current at its first use, which its finder remembers.
    try:
        here: str | None = os.getcwd()
    except OSError:  # the current folder was removed
        here = None
    found = []
    for entry in sys.path:
        finder = sys.path_importer_cache.get(entry) if entry else None
        path = getattr(finder, "path", entry)
        if os.path.isabs(path):
            found.append(path)
        elif here is not None:
            found.append(os.path.join(here, path))
    return found


def _connection() -> tuple[socket.socket, int]:
    """The host's end, and a descriptor above 2 for the supervisor. ConfigError: the host has too many files open."""
    # Above 2: in a host whose stdout is closed, the next descriptor gets the number 1, which Popen replaces.
    try:
        ours, theirs = socket.socketpair()
        with theirs:
            os.set_blocking(ours.fileno(), False)
            return ours, fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError as error:
        raise ConfigError(f"the supervisor cannot be started: {error}", setting="workers") from error


class SupervisorHandle:
    """A supervisor: a fresh, isolated interpreter in a session of its own. One thread at a time may use it.

    In a fork of its host it counts as gone.
    """

    # A fork shares the socket: what it sent or read there would be missing, or extra, in its parent.
    def __init__(self) -> None:
        self._socket, fd = _connection()
        # All processes below it inherit this variable, daemons too, and the supervisor of a run inside of map_fn.
        self._mark = f"{MARK}_{secrets.token_hex(8)}"
        try:
            self._process = subprocess.Popen(
                [python_executable(), "-I", "-c", _BOOT, str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(fd,),
                env={**os.environ, self._mark: "1"},
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
        self._leftovers = _Leftovers(self._process, self._mark)
        self._abandoned = weakref.finalize(self, self._leftovers.abandoned, self._socket)
        self._abandoned.atexit = False  # the supervisor notices the host's end, and lets calls in flight finish
        self._heard_at = time.monotonic()
        self._introduce()

    def _introduce(self) -> None:
        home = str(Path(__file__).resolve().parents[3])
        facts = json.dumps({"home": home, "path": host_path(), "host": os.getpid()}).encode()
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
        """Wait until the socket takes more; kill a supervisor that a signal has stopped, as it reads nothing."""
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
            self._heard_at = time.monotonic()
            return [frame for frame in self._reader.read() if not self._is_its_own(*frame)]
        self._end_if_stopped()
        return []

    def _is_its_own(self, kind: int, payload: bytes) -> bool:
        """Frames for this object alone."""
        if kind == framing.FOLDER:
            self._leftovers.folder = payload.decode()
        return kind in (framing.BEAT, framing.FOLDER)

    @property
    def gone(self) -> bool:
        """Whether it has ended, and all that it had sent was read."""
        return self._reader.ended or self._forked

    def returncode(self, *, wait_s: float) -> int | None:
        """Wait at most ``wait_s`` for its exit code, -N for signal N. None: it runs, or is another process's child."""
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
        if time.monotonic() - self._heard_at > STOPPED_AFTER_S:
            self._heard_at = time.monotonic()
            if posix.is_stopped(self.pid):
                self.kill()

    def kill(self) -> None:
        """SIGKILL it; its children follow."""
        if not self._forked and self._process.poll() is None:
            posix.kill_process(self.pid)

    def close(self, *, wait_s: float) -> None:
        """Ask it to end, wait, then make sure: afterwards nothing of its session is left, nor its private folder."""
        if self._forked:
            self._process.poll()  # no child of this process: it will not ask after it again
            self._socket.close()
            self._abandoned.detach()
            return
        self.send(framing.CLOSE)
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        until = time.monotonic() + 1.0
        while self._leftovers.folder is None and not self.gone and time.monotonic() < until:
            self.receive(0.0)  # it may have been killed before its last frames were read
        self._socket.close()
        self._leftovers.clear_up()
        self._abandoned.detach()


class _Leftovers:
    """The processes that a supervisor starts, and its private folder, for the host to clear up."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self.process, self._mark, self._host = process, mark, os.getpid()
        self.folder: str | None = None  # the private one; "": it has none; None: it has not reported one yet

    def abandoned(self, connection: socket.socket) -> None:
        """Kill a supervisor whose handle nobody holds any more, and clear up."""
        # A second Ctrl-C may strike before anybody can close the handle.
        connection.close()
        if os.getpid() == self._host and self.process.poll() is None:
            posix.kill_process(self.process.pid)
            self.process.wait()
            self.clear_up()

    def clear_up(self) -> None:
        """End what a killed supervisor could not: its session's processes, daemons of map_fn, its folder."""
        until, foreign = time.monotonic() + 1.0, set[int]()
        while left := set(self._left()) - foreign:
            foreign |= {pid for pid in left if not posix.kill_process(pid)}
            if time.monotonic() > until:
                break
            time.sleep(0.002)
        for pid in sorted(foreign):
            log.warning("process %d, which map_fn has left, belongs to another user: it cannot be ended from here", pid)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _left(self) -> list[int]:
        left = proc.session_members(self.process.pid)
        if self.process.returncode == 0:  # one that was not killed has ended the daemons itself
            return left
        return [*left, *proc.started_with(f"{self._mark}=1")]
