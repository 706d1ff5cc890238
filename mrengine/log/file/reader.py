"""Reads a log that another process may be writing, through its own descriptor, without a lock or any change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType

from mrengine.errors import JobNotFound, LogError
from mrengine.log.file.disk import OsFiles
from mrengine.log.file.recovery import BLOCK_BYTES, Recovery, Source, walk
from mrengine.log.format.codec import HEADER_BYTES, MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, Frame, Header
from mrengine.private import check_private

__all__ = ["LogReader", "open_log"]

_LONGEST_FRAME = OVERHEAD_BYTES + MAX_PAYLOAD_BYTES


class LogReader:
    """Reads frames of a log, given its path or a descriptor (which is dup'ed)."""

    def __init__(
        self,
        path: str | os.PathLike[str] | int,
        *,
        files: OsFiles | None = None,
        job_id: str | None = None,
        header: Header | None = None,
    ) -> None:
        """``header``: the log's header, if it is known. Else it is read, or rebuilt for ``job_id`` if it is damaged.

        LogError: the file is no usable log; reason "io": it cannot be opened.
        """
        self._files = files or OsFiles()
        self._fd = -1
        self._path = None if isinstance(path, int) else os.fspath(path)
        try:
            self._fd = os.dup(path) if isinstance(path, int) else self._files.open(os.fspath(path), os.O_RDONLY)
        except OSError as error:
            raise LogError(f"cannot open {self._path or 'the log'}: {error.strerror}", reason="io") from error
        try:
            if header is not None:
                self._source = Source(self._fd, header, self._files, self._path)
            else:
                self._source = Source.over(self._fd, self._files, self._path, job_id=job_id)
        except BaseException:
            self.close()
            raise

    @property
    def fd(self) -> int:
        """The reader's own descriptor, for pread."""
        return self._fd

    @property
    def header(self) -> Header:
        """The header of the file."""
        return self._source.header

    def size(self) -> int:
        """The current size of the file, whose end may be half written."""
        return self._source.size()

    def frames(self, start: int = HEADER_BYTES, stop: int | None = None) -> Iterator[Frame]:
        """The frames from ``start`` up to ``stop``, a durable offset that the writer announced.

        LogError(reason="damaged"): the frames do not reach ``stop``. Without ``stop`` they end silently at the first
        byte that begins no frame.
        """
        # Nothing beyond ``stop`` is read: a writer whose disk fails cuts it off, and its bytes may be other ones then.
        end = self.size() if stop is None else stop
        frames = self._source.run(start, end)
        yield from frames
        if stop is not None and frames.end != stop:
            message = f"{self._path or 'the log'} is damaged after byte {frames.end}"
            raise LogError(message, reason="damaged", path=self._path, ranges=[(frames.end, stop)])

    def frames_of(self, kinds: frozenset[int], start: int) -> Iterator[Frame]:
        """The frames of some kinds from ``start`` to the present end of the log; others are skipped unchecked."""
        return self._source.of_kinds(start, self.size(), kinds)

    def walk(self, take: Callable[[Iterable[Frame]], object], *, after: Recovery | None = None) -> Recovery:
        """Pass all frames that recovery would keep to ``take``, as ``recovery.walk`` does; the file is not changed."""
        return walk(self._source, take, after=after)

    def raw(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes between two offsets, in blocks; fewer if the file ends before. LogError: the disk failed."""
        for offset in range(start, stop, BLOCK_BYTES):
            yield self._source.read(min(BLOCK_BYTES, stop - offset), offset)

    def frame(self, offset: int) -> Frame:
        """The frame at ``offset``, with its CRC checked. LogError(reason="damaged"): there is none."""
        found = self._source.frame_at(offset, offset + _LONGEST_FRAME) if offset >= HEADER_BYTES else None
        if found is None:
            message = f"no record at byte {offset} of {self._path or 'the log'}"
            raise LogError(message, reason="damaged", path=self._path, ranges=[(offset, offset + 1)])
        return found

    def payload(self, offset: int) -> bytes:
        """The payload of the frame at ``offset``; see ``frame``."""
        return self.frame(offset).payload

    def duplicate(self) -> LogReader:
        """Another reader with its own descriptor, which stays valid after this one is closed or the file is removed."""
        return LogReader(self._fd, files=self._files, header=self._source.header)

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        if self._fd >= 0:
            self._files.close(self._fd)
            self._fd = -1

    # Results keep a reader for as long as their user keeps them, and nobody closes those.
    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def open_log(job_folder: str | os.PathLike[str]) -> LogReader:
    """Open the log in a job folder. JobNotFound: there is none. LogError: it cannot be used.

    ConfigError: the folder is somebody else's, or others may write to it.
    """
    # The folder's name is the job's id, from which a damaged header can be rebuilt.
    folder = Path(os.path.abspath(job_folder))
    check_private(folder)
    path = os.path.join(os.fspath(job_folder), "log")
    try:
        return LogReader(path, job_id=folder.name)
    except LogError as error:
        if not isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            raise
        raise JobNotFound(f"there is no job in {os.fspath(job_folder)}") from None
