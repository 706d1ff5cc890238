"""Processes as /proc has them: who lives, whose child it is, what it was started as."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def pids() -> list[int]:
    """Everybody."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def environ(pid: int) -> list[bytes]:
    """NAME=value as it was started with; empty where it is gone."""
    return _read(pid, "environ").split(b"\0")


def cmdline(pid: int) -> str:
    """The beginning of its command line."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")[:120]


def _stat(pid: int) -> list[str]:
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def state(pid: int) -> str:
    """The letter of its state; X where it is gone."""
    fields = _stat(pid)
    return fields[0] if fields else "X"


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    return state(pid) not in "ZX"


def parent(pid: int) -> int:
    """The pid of its parent; 0 where it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _born(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def children(of: int) -> list[int]:
    """Its living children, the eldest first (numbers begin anew after 32,768 processes), but for multiprocessing's
    resource tracker, which a test before may have left by design.
    """
    found = [pid for pid in pids() if parent(pid) == of and alive(pid)]
    ours = [pid for pid in found if b"multiprocessing.resource_tracker" not in _read(pid, "cmdline")]
    return sorted(ours, key=lambda pid: (_born(pid), pid))


def tree(root: int) -> list[int]:
    """A process and everything below it, from the top."""
    found = [root]
    for pid in found:
        found += children(pid)
    return found


def marked(state_dir: str | os.PathLike[str]) -> list[int]:
    """Living processes, orphans too, that were started for this state folder; not this one."""
    mark = f"MRENGINE_STATE_DIR={os.fspath(state_dir)}".encode()
    return [pid for pid in pids() if pid != os.getpid() and mark in environ(pid) and alive(pid)]


def _switches(of: list[int]) -> list[bytes] | None:
    """How often each of their threads has been given a CPU and left it; None if one has it, or waits for it."""
    found: list[bytes] = []
    for pid in of:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            status = _read(pid, f"task/{task.name}/status")
            if b"State:\tR" in status or b"State:\tD" in status:
                return None
            found.append(status[status.find(b"voluntary_ctxt_switches") :])
    return found


def are_idle(of: list[int]) -> bool:
    """Whether there was an instant at which none of their threads had anything to do, but for what a clock wakes."""
    before = _switches(of)
    return before is not None and before == _switches(of)


def is_mapped(file: Path) -> bool:
    """Whether a living process has a file in its memory."""
    return any(os.fsencode(file) in _read(pid, "maps") for pid in pids())


def wait_for(condition: Callable[[], object], *, within_s: float = 30.0, what: str = "") -> float:
    """Wait until it is true; how many seconds it took. Fails after ``within_s``."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, what or "it never came true"
        time.sleep(0.01)
    return time.monotonic() - began


def wait_until_gone(list_pids: Callable[[], list[int]], *, within_s: float) -> float:
    """Wait until none is left; how many seconds it took. Fails, naming those that stay, after ``within_s``."""
    began = time.monotonic()
    while left := list_pids():
        assert time.monotonic() - began < within_s, [f"{pid} {cmdline(pid)}" for pid in left]
        time.sleep(0.02)
    return time.monotonic() - began
