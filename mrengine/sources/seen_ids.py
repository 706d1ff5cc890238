"""Finds documents of a job that have the same id, with at most 16 bytes of memory for each of a million."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import Any

__all__ = ["SeenIds"]

EXACT = 50_000  # ids that are kept as they are; with more, 8 bytes of a digest of each
_LEAST = 8192  # new digests that are worth a sort


class SeenIds:
    """Ids with their places. Among many, a repeated one is found some thousands later, or at the end.

    Digests are merged into a sorted array in blocks that grow with it, so that a million ids take few sorts.
    """

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._digests = array("Q")  # of all ids, by their places
        self._sorted: Any = None  # those that were compared; None while ids are kept as they are

    def add(self, name: str) -> tuple[int, int] | None:
        """Add an id. Returns the places of two documents that have the same one, if that is known now."""
        if self._sorted is None:
            place = len(self._first)
            earlier = self._first.setdefault(name, place)
            if earlier != place:
                return earlier, place
            if len(self._first) == EXACT:
                self._start_digests()
            return None
        self._digests.append(_digest(name))
        waiting = len(self._digests) - len(self._sorted)
        return self.end() if waiting >= max(_LEAST, len(self._sorted) // 8) else None

    def _start_digests(self) -> None:
        import numpy  # only for jobs of so many documents

        self._digests.extend(map(_digest, self._first))
        self._first = {}
        self._sorted = numpy.sort(numpy.array(self._digests, numpy.uint64))

    def end(self) -> tuple[int, int] | None:
        """Compare the ids that were not compared yet; returns as ``add``."""
        if self._sorted is None or len(self._sorted) == len(self._digests):
            return None
        import numpy

        new = numpy.array(self._digests[len(self._sorted) :], numpy.uint64)
        # The stable sort is a timsort: it takes the sorted part as one run.
        self._sorted = merged = numpy.sort(numpy.concatenate((self._sorted, new)), kind="stable")
        twice = merged[1:][merged[1:] == merged[:-1]]
        if not len(twice):
            return None
        places = [place for place, digest in enumerate(self._digests) if digest == int(twice[0])]
        return places[0], places[1]


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
