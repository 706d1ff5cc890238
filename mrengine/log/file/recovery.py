"""The recovery rules of docs/log-format.md: which bytes are frames, which are damage, where a log ends. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    decode_header,
    is_intact,
)

__all__ = ["Recovery", "Source", "walk"]

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

    def run(self, start: int, stop: int) -> Iterator[Frame]:
        """The valid frames from ``start`` on, up to ``stop`` or the first byte that begins none."""
        prefix, seed = self.prefix, self.seed
        while start < stop:
            want = min(BLOCK_BYTES, stop - start)
            block = self.read(want, start)
            at = 0
            while True:
                found = decode_frame(block, at, start + at, prefix, seed)
                if isinstance(found, int):
                    break
                yield found
                at += OVERHEAD_BYTES + len(found.payload)
            # A frame that goes over the end of the block begins the next one. What is longer than a block, or may be
            # cut off by the file's end, is read by itself.
            if found == 0 or at == 0 or len(block) < want:
                whole = self.frame_at(start + at, stop) if found else None
                if whole is None:
                    return
                yield whole
                at += OVERHEAD_BYTES + len(whole.payload)
            start += at

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


def walk(
    source: Source, visit: Callable[[Frame], object] = lambda frame: None, *, after: Recovery | None = None
) -> Recovery:
    """Pass every frame of the log, in order, to ``visit``; return where the log ends and what is damaged.

    ``after``: the result of an earlier walk, to go on from its end.
    """
    struck = ((0, HEADER_BYTES),) if source.rescued else ()
    size, before = source.size(), after or Recovery(HEADER_BYTES, damage=struck)
    position, watermark, surveyed = before.end, before.watermark, False
    damage = list(before.damage)
    while True:
        for frame in source.run(position, size):
            visit(frame)
            offset, _, payload, mark = frame
            position = offset + OVERHEAD_BYTES + len(payload)
            if mark > watermark:
                watermark = mark
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
        for frame in source.run(position, stop):
            highest = max(highest, frame.watermark)
            position = frame.end
        following = source.resync(position + 1, stop) if position < stop else None
        if following is None:
            return highest
        position = following


def _read(files: OsFiles, fd: int, count: int, offset: int, path: str | None) -> bytes:
    try:
        return files.pread(fd, count, offset)
    except OSError as error:
        raise LogError(f"cannot read {path or 'the log'}: {error.strerror}", reason="io", path=path) from error
