"""An open job: its lock, its log and the state that the log adds up to. The process that runs the engine owns it."""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mrengine.engine.group_commit import Log
from mrengine.engine.protocol import JobFiles, RoundSettings
from mrengine.errors import JobBusy, LogError
from mrengine.log.file.call_index import CallIndex
from mrengine.log.file.lock import JobLock
from mrengine.log.file.reader import LogReader
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.file.worker_journal import discard, journaled_answers
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ChunkTable, DocumentNames, Segment, document_of
from mrengine.log.format.codec import Frame
from mrengine.log.format.job_records import unpack_round
from mrengine.log.format.packing import key, stamp
from mrengine.log.view.call_totals import CallTotals
from mrengine.log.view.replay import Replay
from mrengine.sources.spool import spool_name

__all__ = ["JobStore", "set_aside"]


def _is_of_the_map_round(kind: int, payload: bytes) -> bool:
    """Whether a job that is still being read appends this while outcomes arrive, and none of it depends on these. A
    later round may begin again: the outcomes before and behind that are not the same round's.
    """
    if kind in (codec.CHUNKS, codec.ROUND):
        return key(payload)[0] == 0 if kind == codec.CHUNKS else unpack_round(payload).round == 0
    return kind in (codec.DOCUMENTS, codec.READ)


class JobStore:
    """The lock is held and the log is open from ``open()`` to ``finish()`` or ``close()``."""

    def __init__(self, folder: Path, lock: JobLock, log: WriteAheadLog, state: Replay, durability: str) -> None:
        self.folder, self.log, self.state = folder, log, state
        self._lock, self._durability = lock, durability
        self._reader = LogReader(folder / "log")
        self._names: DocumentNames | None = None
        self._cancel_mark = folder / "cancelled"
        self._resumed = bool(state.epochs)  # log and spool are an earlier run's
        self._known = log.size  # up to where ``state`` knows the log
        self._ahead: set[int] = set()  # beyond that: offsets of the records that it knows already
        self._given = 0  # chunks of the map round whose tasks the engine has

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], job_id: str, *, durability: str, strict: bool = False, host: int = 0
    ) -> JobStore:
        """Take the lock; open the log, or make one. JobBusy (``draining`` says whether waiting helps), LogError.

        ``strict``: a damaged log is refused, and stays as it is. ``host``: the pid for which a supervisor works.
        """
        folder = Path(folder)
        lock = JobLock(folder)
        if not lock.try_acquire(host=host):
            raise _busy(lock, job_id)
        try:
            state = Replay()
            log = _open_log(folder / "log", job_id, durability, state, strict=strict)
        except BaseException:
            lock.release()
            raise
        try:
            job = cls(folder, lock, log, state, durability)
        except BaseException:
            log.close()
            lock.release()
            raise
        try:
            # Before anybody sees the log's end: answers that a dead supervisor did not commit must not be bought again.
            job._take_in_journals()
        except BaseException:
            job.close()
            raise
        return job

    def _take_in_journals(self) -> None:
        """Answers that workers had, and a supervisor that died did not commit: they were paid for."""
        for payload in journaled_answers(self.folder, self._reader, self.state.call_totals):
            self.append(codec.CALL, payload)
        self.settled()

    def settled(self) -> None:
        """All that workers have sent is in the log."""
        self.log.commit()
        discard(self.folder)

    @property
    def job_id(self) -> str:
        """What the log's header says."""
        return self.log.header.job_id

    def append(self, kind: int, payload: bytes) -> int:
        """Append a record of the job itself, and count it in."""
        newest = self.state.newest
        if newest is not None and kind in codec.STAMPED:
            payload = stamp(payload, newest.job.epoch)
        # Nobody asks here for outcomes while the round runs: they need not be read back for each addition to its table.
        ahead = self._known < self.log.size and _is_of_the_map_round(kind, payload)
        if not ahead:
            self._catch_up()
        offset = self.log.append(kind, payload)
        frame = Frame(offset, kind, payload, 0)
        if ahead:
            self.state.add_ahead(frame)
            self._ahead.add(offset)
        else:
            self.state.add(frame)
            self._known = self.log.size
        return offset

    def _catch_up(self) -> None:
        """What workers say goes into the log past ``state``: read it from there."""
        if self._known < self.log.size:
            self.log.write()
            for frame in self._reader.frames(self._known, self.log.size):
                take = self.state.pass_over if frame.offset in self._ahead else self.state.add
                take(frame)
            self._known = self.log.size
            self._ahead.clear()

    def task_log(self) -> Log:
        """The log for the records of tasks: each says of which epoch it is."""
        epoch = self.state.epoch
        assert epoch is not None
        return StampedLog(self.log, epoch.job.epoch) if epoch.job.epoch else self.log

    def restart(self) -> None:
        """Set the log aside and begin another; the old one stays in the folder until purge."""
        job_id = self.job_id
        self.log.close()
        self._reader.close()
        set_aside(self.folder / "log")
        self.state = Replay()
        self.log = _open_log(self.folder / "log", job_id, self._durability, self.state)
        self._reader = LogReader(self.folder / "log")
        self._known = self.log.size
        self._ahead.clear()

    def begin_round(self) -> None:
        """Make all that was appended durable, so that workers can read the chunk table."""
        self.log.commit()
        self._catch_up()
        epoch = self.state.epoch
        assert epoch is not None
        self._names = DocumentNames(self._reader, epoch.documents)

    def _segments(self, round_: int) -> list[Segment]:
        epoch = self.state.epoch
        return epoch.segments.get(round_, []) if epoch is not None else []

    def pending(self, settings: RoundSettings, held: Container[int] = ()) -> Iterator[int]:
        """Keys of the round's tasks that have no result, but those that the host has ``held`` back."""
        epoch = self.state.epoch
        assert epoch is not None
        self._given = epoch.chunks()
        per_chunk = len(settings.models) if settings.all_models else 1
        only = None if settings.only is None else set(settings.only)
        for chunk, model in epoch.index(settings.round).pending():
            key = chunk if per_chunk == 1 else chunk * per_chunk + model
            if (only is None or chunk in only) and key not in held:
                yield key

    def added(self, settings: RoundSettings) -> range:
        """Keys of the tasks of the map round whose rows were appended since it was last asked for tasks."""
        epoch = self.state.epoch
        assert epoch is not None
        per_chunk = len(settings.models) if settings.all_models else 1
        first, self._given = self._given, epoch.chunks()
        return range(first * per_chunk, self._given * per_chunk)

    def begun(self, settings: RoundSettings) -> dict[int, int]:
        """Of the round's tasks without a result, by key: the model that was about to be called."""
        epoch = self.state.epoch
        assert epoch is not None
        assigned = {} if settings.all_models else epoch.assigned
        return {chunk: model for (round_, chunk), model in assigned.items() if round_ == settings.round}

    def call_index(self, known: CallIndex | None, room: int) -> CallIndex:
        """Where the answers of earlier runs stand, with room for those of this one; in the memory that workers have,
        where it is large enough.
        """
        used = self.used()
        if known is not None and known.refill(used, expected=room):
            return known
        return CallIndex.build(used, expected=room)

    def document_of(self, round_: int, chunk: int) -> str:
        """The id of a chunk's document; "" where the log has lost it."""
        table = ChunkTable(self._reader.fd, self._segments(round_))
        epoch = self.state.epoch
        assert epoch is not None
        if self._names is None or len(self._names) != epoch.document_count:
            self._names = DocumentNames(self._reader, epoch.documents)
        return document_of(table, self._names, chunk)

    def files(self, round_: int) -> JobFiles:
        """Where the texts and the answers of a round stand."""
        epoch = self.state.epoch
        assert epoch is not None
        return JobFiles(
            folder=os.fspath(self.folder),
            spool=spool_name(epoch.spool),
            table=[list(segment) for segment in self._segments(round_)],
            documents=[list(batch) for batch in epoch.documents],
            run_began=self.log.durable,
            check_texts=self._resumed,
        )

    def used(self, since: int | None = None) -> CallTotals:
        """What the calls of the job add up to by now, or those from an offset of the log on."""
        if since is not None:
            call_totals = CallTotals()
            for frame in self._reader.frames(since):
                with suppress(LogError):  # its CRC vouches for it, and it makes no sense: skipped, as everywhere
                    if frame.kind == codec.INTENT:
                        call_totals.intent(frame)
                    elif frame.kind == codec.CALL:
                        call_totals.call(frame)
            return call_totals
        self._catch_up()
        return self.state.call_totals

    def recent_calls(self) -> list[tuple[float, str, int, int]]:
        """Calls of the last minute: (at, model, input tokens, output tokens)."""
        used = self.used().recent_usage(now=time.time())
        return [(at, model, inputs, outputs) for model, calls in used.items() for at, _, inputs, outputs in calls]

    def cancelled(self) -> bool:
        """Whether ``Job.cancel()`` was called; it stays so until ``uncancel()``."""
        return os.path.lexists(self._cancel_mark)

    def mark_draining(self, drain_s: float) -> None:
        """Let others know that they may wait."""
        self._lock.mark_draining(drain_s)

    def finish(self, close: bytes) -> None:
        """Write the run's CLOSE record, if there is one, and free the job."""
        try:
            if close:
                self.log.append(codec.CLOSE, close)
                self.log.commit()
        finally:
            self.close()

    def close(self) -> None:
        """Free the job; the run counts as interrupted where it was not finished."""
        self.log.close()
        self._reader.close()
        self._lock.release()


