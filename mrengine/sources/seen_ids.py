"""Which ids the documents of a job have had: no more than 16 bytes for each of a million."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import Any

__all__ = ["SeenIds"]

EXACT = 50_000  # ids that are kept as they are; of those behind them, 8 bytes of a digest
_LEAST = 8192


class SeenIds:
    """Ids with their places. Of many, the newest are looked at in blocks: a repeated one is found some thousands later,
    and at the end.
    """

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._digests = array("Q")  # of all ids, by their places
        self._sorted: Any = None  # those that were looked at
        self._looked_at = 0

    def add(self, name: str) -> tuple[int, int] | None:
        """An id. The places of two documents that have the same one, if there are such."""
        place = len(self._digests) if self._first_is_full else len(self._first)
        if not self._first_is_full:
            known = self._first.setdefault(name, place)
            if known != place:
                return known, place
            if len(self._first) == EXACT:
                self._digests.extend(map(_digest, self._first))
                self._first_full()
            return None
        self._digests.append(_digest(name))
        waiting = len(self._digests) - self._looked_at
        return self.end() if waiting >= max(_LEAST, self._looked_at // 8) else None

    @property
    def _first_is_full(self) -> bool:
        return self._sorted is not None

    def _first_full(self) -> None:
        import numpy

        self._first = {}
        self._sorted, self._looked_at = numpy.sort(numpy.array(self._digests, numpy.uint64)), len(self._digests)

    def end(self) -> tuple[int, int] | None:
        """Look at those that were not looked at."""
        if not self._first_is_full or self._looked_at == len(self._digests):
            return None
        import numpy

        new = numpy.array(self._digests[self._looked_at :], numpy.uint64)
        merged = numpy.sort(numpy.concatenate((self._sorted, new)), kind="stable")
        self._sorted, self._looked_at = merged, len(self._digests)
        twice = merged[1:][merged[1:] == merged[:-1]]
        if not len(twice):
            return None
        found = [place for place, digest in enumerate(self._digests) if digest == int(twice[0])]
        return found[0], found[1]


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
