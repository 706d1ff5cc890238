"""An open job: its lock, its log and the state that the log adds up to. The process that runs the engine owns it."""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterator
from contextlib import ExitStack
from pathlib import Path

from mrengine.engine.group_commit import Log
from mrengine.engine.protocol import JobFiles, RoundSettings
from mrengine.log.file.call_index import CallIndex
from mrengine.log.file.lock import JobLock
from mrengine.log.file.reader import LogReader
from mrengine.log.file.row_reader import ChunkTable, DocumentNames, document_of
from mrengine.log.file.wal import Durability, WriteAheadLog
from mrengine.log.file.worker_journal import discard, journaled_answers
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import Segment
from mrengine.log.format.codec import Frame
from mrengine.log.format.job_records import unpack_round
from mrengine.log.format.packing import key, stamp
from mrengine.log.view.call_totals import CallTotals
from mrengine.log.view.replay import Epoch, Replay
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

    def __init__(self, folder: Path, lock: JobLock, log: WriteAheadLog, state: Replay, durability: Durability) -> None:
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
        cls, folder: str | os.PathLike[str], job_id: str, *, durability: Durability, strict: bool = False, host: int = 0
    ) -> JobStore:
        """Take the lock; open the log, or create it. JobBusy (``draining`` says whether waiting helps), LogError.

        ``strict``: refuse a damaged log and leave it as it is. ``host``: the pid for which a supervisor works.
        """
        folder, state = Path(folder), Replay()
        with ExitStack() as undo:
            lock = JobLock(folder)
            if not lock.try_acquire(host=host):
                raise lock.busy(job_id, "wait for it, or end it")
            undo.callback(lock.release)
            log = _open_log(folder / "log", job_id, durability, state, strict=strict)
            undo.callback(log.close)
            job = cls(folder, lock, log, state, durability)
            undo.callback(job._reader.close)
            # Before anybody sees the log's end: answers that a dead supervisor did not commit must not be bought again.
            for payload in journaled_answers(folder, job._reader, state.call_totals):
                job.append(codec.CALL, payload)
            job.settled()
            undo.pop_all()
        return job

    def settled(self) -> None:
        """Discard the workers' journals: whatever the workers have sent is in the log."""
        # In this order: a crash in between leaves the answers in both, and the next run finds nothing new in the files.
        self.log.commit()
        discard(self.folder)

    @property
    def _epoch(self) -> Epoch:
        """The epoch that the rounds belong to. The host appends its JOB before it asks for a round."""
        epoch = self.state.epoch
        assert epoch is not None
        return epoch

    def append(self, kind: int, payload: bytes) -> int:
        """Append a record of the job itself, and add it to ``state``."""
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
        """Bring ``state`` up to the end of the log."""
        # What workers send goes into the log as it is, undecoded and past ``state``: it is read back when it is needed.
        if self._known < self.log.size:
            self.log.write()
            for frame in self._reader.frames(self._known, self.log.size):
                take = self.state.pass_over if frame.offset in self._ahead else self.state.add
                take(frame)
            self._known = self.log.size
            self._ahead.clear()

    def task_log(self) -> Log:
        """The log for the records of tasks, which are stamped with their epoch."""
        epoch = self._epoch.job.epoch
        return StampedLog(self.log, epoch) if epoch else self.log

    def restart(self) -> None:
        """Set the log aside and begin another. The old one stays in the folder until the job is purged."""
        job_id = self.log.header.job_id
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
        self._names = DocumentNames(self._reader, self._epoch.documents)

    def _segments(self, round_: int) -> list[Segment]:
        return self._epoch.segments.get(round_, [])

    def pending(self, settings: RoundSettings, held: Container[int] = ()) -> Iterator[int]:
        """Keys of the round's tasks without a result, except those that the host has ``held`` back."""
        epoch = self._epoch
        self._given = epoch.chunks()
        per_chunk = settings.per_chunk
        only = None if settings.only is None else set(settings.only)
        for chunk, model in epoch.index(settings.round).pending():
            key = chunk if per_chunk == 1 else chunk * per_chunk + model
            if (only is None or chunk in only) and key not in held:
                yield key

    def added(self, settings: RoundSettings) -> range:
        """Keys of the map round's tasks whose rows were appended since the last call of this, or of ``pending``."""
        first, self._given = self._given, self._epoch.chunks()
        return range(first * settings.per_chunk, self._given * settings.per_chunk)

    def begun(self, settings: RoundSettings) -> dict[int, int]:
        """The model index that an earlier run began to call, by key, for the round's tasks without a result."""
        # Such a task keeps its model: its answers are stored under that model's digests, and another would pay again.
        assigned = {} if settings.all_models else self._epoch.assigned
        return {chunk: model for (round_, chunk), model in assigned.items() if round_ == settings.round}

    def call_index(self, known: CallIndex | None, room: int) -> CallIndex:
        """Where the answers of earlier runs stand, with room for those of this one."""
        # Workers that are kept from the last round have its table mapped: fill that one where it is large enough.
        used = self.used()
        if known is not None and known.refill(used, expected=room):
            return known
        return CallIndex.build(used, expected=room)

    def document_of(self, round_: int, chunk: int) -> str:
        """The id of a chunk's document; "" where the log has lost it."""
        epoch = self._epoch
        if self._names is None or len(self._names) != epoch.document_count:  # while documents are still being read
            self._names = DocumentNames(self._reader, epoch.documents)
        return document_of(ChunkTable(self._reader.fd, self._segments(round_)), self._names, chunk)

    def files(self, round_: int) -> JobFiles:
        """Where a round's texts stand, and the answers of earlier calls."""
        return JobFiles(
            folder=os.fspath(self.folder),
            spool=spool_name(self._epoch.spool),
            table=[list(segment) for segment in self._segments(round_)],
            documents=[list(batch) for batch in self._epoch.documents],
            run_began=self.log.durable,
            check_texts=self._resumed,
        )

    def used(self, since: int | None = None) -> CallTotals:
        """The totals of all calls of the job so far, or of those from the offset ``since`` on."""
        if since is None:
            self._catch_up()
            return self.state.call_totals
        return CallTotals.of(self._reader.frames(since))

    def recent_calls(self) -> list[tuple[float, str, int, int]]:
        """Calls of the last minute: (at, model, input tokens, output tokens)."""
        used = self.used().recent_usage(now=time.time())
        return [(at, model, inputs, outputs) for model, calls in used.items() for at, _, inputs, outputs in calls]

    def cancelled(self) -> bool:
        """Whether ``Job.cancel()`` was called; it stays so until ``uncancel()``."""
        return os.path.lexists(self._cancel_mark)

    def mark_draining(self, drain_s: float) -> None:
        """Tell whoever wants the job that it will soon be free."""
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
        """Free the job. Without a CLOSE record, the run counts as interrupted."""
        self.log.close()
        self._reader.close()
        self._lock.release()


class StampedLog:
    """The log in an epoch after the first, whose number is 0: unstamped records belong to that one."""

    def __init__(self, log: WriteAheadLog, epoch: int) -> None:
        self._log, self._epoch = log, epoch
        self.write, self.commit = log.write, log.commit

    def append(self, kind: int, payload: bytes) -> int:
        """Append a record; one that belongs to a task is stamped with the epoch's number."""
        return self._log.append(kind, stamp(payload, self._epoch) if kind in codec.STAMPED else payload)


def _open_log(path: Path, job_id: str, durability: Durability, state: Replay, *, strict: bool = False) -> WriteAheadLog:
    if not os.path.lexists(path):
        return WriteAheadLog.create(path, job_id, durability=durability)
    return WriteAheadLog.open(path, job_id=job_id, strict=strict, durability=durability, take=state.add_all)


def set_aside(path: Path) -> None:
    """Rename a log to the next free ``log.N``."""
    number = 1
    while (aside := path.with_name(f"log.{number}")).exists():
        number += 1
    path.rename(aside)