class StampedLog:
    """The log, in an epoch that is not the first."""

    def __init__(self, log: WriteAheadLog, epoch: int) -> None:
        self._log, self._epoch = log, epoch
        self.write, self.commit = log.write, log.commit

    def append(self, kind: int, payload: bytes) -> int:
        """Append a record; where it belongs to a task, with the number of the epoch."""
        return self._log.append(kind, stamp(payload, self._epoch) if kind in codec.STAMPED else payload)


def _open_log(path: Path, job_id: str, durability: str, state: Replay, *, strict: bool = False) -> WriteAheadLog:
    mode: Any = durability
    if not os.path.lexists(path):
        return WriteAheadLog.create(path, job_id, durability=mode)
    return WriteAheadLog.open(path, job_id=job_id, strict=strict, durability=mode, visit=state.add)


def _busy(lock: JobLock, job_id: str) -> JobBusy:
    owner = lock.holder()
    pid = owner.pid if owner is not None else None
    who = owner if owner is not None else "another process"
    error = JobBusy(f"job {job_id} is run by {who}: wait for it, or end it", job_id=job_id, pid=pid)
    error.draining = owner is None or owner.state == "unknown" or owner.draining or not owner.alive
    error.drain_s = owner.drain_s if owner is not None else 0.0
    return error


def set_aside(path: Path) -> None:
    """Rename a log that is started anew to the next free ``log.N``."""
    number = 1
    while (aside := path.with_name(f"log.{number}")).exists():
        number += 1
    path.rename(aside)
