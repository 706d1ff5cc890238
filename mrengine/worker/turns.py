"""The turns of one call to one model: replays those that the log holds before anything new is asked.

The log has every answer as the model gave it: refused ones, answers to re-asks, parts. The n-th of a call is found by
``stored_answers.turn_digest(digest, n)``. A later call takes them in the same order and judges them by today's
validator and ``on_truncation``; it asks only for what is then missing. So a validator that was mended costs no call
(docs/decisions/stored-answers.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mrengine.errors import InvalidAnswer, TruncatedAnswer
from mrengine.log.format.codec import MAX_PAYLOAD_BYTES
from mrengine.log.format.task_records import CONTINUATION, FIRST, REASK, CallRecord
from mrengine.providers.call.answers import Ask, answer, is_continuation
from mrengine.records import Completion, Request, cost_sum
from mrengine.worker.stored_answers import completion_of

__all__ = ["LARGEST_TEXT", "Turns", "Unanswered", "turn_of"]

# In characters, of the answer in a CALL record: each takes at most four bytes of UTF-8, and there are other fields.
LARGEST_TEXT = MAX_PAYLOAD_BYTES // 4 - 4096


class Unanswered(Exception):
    """The log does not hold all the answers that a call needs, and nobody may be asked."""


class _LeftBehind(Exception):
    """The stored answers after a cut one do not continue it: the call began again there."""


def turn_of(request: Request) -> int:
    """The kind of turn that a request asks for, as CALL records store it."""
    if not request.turns:
        return FIRST
    return CONTINUATION if is_continuation(request) else REASK


class Turns:
    """Makes a whole and valid answer of a call's stored answers and, where they do not suffice, of new ones.

    ``on_answer`` is given each answer's text. ``cost_usd``: the cost of the stored answers in the returned one.
    """

    def __init__(
        self, stored: Sequence[CallRecord], on_answer: Callable[[str], None], *, earlier: int | None = None
    ) -> None:
        """``earlier``: how many of the answers are of earlier runs; None: all."""
        # A batch has brought the others in this run, while the task was parked: they count as asked for.
        self._stored, self._on_answer = stored, on_answer
        self._earlier = len(stored) if earlier is None else earlier
        self._next = 0
        self.cost_usd: float | None = 0.0

    def answer(self, request: Request, *, live: Ask | None, response_model: Any, on_truncation: str) -> Completion:
        """A whole and valid answer. ``live`` asks for what the log does not have; without it, Unanswered is raised.

        InvalidAnswer, TruncatedAnswer: as for a call without stored answers, and only after something was asked.
        """
        # Stored answers that are no good today are left behind, and the call begins again with those after them: a
        # failure that cost no call is not the end.
        while True:
            bought = False
            self.cost_usd = 0.0

            def ask(request: Request) -> Completion:
                nonlocal bought
                stored = self._take(turn_of(request))
                if stored is not None:
                    bought |= self._next > self._earlier
                    return stored
                if live is None:
                    raise Unanswered
                bought = True
                return live(request)

            try:
                return answer(ask, request, response_model=response_model, on_truncation=on_truncation)
            except _LeftBehind:
                continue
            except (InvalidAnswer, TruncatedAnswer):
                if bought:
                    raise

    def _take(self, turn: int) -> Completion | None:
        """The next stored answer that fits a turn; None: there is none. A continuation fits only the part before it."""
        # Only the last answer of the log is continued: a part that is bought for an earlier one would stand behind the
        # later ones, where no run would find it.
        while self._next < len(self._stored):
            record = self._stored[self._next]
            if turn == CONTINUATION and record.turn != CONTINUATION:
                raise _LeftBehind
            self._next += 1
            if (record.turn == CONTINUATION) == (turn == CONTINUATION):
                self._on_answer(record.text)
                self.cost_usd = cost_sum(self.cost_usd, record.cost_usd)
                return completion_of(record)
        return None
