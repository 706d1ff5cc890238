"""Decides when a model is to be given up: one chunk refused with "wrong key" does not prove the key wrong.

Gateways answer 401 or 404 now and then, and a firewall 403 to what one text holds. So a model ends when it has never
answered, or when several different chunks in a row are told the same.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

__all__ = ["Doubts"]

IN_A_ROW = 3  # chunks that are told so, with no answer in between
TRIES = 3  # of one chunk, where others are answered meanwhile

Judgement = Literal["model", "chunk", "again"]


class Doubts:
    """What the models of one round were refused for, by task."""

    def __init__(self) -> None:
        self._answered: set[int] = set()
        self._row: dict[int, set[int]] = defaultdict(set)
        self._tries: dict[int, int] = defaultdict(int)

    def answered(self, model: int, key: int) -> None:
        """A task has its result: the model works."""
        self._answered.add(model)
        self._row.pop(model, None)
        self._tries.pop(key, None)

    def refused(self, model: int, key: int, *, others: bool) -> Judgement:
        """What a doubtful refusal ends. ``others``: calls of other chunks to this model are under way, and will say
        more.
        """
        self._row[model].add(key)
        self._tries[key] += 1
        if len(self._row[model]) >= IN_A_ROW:
            return "model"
        if model in self._answered:
            return "chunk" if self._tries[key] >= TRIES else "again"
        return "again" if others and self._tries[key] < TRIES else "model"
