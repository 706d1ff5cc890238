"""Finds the stored answer of an identical call: digest → offset of its CALL, in memory that forks share.

The index is an open-addressing table of (first 8 bytes of the digest, offset) in an anonymous shared mapping. Only the
supervisor adds to it, before and after the fork; workers look up without a lock.
"""

from __future__ import annotations

import mmap

from mrengine.log.file.reader import LogReader
from mrengine.log.format.codec import CALL
from mrengine.log.format.task_records import digest_in, is_reusable
from mrengine.log.view.call_totals import CallTotals

__all__ = ["CallIndex"]

_LEAST_SLOTS = 1 << 16


class CallIndex:
    """A hash table of CALL offsets, 16 bytes a slot."""

    def __init__(self, expected: int = 0) -> None:
        """``expected``: how many answers there will be. Beyond the capacity, ``add`` returns False."""
        # At most three quarters are used, as probing gets slow beyond. Pages that nobody touches cost no memory. A
        # mapping, and not sorted arrays: a retry in the same run must find what the attempt before it has bought.
        slots = _LEAST_SLOTS
        while slots * 3 < expected * 4:
            slots *= 2
        self._mask = slots - 1
        self._limit = slots * 3 // 4
        self._count = 0
        self._map = mmap.mmap(-1, slots * 16)
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def build(cls, call_totals: CallTotals, *, expected: int = 0) -> CallIndex:
        """An index of the answers of a replay, with room for ``expected`` more."""
        index = cls(len(call_totals.offsets) + expected)
        index.refill(call_totals, expected=expected)
        return index

    def refill(self, call_totals: CallTotals, *, expected: int = 0) -> bool:
        """Replace the content by the answers of a replay, while nobody looks up. False: there is no room for them."""
        if len(call_totals.offsets) + expected > self._limit:
            return False
        if self._count:  # a fresh mapping is zero already, and writing to it would take its memory
            self._map[:] = bytes(len(self._map))
            self._count = 0
        for prefix, offset in zip(call_totals.prefixes, call_totals.offsets, strict=True):
            self._place(prefix, offset)
        return True

    def __len__(self) -> int:
        """The number of answers that this process added. A forked child finds later ones, but does not count them."""
        return self._count

    def add(self, digest: bytes, offset: int) -> bool:
        """Add a durable CALL; the newest of a digest counts. False: the table is full, the call will be repeated."""
        return self._place(int.from_bytes(digest[:8], "little"), offset)

    def add_call(self, payload: bytes, offset: int) -> None:
        """Add a durable CALL record, if it may answer another call."""
        if is_reusable(payload):
            self.add(digest_in(payload), offset)

    def lookup(self, digest: bytes, reader: LogReader) -> int | None:
        """The offset of the CALL with this digest, checked against the record. LogError: it cannot be read."""
        offset = self._find(int.from_bytes(digest[:8], "little"))
        if offset is None:
            return None
        frame = reader.frame(offset)
        # Two digests may begin with the same eight bytes. The table has the newer one; the other call is made again.
        return offset if frame.kind == CALL and digest_in(frame.payload) == digest else None

    def close(self) -> None:
        """Free the memory; idempotent."""
        self._words.release()
        self._map.close()

    def _find(self, prefix: int) -> int | None:
        words, mask = self._words, self._mask
        prefix = prefix or 1
        slot = prefix & mask
        while known := words[2 * slot]:
            if known == prefix:
                return words[2 * slot + 1]
            slot = (slot + 1) & mask
        return None

    def _place(self, prefix: int, offset: int) -> bool:
        words, mask = self._words, self._mask
        prefix = prefix or 1  # 0 marks an empty slot
        slot = prefix & mask
        while known := words[2 * slot]:
            if known == prefix:
                words[2 * slot + 1] = offset
                return True
            slot = (slot + 1) & mask
        if self._count >= self._limit:
            return False
        # The prefix last: workers read without a lock, and must not find an entry that has no offset yet.
        words[2 * slot + 1] = offset
        words[2 * slot] = prefix
        self._count += 1
        return True
