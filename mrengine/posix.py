"""The operating system: signals, process groups, descriptors and prctl."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from mrengine.proc import has_own_proc, process_state

__all__ = [
    "PR_SET_PDEATHSIG",
    "adopt_orphans",
    "children",
    "close_all_but",
    "close_if",
    "die_with_parent",
    "enlarge_pipe",
    "has_children",
    "has_lost",
    "identity",
    "is_stopped",
    "is_zombie",
    "kill_group",
    "kill_orphans",
    "kill_process",
    "open_pidfd",
    "opened_in",
    "pipes",
    "prefer_when_out_of_memory",
    "readable",
    "reap_traced",
    "reset_signals",
    "stopped_by",
    "writable",
]

PIPE_BYTES = 1 << 20
OOM_SCORE = 500  # of 1000: as if the process used half of the machine's memory in addition
PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_WALL = 0x40000000  # __WALL: threads of other processes, too


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes  # Python has no prctl of its own

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of processes that any descendant orphans (Linux), even of daemons in their own session."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to SIGKILL this process when its parent dies (Linux); exit now if ``parent`` is dead already."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the kernel sends nothing for a parent that died before the call
        os._exit(1)  # no handlers of a process that should not exist


def prefer_when_out_of_memory() -> None:
    """Make the kernel's OOM killer choose this process before supervisor and host (Linux)."""
    # What grows is usually the code that this process runs, and its death costs one chunk.
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            score = min(1000, int(file.read()) + OOM_SCORE)
            file.seek(0)
            file.write(str(score))
    except (OSError, ValueError):
        pass  # not Linux, or no /proc


def identity(fd: int) -> tuple[int, int]:
    """An identity of what a descriptor refers to, equal for the same file, pipe or socket; (-1, -1): it is closed."""
    try:
        status = os.fstat(fd)
    except OSError as error:
        if error.errno is None:
            raise  # a TimeoutError that another thread has raised in this one
        return -1, -1
    return status.st_dev, status.st_ino


def opened_in(folder: str) -> list[tuple[int, tuple[int, int]]]:
    """The descriptors of this process for files in a folder, each with its ``identity``; [] without /proc."""
    opened, prefix = [], os.path.join(os.path.realpath(folder), "")
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith(prefix):
                opened.append((int(name), identity(int(name))))
        except OSError:
            continue  # the descriptor of the listing itself
    return opened


def close_if(fd: int, owned: tuple[int, int]) -> None:
    """Close a descriptor, unless user code has closed it and its number refers to something else by now."""
    if identity(fd) == owned:
        os.close(fd)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none (macOS)."""
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):  # the process is gone, or the system forbids it
            return os.pidfd_open(pid)
    return None


def pipes(count: int) -> list[tuple[int, int]]:
    """Open this many pipes. OSError: it opened none."""
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
    """The descriptors that can be read, after waiting at most ``timeout_s`` for one."""
    # Looked up on each call: gevent may patch ``select`` at any time, so that the wait yields to other greenlets, and
    # eventlet removes ``poll``.
    if not hasattr(select, "poll"):
        return set(select.select(fds, (), (), timeout_s)[0])
    waiting = select.poll()  # select.select takes no descriptor above 1023
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
        # The highest that is open: the limit may be a billion in a container, a system call for each.
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    except OSError:
        highest = os.sysconf("SC_OPEN_MAX")
    os.closerange(low, highest + 1)


def enlarge_pipe(fd: int) -> None:
    """Enlarge a pipe's buffer to one megabyte if the system allows it."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # the user's limit for all pipes is reached: this one works at its default size
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def reset_signals() -> None:
    """Undo inherited signal settings: an ignored SIGCHLD hides every death, a blocked SIGTERM every stop."""
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the host, which tells this process what to do
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a write to a dead peer is an error, and not the end
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def kill_group(pid: int) -> None:
    """SIGKILL a process and everything left in its process group."""
    for kill in (os.killpg, os.kill):  # both: the process may not have made its group yet, or have left it
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def kill_process(pid: int) -> bool:
    """SIGKILL one process. False: it belongs to another user, and cannot be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def kill_orphans(kept: Collection[int]) -> None:
    """SIGKILL what a dead child left behind: children that are neither ``kept`` nor in this process's own group.

    Whatever has not died after a while is left to the next call.
    """
    foreign = set(kept)  # and those of other users, which cannot be killed
    for _ in range(100):  # grandchildren come here only as their parents die
        left = [pid for pid in children() if pid not in foreign and _group(pid) not in (0, os.getpgrp())]
        if not left:
            return
        for pid in left:
            if not kill_process(pid):
                foreign.add(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # a zombie would be listed again, and count against the limit of pids
        time.sleep(0.001)


def has_children() -> bool:
    """Whether any thread of this process has a child, living or dead: one system call. True: or it cannot be asked."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


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


def has_lost(pid: int, threads: Sequence[int]) -> bool:
    """Whether one of a process's threads has ended. False where no /proc tells."""
    try:
        living = set(os.listdir(f"/proc/{pid}/task")) if threads and has_own_proc() else set()
    except OSError:
        return False
    return bool(living) and not living.issuperset(map(str, threads))


def reap_traced(child: int) -> None:
    """Reap dead threads of a child that had asked this process to trace it: it does not end before that (Linux)."""
    try:
        threads = [int(name) for name in os.listdir(f"/proc/{child}/task")] if has_own_proc() else []
    except OSError:
        return
    for thread in threads:
        if thread != child:
            with suppress(OSError):  # most are not traced
                os.waitpid(thread, os.WNOHANG | _WALL)


def is_stopped(child: int) -> bool:
    """Whether a child of this process is stopped by a signal; a debugger's stop ("t") does not count."""
    state = process_state(child)
    return state == "T" if state else bool(_stop_signal(child))  # without /proc its parent can still wait for that


def stopped_by(child: int) -> int:
    """The signal that stopped a child of this process; 0: it is not stopped."""
    return (_stop_signal(child) or signal.SIGSTOP) if is_stopped(child) else 0


def _stop_signal(child: int) -> int:
    if not hasattr(os, "waitid"):
        return 0
    try:
        result = os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return 0 if result is None else result.si_status


def is_zombie(child: int) -> bool:
    """Whether a child of this process has ended; False where that cannot be checked without reaping it (macOS)."""
    if not hasattr(os, "waitid"):
        return False
    try:
        # WNOWAIT: its exit code is left for whoever waits for it.
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
