"""Saves answers that would die with the supervisor: each worker keeps its latest ones in a file.

``salvage-<worker>-<pid>`` in the job folder has the format of a log and holds only CALLs. The next opening of the job
appends those that the log lacks. docs/decisions/answers-outlive-the-supervisor.md has the reasons.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mrengine.errors import LogError
from mrengine.log.file.disk import OsFiles
from mrengine.log.file.reader import LogReader
from mrengine.log.file.recovery import Source
from mrengine.log.format.codec import CALL, HEADER_BYTES, Header, encode_frame, encode_header, new_salt
from mrengine.log.format.task_records import digest_in, is_reusable
from mrengine.log.view.call_totals import CallTotals

__all__ = ["RING_BYTES", "WorkerJournal", "answers_in", "discard", "journaled_answers"]

# A ring: the pipe to the supervisor holds one megabyte, and the supervisor commits each megabyte that it reads, so that
# whatever was written more than two megabytes ago is in the log.
RING_BYTES = 4 << 20
_ON_THE_WAY_BYTES = 2 << 20  # may be in the pipe, or read but not yet committed


class WorkerJournal:
    """One worker's file, created when it gets its first answer. Thread-safe; a full disk fails no task."""

    def __init__(self, folder: str | os.PathLike[str], job_id: str, worker: int, slots: int = 1) -> None:
        self._path = os.path.join(os.fspath(folder), f"salvage-{worker}-{os.getpid()}")
        self._header = Header(job_id, new_salt())
        self._fd = -1
        self._at = HEADER_BYTES
        self._slots, self._largest = slots, 0
        self._lock = threading.Lock()

    def keep(self, payload: bytes) -> None:
        """Keep a CALL before it is sent to the supervisor, unless it may not be reused."""
        if not is_reusable(payload):
            return
        # Not synced: a write outlives all processes, and what a power cut may take is the log's business.
        with self._lock, suppress(OSError):  # without a journal the answer is as safe as the supervisor is
            if self._fd < 0:
                self._fd = OsFiles().open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                os.pwrite(self._fd, encode_header(self._header), 0)
            # What is overwritten must have been committed. So the ring has room for what the pipe holds, and for two of
            # the largest answers of each slot: one that is being sent, and one that waits for that.
            self._largest = max(self._largest, len(payload))
            if self._at >= max(RING_BYTES, _ON_THE_WAY_BYTES + 2 * self._slots * self._largest):
                self._at = HEADER_BYTES
            frame = encode_frame(self._header.prefix, self._header.seed, self._at, HEADER_BYTES, CALL, payload)
            self._at += os.pwrite(self._fd, frame, self._at)  # half a frame, if cut short, is passed over by readers

    def close(self) -> None:
        """Close the file, which stays until the supervisor has committed everything."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def journaled_answers(folder: Path, log: LogReader, call_totals: CallTotals) -> list[bytes]:
    """The CALLs in a job's journals that its log lacks, unordered. Only the holder of the job's lock may call this."""
    candidates: dict[int, set[bytes]] = {}
    for path in _files(folder):
        for payload in answers_in(path):
            candidates.setdefault(int.from_bytes(digest_in(payload)[:8], "little"), set()).add(payload)
    # Most answers in the journals are in the log already. Eight bytes of the digest find the candidates without reading
    # it; only those are compared.
    for prefix, offset in zip(call_totals.prefixes, call_totals.offsets, strict=True) if candidates else ():
        if prefix in candidates:
            with suppress(LogError):
                candidates[prefix].discard(log.payload(offset))
    return [payload for payloads in candidates.values() for payload in payloads]


def discard(folder: Path) -> None:
    """Remove the journals, whose content is in the log by now."""
    for path in _files(folder):
        with suppress(OSError):  # not writable any more: harmless, as the next run finds nothing new in the files
            path.unlink()


def _files(folder: Path) -> Iterable[Path]:
    return folder.glob("salvage-*")


def answers_in(path: Path) -> Iterator[bytes]:
    """The CALLs of one journal; where the ring was overwritten, the next whole frame follows."""
    files = OsFiles()
    try:
        fd = files.open(os.fspath(path), os.O_RDONLY)
    except OSError:
        return
    try:
        source = Source.over(fd, files)
        at: int | None = HEADER_BYTES
        while at is not None:
            for frame in source.run(at, source.size()):
                at = frame.end
                yield frame.payload
            at = source.resync(at, source.size())
    except LogError:
        return  # killed before its header was complete
    finally:
        os.close(fd)
