"""The operating system: signals, process groups, descriptors, prctl and everything that is read from /proc."""

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
    "PR_SET_PDEATHSIG",
    "adopt_orphans",
    "boot_id",
    "children",
    "close_all_but",
    "close_if",
    "die_with_parent",
    "enlarge_pipe",
    "has_lost",
    "has_proc",
    "identity",
    "is_stopped",
    "is_zombie",
    "kill_group",
    "kill_orphans",
    "kill_process",
    "open_pidfd",
    "opened_in",
    "pid_namespace",
    "pipes",
    "prefer_when_out_of_memory",
    "proc_pid",
    "process_state",
    "readable",
    "reset_signals",
    "session_members",
    "start_time",
    "started_with",
    "stopped_by",
    "thread_count",
    "writable",
]

PIPE_BYTES = 1 << 20
OOM_SCORE = 500  # of 1000: half of the machine's memory
PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of processes orphaned by any descendant (Linux), even of daemons with their own session."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent dies (Linux); exit now if ``parent`` is dead already.

    The kernel sends nothing for a parent that died before the call, hence the check after it.
    """
    _prctl(PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os._exit(1)


def prefer_when_out_of_memory() -> None:
    """Make the kernel's OOM killer choose this process before supervisor and host (Linux).

    What grows is usually the code that this process runs, and its death costs one chunk.
    """
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            score = min(1000, int(file.read()) + OOM_SCORE)
            file.seek(0)
            file.write(str(score))
    except (OSError, ValueError):
        pass  # not Linux, or no /proc


def identity(fd: int) -> tuple[int, int]:
    """What a descriptor refers to, equal for the same file, pipe or socket. (-1, -1): it is closed."""
    try:
        found = os.fstat(fd)
    except OSError as error:
        if error.errno is None:
            raise  # a TimeoutError that another thread has raised in this one
        return -1, -1
    return found.st_dev, found.st_ino


def opened_in(folder: str) -> list[tuple[int, tuple[int, int]]]:
    """The descriptors of this process that refer to files of a folder, each with its ``identity``.

    None where there is no /proc.
    """
    found, prefix = [], os.path.join(os.path.realpath(folder), "")
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith(prefix):
                found.append((int(name), identity(int(name))))
        except OSError:
            continue  # the descriptor of the listing itself
    return found


def close_if(fd: int, known: tuple[int, int]) -> None:
    """Close a descriptor, unless it refers to something else by now: its number may have been reused."""
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
    """Open this many pipes, or none and raise OSError."""
    made: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            made.append(os.pipe())  # noqa: PERF401  # on a failure those opened so far must be closed
    except OSError:
        for pair in made:
            os.close(pair[0])
            os.close(pair[1])
        raise
    return made


def readable(fds: Sequence[int], timeout_s: float) -> set[int]:
    """The descriptors that can be read, after waiting at most ``timeout_s`` for one.

    ``select`` is looked up on each call: under gevent's monkey patching it then yields to other greenlets, and eventlet
    removes ``poll``.
    """
    if not hasattr(select, "poll"):
        return set(select.select(fds, [], [], timeout_s)[0])
    waiting = select.poll()
    for fd in fds:
        waiting.register(fd, select.POLLIN)
    return {fd for fd, _ in waiting.poll(timeout_s * 1e3)}


def writable(fd: int, timeout_s: float) -> bool:
    """Whether a descriptor can be written, after waiting at most ``timeout_s``."""
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
    """Enlarge a pipe's buffer to one megabyte where the system allows it."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # a per-user limit is reached: the pipe works at its default size


