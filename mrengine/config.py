"""Owns settings: argument beats environment beats default, and every one is checked before anything starts."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrengine.errors import ChunkingError, ConfigError
from mrengine.records import Budget, ModelSpec, RateLimit

__all__ = ["Settings", "check_job_id", "check_platform", "jobs_folder", "new_job_id", "state_folder"]

PRIORITIES = {"P0": "P0_critical", "P1": "P1_user", "P2": "P2_batch"}
_JOB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_PURGES = 20  # so often a job may be purged by another process while its folder is made
_CHOICES = {
    "balance": (None, "round_robin", "least_used", "budget", "all"),
    "assignment": ("modulo", "steal"),
    "strategy": ("parallel", "sequential"),
    "on_mismatch": (None, "error", "extend", "recompute", "restart"),
    "on_source_error": ("fail", "skip"),
    "keep": (None, "always", "on_failure", "results"),
    "durability": ("fsync", "flush"),
    "backend": ("process",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a runner, checked. Times in seconds; see ``docs/design.md`` for what each does."""

    workers: int = 5
    slots: int = 1
    models: str | ModelSpec | Sequence[str | ModelSpec] | None = None
    priority: str = "P1_user"
    balance: str | None = None
    assignment: str = "modulo"
    strategy: str = "parallel"
    target_tokens: int | str | None = "auto"
    overlap_tokens: int | None = None  # 350, and a quarter of a target that is small
    encoding: str = "o200k_base"
    splitter: str | Callable[[str], Any] = "auto"
    limits: Mapping[str, RateLimit] | None = None
    budget: Budget | None = None
    max_attempts: int = 3
    max_failed: int | None = None
    chunk_timeout_s: float = 600.0
    drain_s: float = 10.0
    backoff_s: float = 1.0
    max_worker_rss: int | None = None
    map_version: str | None = None
    on_mismatch: str | None = None  # "error"; "recompute" for a job that is named by its inputs
    on_source_error: str = "fail"  # "skip": sources that cannot be read are left out, and warned of
    initializer: Callable[..., None] | None = None
    initargs: Sequence[Any] = ()
    preload: Sequence[str] = ()
    keep: str | None = None
    state_dir: str | os.PathLike[str] | None = None
    durability: str = "fsync"
    strict: bool = False
    backend: str = "process"
    progress: bool | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings from keyword arguments and ``MRENGINE_*`` variables; raises ConfigError."""
        known = set(cls.__dataclass_fields__)
        unknown = sorted(set(given) - known)
        if unknown:
            raise ConfigError(f"unknown setting: {', '.join(unknown)}", setting=unknown[0])
        values = {name: value for name, value in given.items() if value is not UNSET}
        values = {**_from_environment(values), **values}
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                told = ", ".join(repr(choice) for choice in choices)
                raise ConfigError(f"{name}={value!r}: it is one of {told}", setting=name)
        for name, least in (("workers", 1), ("slots", 1), ("max_attempts", 1)):
            _check_number(name, getattr(self, name), least, whole=True)
        for name, shortest in (("chunk_timeout_s", 0.001), ("drain_s", 0.0), ("backoff_s", 0.0)):
            _check_number(name, getattr(self, name), shortest, whole=False)
        for name in ("max_failed", "overlap_tokens"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), 0, whole=True)
        if self.target_tokens not in (None, "auto"):
            _check_number("target_tokens", self.target_tokens, 1, whole=True)
            if self.overlap_tokens is not None and self.overlap_tokens >= self.target_tokens:  # type: ignore[operator]
                told = f"overlap_tokens={self.overlap_tokens} leaves no room in target_tokens={self.target_tokens}"
                raise ChunkingError(
                    f"{told}: make it smaller", target_tokens=self.target_tokens, overlap_tokens=self.overlap_tokens
                )
        _check_kinds(self.limits, self.budget)
        if self.priority not in PRIORITIES and self.priority not in PRIORITIES.values():
            told = ", ".join(PRIORITIES.values())
            raise ConfigError(f"priority={self.priority!r}: it is one of {told}", setting="priority")
        if self.workers > 1024 or self.slots > 4096:
            raise ConfigError("more than 1024 workers or 4096 slots", setting="workers")

    @property
    def full_priority(self) -> str:
        """The priority by its long name."""
        return PRIORITIES.get(self.priority, self.priority)


class _Unset:
    def __repr__(self) -> str:
        return "<not given>"


UNSET: Any = _Unset()


def _check_number(name: str, value: Any, least: float, *, whole: bool) -> None:
    kind = int if whole else (int, float)
    if not isinstance(value, kind) or isinstance(value, bool) or value < least or value != value:
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"{name}={value!r}: it is {what}, at least {least:g}", setting=name)


def _check_kinds(limits: Any, budget: Any) -> None:
    if budget is not None and not isinstance(budget, Budget):
        raise ConfigError(f"budget={budget!r}: write Budget(max_tokens=…, max_cost_usd=…)", setting="budget")
    if limits is None or (isinstance(limits, Mapping) and all(isinstance(v, RateLimit) for v in limits.values())):
        return
    raise ConfigError("limits: write {'gpt-4o': RateLimit(tpm=…, rpm=…)}", setting="limits")


def _from_environment(given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("workers", "slots", "models", "priority", "target_tokens", "state_dir"):
        text = os.environ.get("MRENGINE_" + name.upper())
        if not text or name in given:
            continue
        values[name] = _parse(name, text)
    return values


def _parse(name: str, text: str) -> Any:
    if name == "models":
        names = [part.strip() for part in text.split(",") if part.strip()]
        return names if len(names) > 1 else names[0]
    if name in ("workers", "slots") or (name == "target_tokens" and text not in ("auto", "none")):
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"MRENGINE_{name.upper()}={text!r} is not a number", setting=name) from None
    return None if (name, text) == ("target_tokens", "none") else text


def check_platform() -> None:
    """Refuse Windows: there is no fork, and no way to notice a death at once."""
    if sys.platform == "win32":
        raise ConfigError("mrengine runs on Linux and macOS; on Windows, use WSL", setting="platform")


def check_job_id(job_id: Any) -> str:
    """A job id names a folder, and nothing but one: ``[A-Za-z0-9_][A-Za-z0-9._-]{0,99}``."""
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise ConfigError(
            f"job id {job_id!r}: it starts with a letter, a digit or _ and holds at most 100 letters, digits, . _ -",
            setting="job_id",
        )
    return job_id


def new_job_id() -> str:
    """An id that no other run has: the time, for people, and 40 random bits."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(5)


