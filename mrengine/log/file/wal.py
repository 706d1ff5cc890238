"""The log file, open for writing: append, group commit, repair on opening. The caller holds the job's lock."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal, NoReturn

from mrengine.errors import LogError
from mrengine.log.file.disk import OsFiles
from mrengine.log.file.recovery import Recovery, Source, drain, walk
from mrengine.log.file.repair import repair_log
from mrengine.log.format.codec import (
    HEADER_BYTES,
    VOID,
    Frame,
    Header,
    encode_frame,
    encode_header,
    new_salt,
    padding,
)

__all__ = ["Durability", "WriteAheadLog"]

Durability = Literal["fsync", "flush"]
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # the user can mend these: a LogError of its own reason


class WriteAheadLog:
    """The log, open for appending.

    ``append`` keeps frames in memory, ``write`` hands them to the kernel, ``commit`` makes them durable. ``durable`` is
    the offset that may be announced, ``size`` the end including what is still in memory. The first write or sync that
    fails poisons the log: it is cut back to ``durable``, and every later call raises the same LogError.
    """

    def __init__(self, source: Source, end: int, recovery: Recovery, durability: Durability) -> None:
        self._source = source
        self._files = source.files
        self._fd = source.fd
        self._prefix, self._seed = source.prefix, source.seed
        self._fsync = durability == "fsync"
        self._buffer = bytearray()
        self._written = self._watermark = self.durable = self.size = end
        self._poison: tuple[str, str] | None = None
        self.recovery = recovery

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        job_id: str,
        *,
        durability: Durability = "fsync",
        files: OsFiles | None = None,
    ) -> WriteAheadLog:
        """Create a log; on return, file and name are durable. LogError: it exists already, or there is no space."""
        path, files = os.fspath(path), files or OsFiles()
        if files.exists(path):  # the rename below would replace it
            raise LogError(f"{path} exists already", reason="io", path=path)
        header = Header(job_id, new_salt())
        try:
            fd = files.open(path + ".new", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        except OSError as error:
            _fail(error, path + ".new")
        try:
            # Under another name until the header is on disk: a crash in between leaves a file that is no job's log.
            files.write_all(fd, encode_header(header), 0)
            files.sync(fd)
            files.rename(path + ".new", path)
            files.sync_folder(os.path.dirname(path) or ".")
        except OSError as error:
            files.close(fd)
            _fail(error, path)
        return cls(Source(fd, header, files, path), HEADER_BYTES, Recovery(HEADER_BYTES), durability)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        job_id: str | None = None,
        strict: bool = False,
        durability: Durability = "fsync",
        take: Callable[[Iterable[Frame]], object] = drain,
        files: OsFiles | None = None,
    ) -> WriteAheadLog:
        """Open, recover and repair a log. ``take`` is given all frames, as by ``walk``; ``recovery`` says what was cut
        or damaged.

        LogError: the file is not the log of this job, or of a newer format; its header is damaged; ``strict``, and
        anything is damaged. In these cases the file is unchanged.
        """
        # The frames go to ``take`` during recovery, so that a replay needs no second pass over the file.
        path, files = os.fspath(path), files or OsFiles()
        try:
            fd = files.open(path, os.O_RDWR)
        except OSError as error:
            _fail(error, path)
        try:
            source = Source.over(fd, files, path, job_id=job_id)
            # Before the walk: the log of another job must not even be repaired.
            if job_id is not None and source.header.job_id != job_id:
                message = f"{path} is the log of job {source.header.job_id!r}, not of {job_id!r}"
                raise LogError(message, reason="not_a_log", path=path)
            recovery = walk(source, take)
            # Before the repair, which writes: whoever asked for strictness finds the evidence as it was.
            if strict and recovery.damage:
                message = f"{path} is damaged in {len(recovery.damage)} range(s); nothing was changed"
                raise LogError(message, reason="damaged", path=path, ranges=recovery.damage)
            try:
                end = repair_log(source, recovery)
            except OSError as error:
                _fail(error, path)
        except BaseException:
            files.close(fd)
            raise
        return cls(source, end, recovery, durability)

    @property
    def header(self) -> Header:
        """The header of the file."""
        return self._source.header

    def append(self, kind: int, payload: bytes) -> int:
        """Frame and buffer a record; return its offset. ValueError: above the cap of 64 MiB."""
        self._check()
        offset = self.size
        frame = encode_frame(self._prefix, self._seed, offset, self._watermark, kind, payload)
        self._buffer += frame
        self.size = offset + len(frame)
        return offset

    def write(self) -> None:
        """Hand the buffer to the kernel: it then survives the death of this process, but not a power cut."""
        self._check()
        if not self._buffer:
            return
        try:
            self._files.write_all(self._fd, self._buffer, self._written)
        except OSError as error:
            self._poisoned(error)
        self._written += len(self._buffer)
        self._buffer = bytearray()

    def commit(self) -> int:
        """Write and sync everything appended; return the durable offset, which may be announced."""
        self._check()
        # Fill the sector: no later append may write into one that holds announced bytes (decisions/log-sectors).
        filler = padding(self.size) if self._fsync and self.size > self.durable else None
        if filler is not None:
            self.append(VOID, bytes(filler))
        self.write()
        if self.durable == self._written:
            return self.durable
        if self._fsync:
            try:
                self._files.sync(self._fd)
            except OSError as error:
                self._poisoned(error)
            # Frames to come tell recovery that everything below was synced: a gap there is damage, no torn tail.
            self._watermark = self._written
        self.durable = self._written
        return self.durable

    def close(self) -> None:
        """Close the descriptor and drop what was not committed. Idempotent; a forked child may call it too."""
        if self._fd >= 0:
            self._files.close(self._fd)
            self._fd, self._poison = -1, self._poison or ("io", "the log is closed")

    def __enter__(self) -> WriteAheadLog:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _check(self) -> None:
        if self._poison is not None:
            raise LogError(self._poison[1], reason=self._poison[0], path=self._source.path)

    def _poisoned(self, error: OSError) -> NoReturn:
        """Refuse all further calls, and cut off what was not announced."""
        # A failed fsync may mark pages clean that never reached the disk: a second one would succeed and prove nothing.
        # Cut off, so that no reader sees these pages and takes them for durable (decisions/log-sectors).
        self._buffer = bytearray()
        with suppress(OSError):
            self._files.truncate(self._fd, self.durable)
        try:
            _fail(error, self._source.path)
        except LogError as failure:
            self._poison = failure.reason, str(failure)
            raise


def _fail(error: OSError, path: str | None) -> NoReturn:
    full = error.errno in _FULL
    remedy = "make room and run the job again: nothing announced is lost" if full else "what was announced is not lost"
    message = f"cannot write {path or 'the log'}: {error.strerror or error}; {remedy}"
    raise LogError(message, reason="full" if full else "io", path=path) from error
