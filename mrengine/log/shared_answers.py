"""Answers that several jobs share: an SQLite file, bounded in size and age, which may be deleted at any time.

The file holds nothing that a job's log does not, and is as private. Nothing here raises, except ``stats`` and
``prune``, which a user calls by name: whatever happens to the file, the worst is a repeated call.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mrengine.private import open_file

__all__ = ["MAX_AGE_S", "MAX_BYTES", "AnswerStats", "SharedAnswers", "prune", "stats"]

MAX_BYTES = 1 << 30
MAX_AGE_S = 30 * 86_400.0  # since an answer was last used
BUSY_S = 2.0  # for another writer; after that the answer is not kept
TOUCH_S = 86_400.0  # a use is noted once a day
PRUNE_EVERY = 2_000  # writes of a process, from its first on
# WAL: others read while one process writes. NORMAL: no fsync for each answer, as a lost one is only asked for again.
_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS answers (
    digest BLOB PRIMARY KEY, run TEXT NOT NULL, model TEXT NOT NULL, at REAL NOT NULL, used REAL NOT NULL,
    bytes INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_used ON answers (used, bytes);
"""
log = logging.getLogger("mrengine")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """Counts of a file of answers. ``bytes``: size of the answers; ``file_bytes``: of the file.

    Times are in seconds since the epoch.
    """

    path: str
    answers: int = 0
    bytes: int = 0
    file_bytes: int = 0
    oldest_use: float | None = None
    newest_use: float | None = None


class SharedAnswers:
    """One process's access to a file of answers. Thread-safe. ``run``: this run, whose own answers are not found."""

    def __init__(self, path: str, run: str) -> None:
        self._path, self._run = path, run
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._writes = 0
        self._warned = False

    def find(self, digest: bytes) -> bytes | None:
        """The payload of an answer that another run has left; None: there is none."""
        # Never an answer of this run: two equal chunks are two calls, or results would depend on which was quicker.
        return self._try(lambda db: self._find(db, digest))

    def _find(self, db: sqlite3.Connection, digest: bytes) -> bytes | None:
        row = db.execute("SELECT payload, used, run FROM answers WHERE digest = ?", (digest,)).fetchone()
        now = time.time()
        if row is None or row[2] == self._run or row[1] < now - MAX_AGE_S:
            return None
        if row[1] < now - TOUCH_S:
            with suppress(sqlite3.OperationalError):  # another process is writing: the next use is noted
                db.execute("UPDATE answers SET used = ? WHERE digest = ?", (now, digest))
        return bytes(row[0])

    def add(self, digest: bytes, model: str, payload: bytes) -> None:
        """Keep an answer, in place of an older one with the same digest."""
        self._try(lambda db: self._add(db, digest, model, payload))

    def _add(self, db: sqlite3.Connection, digest: bytes, model: str, payload: bytes) -> None:
        now = time.time()
        db.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
            (digest, self._run, model, now, now, len(payload), payload),
        )
        self._writes += 1
        if self._writes % PRUNE_EVERY == 1:
            _prune(db, MAX_BYTES, MAX_AGE_S)

    def close(self) -> None:
        """Close the connection; idempotent."""
        with self._lock:
            self._drop()

    def _try(self, do: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """The result of ``do``; None if the file cannot be used, which must cost an answer and no chunk."""
        with self._lock:
            try:
                return do(self._opened())
            except sqlite3.OperationalError as error:
                self._warn(error)
                self._drop()
            except sqlite3.DatabaseError as error:  # damaged, or no database at all: the next call makes a new one
                self._warn(error)
                self._drop()
                _remove(self._path)
            except OSError as error:
                self._warn(error)
            return None

    def _opened(self) -> sqlite3.Connection:
        """The connection of this process to the file that exists now."""
        # SQLite's connections must not cross a fork, and one to a deleted file would go on reading that.
        if self._db is not None and (self._pid != os.getpid() or not os.path.exists(self._path)):
            self._drop()
        if self._db is None:
            self._db, self._pid = _open(self._path), os.getpid()
        return self._db

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None and self._pid == os.getpid():  # SQLite forbids even closing one that crossed a fork
            with suppress(sqlite3.Error):
                db.close()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            log.warning("shared answers are not used for a while: %s: %s", self._path, error)


def _open(path: str) -> sqlite3.Connection:
    """A connection; the file is made private before SQLite writes to it."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    os.close(open_file(path, os.O_RDWR | os.O_CREAT))
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _remove(path: str) -> None:
    for end in ("", "-wal", "-shm"):
        with suppress(OSError):
            os.unlink(path + end)


def _prune(db: sqlite3.Connection, max_bytes: float, max_age_s: float) -> int:
    """Remove answers that are too old, then those used longest ago until the rest is small; return how many."""
    before = db.total_changes
    db.execute("DELETE FROM answers WHERE used < ?", (time.time() - max_age_s,))
    (total,) = db.execute("SELECT COALESCE(SUM(bytes), 0) FROM answers").fetchone()
    if total > max_bytes:
        over = total - max_bytes
        rows = db.execute("SELECT rowid, bytes FROM answers ORDER BY used, rowid")
        doomed = []
        for last, size in rows:
            doomed.append((last,))
            over -= size
            if over <= 0:
                break
        db.execute("BEGIN IMMEDIATE")  # one transaction, and not one for each row
        db.executemany("DELETE FROM answers WHERE rowid = ?", doomed)
        db.execute("COMMIT")
    db.executescript("PRAGMA incremental_vacuum")  # execute() would free one page
    return db.total_changes - before


def prune(path: Path, *, max_bytes: float = MAX_BYTES, max_age_s: float = MAX_AGE_S) -> int:
    """Remove answers that are too old or too many; return how many. sqlite3.Error: it is no file of answers."""
    if not path.exists():
        return 0
    with closing(_open(os.fspath(path))) as db:
        removed = _prune(db, max_bytes, max_age_s)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return removed


def stats(path: Path) -> AnswerStats:
    """Count what a file holds. sqlite3.Error: it is no file of answers."""
    if not path.exists():
        return AnswerStats(os.fspath(path))
    with closing(_open(os.fspath(path))) as db:
        count, size, oldest, newest = db.execute(
            "SELECT COUNT(*), COALESCE(SUM(bytes), 0), MIN(used), MAX(used) FROM answers"
        ).fetchone()
    return AnswerStats(os.fspath(path), count, size, path.stat().st_size, oldest, newest)
