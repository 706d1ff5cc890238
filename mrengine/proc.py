"""Reads /proc: states, start times and namespaces of processes. Without /proc the answers are empty."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = [
    "boot_id",
    "has_own_proc",
    "has_proc",
    "pid_namespace",
    "proc_pid",
    "process_state",
    "session_members",
    "start_time",
    "started_with",
    "thread_count",
]


def thread_count() -> int:
    """The number of threads of this process, those of C libraries included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading  # without /proc: Python's own threads at least

        return threading.active_count()


def has_own_proc() -> bool:
    """Whether the numbers in /proc mean the processes that they mean here. In a PID namespace it may be the host's."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on (state, ppid, pgrp, session, …), or an empty list."""
    return _fields(pid) if has_own_proc() else []


def _fields(number: int) -> list[str]:
    # By the number that a process has in /proc, which may be another namespace's.
    try:
        with open(f"/proc/{number}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()  # the name before may contain blanks and parentheses
    except OSError:
        return []


def process_state(pid: int) -> str:
    """The letter of a process's state (R, S, T, Z, …); "" if it is gone or there is no /proc."""
    fields = stat_fields(pid)
    return fields[0] if fields else ""


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot. None: it is gone, or a zombie."""
    # With the pid and the boot id this identifies a process for good; pids alone are reused.
    fields = _fields(pid)
    try:
        return None if fields[0] in "ZX" else int(fields[19])  # the 22nd field of proc(5)'s stat
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
    """The PID namespace of this process, within which its pid has a meaning; "" without /proc."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def proc_pid() -> int:
    """This process's pid in /proc: another one than its own in a PID namespace that sees the host's /proc."""
    try:
        return int(os.readlink("/proc/self"))
    except OSError:
        return os.getpid()


def has_proc() -> bool:
    """Whether there is a /proc."""
    return os.path.isdir("/proc/self")


def pids() -> list[int]:
    """All processes; none where there is no /proc, or another namespace's."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()] if has_own_proc() else []
    except OSError:
        return []


def session_members(session: int) -> list[int]:
    """The pids of the living processes of a session. Zombies do not count: init may take a second to reap them."""
    stats = ((pid, stat_fields(pid)) for pid in pids())
    return [pid for pid, fields in stats if len(fields) > 3 and int(fields[3]) == session and fields[0] not in "ZX"]


def started_with(setting: str) -> list[int]:
    """The pids of this user's processes started with ``NAME=value`` in the environment, and of their forks."""
    mark, started = setting.encode(), []
    for pid in pids():
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # another user's, or gone
            if mark in file.read().split(b"\0"):
                started.append(pid)
    return started
