"""Job ids and the state folder: how jobs may be named, and where they are kept."""

from __future__ import annotations

import os
import re
import reprlib
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError
from mrengine.private import check_private, make_private

__all__ = ["answers_file", "check_job_id", "check_platform", "jobs_folder", "new_job_id", "state_folder"]

_JOB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")  # a folder's name everywhere, which no shell need quote


def check_platform() -> None:
    """ConfigError on Windows, which has neither fork nor an immediate signal of a process's death."""
    if sys.platform == "win32":
        raise ConfigError("mrengine runs on Linux and macOS; on Windows, use WSL", setting="platform")


def check_job_id(job_id: Any) -> str:
    """ConfigError unless a job id is a safe folder name: ``[A-Za-z0-9_][A-Za-z0-9._-]{0,99}``."""
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise ConfigError(
            f"job id {reprlib.repr(job_id)}: it starts with a letter, a digit or _ and holds at most "
            "100 letters, digits, . _ -",
            setting="job_id",
        )
    return job_id


def new_job_id() -> str:
    """A unique job id: the time, for people and for sorting, and 40 random bits."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(5)


def state_folder(state_dir: str | os.PathLike[str] | None = None) -> Path:
    """The state folder: the argument, MRENGINE_STATE_DIR, $XDG_STATE_HOME/mrengine, ~/.local/state/mrengine."""
    if state_dir is not None:
        return _absolute(state_dir, "state_dir")
    if variable := os.environ.get("MRENGINE_STATE_DIR"):
        return _absolute(variable, "MRENGINE_STATE_DIR")
    home = os.environ.get("XDG_STATE_HOME")
    if home and os.path.isabs(home):  # the XDG standard says to ignore a relative one
        return Path(home) / "mrengine"
    return Path(os.path.expanduser("~")) / ".local" / "state" / "mrengine"


def _absolute(place: str | os.PathLike[str], setting: str) -> Path:
    folder: Any = os.fspath(place) if isinstance(place, os.PathLike) else place
    if not isinstance(folder, str) or "\0" in folder:
        raise ConfigError(f"{setting}={folder!r}: it is a str or a Path, without a NUL", setting=setting)
    try:
        path = os.path.abspath(os.path.expanduser(folder))
        path.encode()  # it is sent to the supervisor and written into the log, as UTF-8
        return Path(path)
    except UnicodeEncodeError as error:
        raise ConfigError(f"{setting}={folder!r}: the folder's path is not UTF-8", setting=setting) from error
    except OSError as error:
        message = f"{setting}={folder!r} is relative to the current folder, which was removed: give an absolute path"
        raise ConfigError(message, setting=setting) from error


def answers_file(answers: str | os.PathLike[str], state_dir: str | os.PathLike[str] | None) -> Path | None:
    """The file of shared answers for the setting ``answers``; None: a job uses only its own."""
    if answers == "job":
        return None
    if answers == "shared":
        return state_folder(state_dir) / "answers.sqlite3"
    return _absolute(answers, "answers")


def jobs_folder(state_dir: str | os.PathLike[str] | None = None, *, create: bool = False) -> Path:
    """The folder that holds all job folders. ConfigError: others own it, or may write to it."""
    state = state_folder(state_dir)
    secure = make_private if create else check_private  # a look at jobs leaves no folder behind
    secure(state, top=True)
    secure(state / "jobs")
    return state / "jobs"
