"""Owns the few calls to the operating system that Python has no name for."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

__all__ = [
    "Orphans",
    "adopt_orphans",
    "close_all_but",
    "close_if",
    "die_with_parent",
    "end_adopted",
    "end_group",
    "end_process",
    "enlarge_pipe",
    "identity",
    "is_stopped",
    "is_zombie",
    "open_pidfd",
    "opened_in",
    "pipes",
    "prefer_when_out_of_memory",
    "process_state",
    "readable",
    "reset_signals",
    "session_members",
    "started_with",
    "stopped_by",
    "thread_count",
    "writable",
]

PIPE_BYTES = 1 << 20
OOM_SCORE = 500  # of 1000: half of the machine's memory
MANY_DEAD = 4
KEEP_S = 0.5
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of what a descendant leaves behind (Linux), a daemon with a session of its own too."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to end this process with its parent (Linux), and end it now if the parent is gone already."""
    _prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os._exit(1)


def prefer_when_out_of_memory() -> None:
    """Be the one that the kernel ends when memory runs out (Linux), before supervisor and host: what this process runs
    is what grew, and its end costs one chunk.
    """
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            score = min(1000, int(file.read()) + OOM_SCORE)
            file.seek(0)
            file.write(str(score))
    except (OSError, ValueError):
        pass  # not Linux, or no /proc


class Orphans:
    """Descendants that come to this process when their parent dies; one that has ended is a zombie until it is buried.

    The kernel gives them to the main thread. What map_fn has started itself is a child of another thread, or of the
    main thread since ``know()``: it is not buried here, for map_fn may wait for it. Where a thread of map_fn's own
    has started it and ended, it is buried after ``KEEP_S``.
    """

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._dead: dict[int, float] = {}
        self.any = False  # whether there were some at the last look, dead or alive

    def know(self) -> None:
        """The children that there are now are not orphans."""
        self._known.update(_children())

    def bury(self) -> None:
        """Those that have been dead for a while; all of them where they are many."""
        children, now = set(_children()), time.monotonic()
        self._known &= children
        dead = {pid: self._dead.get(pid, now) for pid in children - self._known if is_zombie(pid)}
        for pid, since in list(dead.items()):
            if len(dead) > MANY_DEAD or since + KEEP_S <= now:
                _bury(pid)
        self._dead, self.any = dead, bool(children - self._known)


def _bury(child: int) -> None:
    try:
        os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        pass  # map_fn was faster


def identity(fd: int) -> tuple[int, int]:
    """What a descriptor stands for: equal for equal files, pipes, sockets. (-1, -1): it is closed."""
    try:
        found = os.fstat(fd)
    except OSError as error:
        if error.errno is None:
            raise  # a TimeoutError that another thread has raised in this one
        return -1, -1
    return found.st_dev, found.st_ino


def opened_in(folder: str) -> list[tuple[int, tuple[int, int]]]:
    """The descriptors of this process that stand for files of a folder, each with its ``identity``; none where there
    is no /proc.
    """
    found, prefix = [], os.path.join(os.path.realpath(folder), "")
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith(prefix):
                found.append((int(name), identity(int(name))))
        except OSError:
            continue  # that of the listing itself
    return found


def close_if(fd: int, known: tuple[int, int]) -> None:
    """Close a descriptor, unless it stands for something else by now."""
    if identity(fd) == known:
        os.close(fd)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none (macOS)."""
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(pid)
        except OSError:
            return None
    return None


def pipes(count: int) -> list[tuple[int, int]]:
    """So many pipes, or none: OSError."""
    made: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            made.append(os.pipe())  # noqa: PERF401  # those that were made are closed where one is not
    except OSError:
        for pair in made:
            os.close(pair[0])
            os.close(pair[1])
        raise
    return made


def readable(fds: Sequence[int], timeout_s: float) -> set[int]:
    """Those that can be read, after waiting at most so long for one. Looked up anew each time: a host that is patched
    by gevent waits with its other greenlets, and eventlet takes ``poll`` away.
    """
    if not hasattr(select, "poll"):
        return set(select.select(fds, [], [], timeout_s)[0])
    waiting = select.poll()
    for fd in fds:
        waiting.register(fd, select.POLLIN)
    return {fd for fd, _ in waiting.poll(timeout_s * 1e3)}


def writable(fd: int, timeout_s: float) -> bool:
    """The same for one that is to be written."""
    if not hasattr(select, "poll"):
        return bool(select.select((), (fd,), (), timeout_s)[1])
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    return bool(waiting.poll(timeout_s * 1e3))


def close_all_but(keep: Collection[int]) -> None:
    """Close every descriptor of this process that is not in ``keep``."""
    low = 0
    for fd in sorted(keep):
        if low < fd:  # closerange(0, 0) closes everything (CPython 3.11)
            os.closerange(low, fd)
        low = fd + 1
    try:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    except OSError:
        highest = os.sysconf("SC_OPEN_MAX")
    os.closerange(low, highest + 1)


def enlarge_pipe(fd: int) -> None:
    """Let a pipe hold a megabyte, where the system allows it."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # a limit of this user: the pipe works at its default size


def reset_signals() -> None:
    """Forget what was inherited: an ignored SIGCHLD hides every death, a blocked SIGTERM every end."""
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def end_group(pid: int) -> None:
    """SIGKILL a process and whatever it left in its process group."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def end_process(pid: int) -> bool:
    """SIGKILL one process; False: it is another user's, and cannot be ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def end_adopted(known: Collection[int]) -> None:
    """SIGKILL what a dead child left behind: children that are neither ``known`` nor in this process's own group.

    Those of the killed come to this process in their turn; what does not end at once is left to the next time.
    """
    foreign = set(known)  # and those that may not be ended
    for _ in range(100):
        left = [pid for pid in _children() if pid not in foreign and _group(pid) not in (0, os.getpgrp())]
        if not left:
            return
        for pid in left:
            if not end_process(pid):
                foreign.add(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)


def _children() -> list[int]:
    pid = os.getpid()
    try:
        with open(f"/proc/self/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def thread_count() -> int:
    """Threads of this process, those of C libraries counted too."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on (state, ppid, pgrp, session, …), or an empty list."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def process_state(pid: int) -> str:
    """The letter of a process's state (R, S, T, Z, …), empty when it is gone or cannot be told."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal; not by a debugger, which lets it go on."""
    return process_state(pid) == "T"


def stopped_by(child: int) -> int:
    """The signal that has stopped a child of this process; 0: none, or it goes on."""
    if not is_stopped(child):
        return 0
    try:
        found = os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return signal.SIGSTOP if found is None else found.si_status


def is_zombie(child: int) -> bool:
    """Whether a child of this process has ended; False where that cannot be told without burying it (macOS)."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _pids() -> list[int]:
    """All processes; none where there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc/self") else []
    except OSError:
        return []


def session_members(session: int) -> list[int]:
    """The pids of all living processes of a session: of one that has ended init may not have heard for a second."""
    stats = ((pid, _stat(pid)) for pid in _pids())
    return [pid for pid, fields in stats if len(fields) > 3 and int(fields[3]) == session and fields[0] not in "ZX"]


def started_with(setting: str) -> list[int]:
    """The pids of this user's processes that have ``NAME=value`` in their environment, themselves or by a fork."""
    mark, found = setting.encode(), []
    for pid in _pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(pid)
        except OSError:
            continue  # another user's, or gone
    return found