def reset_signals() -> None:
    """Undo inherited signal settings: an ignored SIGCHLD hides every death, a blocked SIGTERM every stop."""
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def kill_group(pid: int) -> None:
    """SIGKILL a process and everything left in its process group."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def kill_process(pid: int) -> bool:
    """SIGKILL one process. False: it belongs to another user, and cannot be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def kill_orphans(known: Collection[int]) -> None:
    """SIGKILL what a dead child left behind: children that are neither ``known`` nor in this process's own group.

    Orphaned grandchildren are reparented here as their parents die, hence the loop. Whatever has not died by its end
    is left to the next call.
    """
    foreign = set(known)  # and those that may not be killed
    for _ in range(100):
        left = [pid for pid in children() if pid not in foreign and _group(pid) not in (0, os.getpgrp())]
        if not left:
            return
        for pid in left:
            if not kill_process(pid):
                foreign.add(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)


def children() -> list[int]:
    """The children of this process's main thread, zombies included; none where there is no /proc."""
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
    """The number of threads of this process, those of C libraries included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def has_lost(pid: int, threads: Sequence[int]) -> bool:
    """Whether one of a process's threads has ended. False where no /proc tells."""
    try:
        living = set(os.listdir(f"/proc/{pid}/task")) if threads and _has_own_proc() else set()
    except OSError:
        return False
    return bool(living) and not living.issuperset(map(str, threads))


def _has_own_proc() -> bool:
    """Whether /proc counts processes as this one does: in a PID namespace it may be the host's, whose numbers are other
    processes here.
    """
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on (state, ppid, pgrp, session, …), or an empty list."""
    return _numbered(pid) if _has_own_proc() else []


def _numbered(pid: int) -> list[str]:
    """The same of a process by the number that /proc has it under, which may be another namespace's."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def process_state(pid: int) -> str:
    """The letter of a process's state (R, S, T, Z, …); "" if it is gone or there is no /proc."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot. None: it is gone, or a zombie.

    Together with the pid and the boot id this identifies a process for good, as pids are reused.
    """
    fields = _numbered(pid)
    try:
        return None if fields[0] in "ZX" else int(fields[19])
    except (ValueError, IndexError):
        return None


def boot_id() -> str:
    """A random id of this boot of the machine; "" where there is none (macOS)."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """The PID namespace of this process, within which its pid has a meaning; "" where there is none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def proc_pid() -> int:
    """This process's pid as /proc has it: another one in a PID namespace that sees its parent's /proc."""
    try:
        return int(os.readlink("/proc/self"))
    except OSError:
        return os.getpid()


def has_proc() -> bool:
    """Whether processes can be looked up in /proc."""
    return os.path.isdir("/proc/self")


def is_stopped(child: int) -> bool:
    """Whether a child of this process is stopped by a signal. Where no /proc tells, its parent can wait for that.

    A debugger's stop ("t") does not count, as it is continued soon.
    """
    state = process_state(child)
    return state == "T" if state else bool(_stop_signal(child))


def stopped_by(child: int) -> int:
    """The signal that stopped a child of this process; 0: it is not stopped, or continued already."""
    return (_stop_signal(child) or signal.SIGSTOP) if is_stopped(child) else 0


def _stop_signal(child: int) -> int:
    if not hasattr(os, "waitid"):
        return 0
    try:
        found = os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return 0 if found is None else found.si_status


def is_zombie(child: int) -> bool:
    """Whether a child of this process has ended; False where that cannot be checked without reaping it (macOS)."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _pids() -> list[int]:
    """All processes; none where there is no /proc, or another namespace's."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()] if _has_own_proc() else []
    except OSError:
        return []


def session_members(session: int) -> list[int]:
    """The pids of all living processes of a session. Zombies do not count: init may take a second to reap them."""
    stats = ((pid, _stat(pid)) for pid in _pids())
    return [pid for pid, fields in stats if len(fields) > 3 and int(fields[3]) == session and fields[0] not in "ZX"]


def started_with(setting: str) -> list[int]:
    """The pids of this user's processes started with ``NAME=value`` in the environment, and of their forks."""
    mark, found = setting.encode(), []
    for pid in _pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(pid)
        except OSError:
            continue  # another user's, or gone
    return found