def state_folder(state_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where jobs are kept: the argument, MRENGINE_STATE_DIR, $XDG_STATE_HOME/mrengine, ~/.local/state/mrengine."""
    if state_dir is not None:
        return Path(os.path.abspath(os.path.expanduser(os.fspath(state_dir))))
    if given := os.environ.get("MRENGINE_STATE_DIR"):
        return Path(os.path.abspath(os.path.expanduser(given)))
    home = os.environ.get("XDG_STATE_HOME")
    if home and os.path.isabs(home):
        return Path(home) / "mrengine"
    return Path(os.path.expanduser("~")) / ".local" / "state" / "mrengine"


def jobs_folder(state_dir: str | os.PathLike[str] | None = None, *, create: bool = False) -> Path:
    """The folder of all job folders; with ``create`` it is made, 0700 whatever the umask."""
    folder = state_folder(state_dir) / "jobs"
    if create:
        make_private(folder)
    return folder


def make_private(folder: Path) -> None:
    """Make a folder and those above it; it is 0700, a real folder, and can be written, or ConfigError."""
    try:
        for left in reversed(range(_PURGES)):
            try:
                return _made_private(folder)
            except FileNotFoundError:
                if not left:
                    raise
    except OSError as error:
        raise ConfigError(
            f"the state folder {folder} cannot be made or written ({error.strerror}): "
            "set MRENGINE_STATE_DIR or state_dir= to a folder that can",
            setting="state_dir",
        ) from error


def _made_private(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
        os.chmod(folder, 0o700)
    except FileExistsError:
        pass
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise ConfigError(f"{folder} is not a folder of its own (a link or a file): remove it", setting="state_dir")
    if not os.access(folder, os.W_OK | os.X_OK):
        os.lstat(folder)  # what is gone by now cannot be written, either
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
