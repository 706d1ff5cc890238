"""The recovery rules of docs/log-format.md: which bytes are frames, which are damage, where a log ends. Only reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mrengine.errors import LogError
from mrengine.log.file.disk import OsFiles
from mrengine.log.file.header_rescue import rescued_header
from mrengine.log.format.codec import (
    FRAME_HEAD,
    HEADER_BYTES,
    OVERHEAD_BYTES,
    Frame,
    Header,
    decode_frame,
    decode_frames,
    decode_header,
    is_intact,
)

__all__ = ["Recovery", "Run", "Source", "drain", "walk"]

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Recovery:
    """The outcome of a walk over a log. ``end``: where the log ends; ``torn``: bytes dropped after it.

    ``damage``: ranges of announced bytes that are lost. ``watermark``: everything below this offset was synced once.
    """

    end: int
    torn: int = 0
    watermark: int = HEADER_BYTES
    damage: tuple[tuple[int, int], ...] = field(default=())


@dataclass(slots=True)
class Source:
    """A log to read from: a descriptor, its header, and the file system it is read through."""

    fd: int
    header: Header
    files: OsFiles
    path: str | None = None
    rescued: bool = False  # the header in the file is damaged: this one was rebuilt from the frames
    prefix: bytes = field(init=False)
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        self.prefix, self.seed = self.header.prefix, self.header.seed

    @classmethod
    def over(cls, fd: int, files: OsFiles, path: str | None = None, *, job_id: str | None = None) -> Source:
        """Read the header; a damaged one is rebuilt for ``job_id``. LogError: it cannot be read or used."""
        data = _read(files, fd, HEADER_BYTES, 0, path)
        try:
            return cls(fd, decode_header(data, path=path), files, path)
        except LogError:
            if job_id is None or is_intact(data):
                raise
            rescued = rescued_header(lambda n, at: _read(files, fd, n, at, path), files.size(fd), job_id)
            if rescued is None:
                raise
            return cls(fd, rescued, files, path, rescued=True)

    def size(self) -> int:
        """The current size of the file."""
        return self.files.size(self.fd)

    def read(self, count: int, offset: int) -> bytes:
        """Up to ``count`` bytes. LogError(reason="io"): the disk failed."""
        return _read(self.files, self.fd, count, offset, self.path)

    def frame_at(self, offset: int, stop: int) -> Frame | None:
        """The valid frame that begins at ``offset`` and ends at or before ``stop``."""
        # Most frames are short: only a longer one costs a second read.
        found = decode_frame(self.read(min(4096, stop - offset), offset), 0, offset, self.prefix, self.seed)
        if isinstance(found, int) and 0 < found <= stop - offset:
            found = decode_frame(self.read(found, offset), 0, offset, self.prefix, self.seed)
        return None if isinstance(found, int) else found

    def run(self, start: int, stop: int) -> Run:
        """The valid frames from ``start`` on, up to ``stop`` or the first byte that begins none."""
        return Run(self, start, stop)

    def of_kinds(self, start: int, stop: int, kinds: frozenset[int]) -> Iterator[Frame]:
        """The valid frames of some kinds, up to the first bytes that begin no frame.

        Frames of other kinds are skipped by their length, without a check of their CRC.
        """
        # For workers, which want a few frames of many from a log that a supervisor has just opened and repaired.
        prefix, head = self.prefix, FRAME_HEAD.unpack_from
        while start + OVERHEAD_BYTES <= stop:
            block = self.read(min(BLOCK_BYTES, stop - start), start)
            at, last = 0, len(block) - OVERHEAD_BYTES
            if last < 0:
                return
            while at <= last:
                mark, length, kind = head(block, at)
                if mark != prefix:
                    return
                if kind in kinds:
                    found = self.frame_at(start + at, stop)
                    if found is None:
                        return
                    yield found
                at += OVERHEAD_BYTES + length
            start += at

    def resync(self, start: int, stop: int) -> int | None:
        """The first offset at or after ``start`` where a valid frame begins."""
        while start < stop:
            block = self.read(min(BLOCK_BYTES, stop - start), start)
            at = block.find(self.prefix)
            while at >= 0:
                if self.frame_at(start + at, stop) is not None:
                    return start + at
                at = block.find(self.prefix, at + 1)
            if start + len(block) >= stop or len(block) < len(self.prefix):
                return None
            start += len(block) - len(self.prefix) + 1  # blocks overlap: a prefix may begin at the end of one
        return None


class Run:
    """Consecutive frames of a log, to be iterated over once. Then ``end`` is where they end, and ``watermark`` the
    highest among them.
    """

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self._source, self._stop = source, stop
        self.end, self.watermark = start, HEADER_BYTES

    def __iter__(self) -> Iterator[Frame]:
        source, stop = self._source, self._stop
        prefix, seed = source.prefix, source.seed
        while self.end < stop:
            want = min(BLOCK_BYTES, stop - self.end)
            block = source.read(want, self.end)
            length, needed, highest = yield from decode_frames(block, self.end, prefix, seed)
            self.end, self.watermark = self.end + length, max(self.watermark, highest)
            # A frame that goes over the end of the block begins the next one. What is longer than a block, or may be
            # cut off by the file's end, is read by itself.
            if needed == 0 or length == 0 or len(block) < want:
                whole = source.frame_at(self.end, stop) if needed else None
                if whole is None:
                    return
                yield whole
                self.end, self.watermark = whole.end, max(self.watermark, whole.watermark)


def drain(items: Iterable[object]) -> None:
    """Take all items and do nothing with them."""
    deque(items, maxlen=0)


def walk(
    source: Source, take: Callable[[Iterable[Frame]], object] = drain, *, after: Recovery | None = None
) -> Recovery:
    """Pass every frame of the log, in order, to ``take``; return where the log ends and what is damaged.

    ``take``: is given the frames up to the next gap at a time, and must iterate over all of them. ``after``: the result
    of an earlier walk, to go on from its end.
    """
    struck = ((0, HEADER_BYTES),) if source.rescued else ()
    size, before = source.size(), after or Recovery(HEADER_BYTES, damage=struck)
    position, watermark, surveyed = before.end, before.watermark, False
    damage = list(before.damage)
    while True:
        frames = source.run(position, size)
        take(frames)
        position, watermark = frames.end, max(watermark, frames.watermark)
        following = source.resync(position + 1, size) if position < size else None
        # The watermarks behind a gap, however far behind, decide whether it is damage or the torn tail. So a log with a
        # gap is read twice from there on; once is enough, as this survey covers all later gaps.
        if following is not None and not surveyed:
            watermark, surveyed = max(watermark, _highest_watermark(source, following, size)), True
        # Nothing from here on was ever synced, and so nothing was announced. Whole frames go, too: they may refer to
        # others that are lost.
        if following is None or watermark <= position:
            return Recovery(position, max(0, size - position), watermark, tuple(damage))
        damage.append((position, following))
        position = following


def _highest_watermark(source: Source, start: int, stop: int) -> int:
    highest, position = HEADER_BYTES, start
    while True:
        frames = source.run(position, stop)
        drain(frames)
        highest = max(highest, frames.watermark)
        following = source.resync(frames.end + 1, stop) if frames.end < stop else None
        if following is None:
            return highest
        position = following


def _read(files: OsFiles, fd: int, count: int, offset: int, path: str | None) -> bytes:
    try:
        return files.pread(fd, count, offset)
    except OSError as error:
        raise LogError(f"cannot read {path or 'the log'}: {error.strerror}", reason="io", path=path) from error
