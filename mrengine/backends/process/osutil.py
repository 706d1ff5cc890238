"""Owns the few calls to the operating system that Python has no name for."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Collection

__all__ = [
    "close_all_but",
    "die_with_parent",
    "end_group",
    "end_process",
    "enlarge_pipe",
    "open_pidfd",
    "process_state",
    "reset_signals",
    "session_members",
    "thread_count",
]

PIPE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to end this process with its parent (Linux), and end it now if the parent is gone already."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none (macOS)."""
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(pid)
        except OSError:
            return None
    return None


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


def end_process(pid: int) -> None:
    """SIGKILL one process."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


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


def session_members(session: int) -> list[int]:
    """The pids of all processes of a session."""
    if not os.path.isdir("/proc/self"):
        return []
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if len(fields := _stat(pid)) > 3 and int(fields[3]) == session]
