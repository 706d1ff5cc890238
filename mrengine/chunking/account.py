"""What part of their chunks a document may leave empty so that units stay whole, and what is left of it."""

from __future__ import annotations

from math import log

__all__ = ["Account"]

_FEW, _MANY = 2000, 6000  # tokens: up to the one and from the other on, what may stay empty is the same
_CREDIT = (0.5, 0.19)  # of a chunk, at the beginning: a short document's units stay whole
_FIRST = (0.17, 0.038)  # of each chunk of a short document
_SPARE = (0.195, 0.0475)  # of each chunk behind: what the credit took is made up for by then
_SHORT = 20  # chunks
_MOST = 1.0  # of a chunk is saved


class Account:
    """Of one document. A dozen chunks or more leave a fifth empty at most; those of 6000 tokens, a twentieth."""

    def __init__(self, target: int, credit: float = 1.0) -> None:
        """``credit``: the part of it that is given."""
        self.left = credit * _between(_CREDIT, target)  # of a chunk
        self.spare = _between(_SPARE, target)  # of each chunk, in the long run
        self._first = _between(_FIRST, target)
        self._chunks = 0

    def spend(self, share: float) -> None:
        """Note that this share of a chunk stayed empty."""
        self._chunks += 1
        gained = self._first if self._chunks <= _SHORT else self.spare
        self.left = min(_MOST, self.left + gained - share)


def _between(ends: tuple[float, float], target: int) -> float:
    """The first for a small target, the second for a large one; between them by their ratio."""
    few, many = ends
    place = log(min(max(target, _FEW), _MANY) / _FEW) / log(_MANY / _FEW)
    return few + (many - few) * place
