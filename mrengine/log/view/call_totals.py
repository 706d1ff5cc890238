"""Sums up the calls of a job: answers that can be found again, tokens and money spent, the use of the last minute."""

from __future__ import annotations

import math
import struct
from array import array
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from mrengine.errors import LogError
from mrengine.log.format.codec import CALL, INTENT, Frame
from mrengine.log.format.packing import bad_record, key
from mrengine.log.format.task_records import CALL_FIELDS, INTENT_FIELDS, TRUE
from mrengine.records import Usage

__all__ = ["CallTotals", "Spent"]

RECENT_S = 60.0
_SLACK_S = 60.0  # the clocks of workers differ, and calls arrive out of order
_DIGEST_PREFIX = struct.Struct("<Q")
_COUNTS = [name for name in Usage.__dataclass_fields__ if name != "estimated"]  # in the order of the format


@dataclass(frozen=True, slots=True)
class Spent:
    """The use of one model. ``calls``: those that were answered or settled; ``usage``: their sum.

    ``cost_usd``: None if the price of any call was unknown. ``unanswered``: calls that may have been billed;
    ``bound``: an upper bound of their usage. ``longest``: an upper bound of the tokens of the longest prompt.
    """

    # The longest prompt, because some models have a higher price above a length: a sum of calls is priced by it.

    calls: int = 0
    usage: Usage = Usage()  # noqa: RUF009  (frozen: it can be shared)
    cost_usd: float | None = 0.0
    unanswered: int = 0
    bound: Usage = Usage()  # noqa: RUF009
    longest: int = 0


class _Intent(NamedTuple):
    """A call without an answer. ``offset``: that of its INTENT; ``task``: (round, chunk_id, model_index)."""

    at: float
    model: str
    input_tokens: int
    output_tokens: int
    bound_tokens: int
    offset: int
    task: tuple[int, int, int]


class _Total:
    """The sums of one model's calls; ``counts`` in the order of ``Usage``."""

    __slots__ = ("calls", "cost", "counts", "estimated", "longest")

    def __init__(self) -> None:
        self.calls, self.cost, self.estimated, self.longest = 0, 0.0, False, 0
        self.counts = [0] * 6

    @property
    def usage(self) -> Usage:
        return Usage(**dict(zip(_COUNTS, self.counts, strict=True)), estimated=self.estimated)

    def add(self, counts: list[int], cost: float, estimated: bool) -> None:
        self.calls += 1
        self.cost += cost  # NaN, the cost of an unknown price, makes the sum unknown for good
        self.longest = max(self.longest, counts[0])
        self.estimated |= estimated
        self.counts = [one + other for one, other in zip(self.counts, counts, strict=True)]


class CallTotals:
    """The calls and intents of all epochs, in a few numbers each, without answers."""

    def __init__(self) -> None:
        self.prefixes = array("Q")  # of the digests of reusable CALLs, in the order of the log …
        self.offsets = array("Q")  # … and their offsets
        self.latest = 0.0
        self._names: dict[bytes, str] = {}
        self._totals: dict[str, _Total] = {}
        self._open: dict[bytes, list[_Intent]] = {}
        self._recent: deque[tuple[float, str, int, int]] = deque()

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> CallTotals:
        """The totals of the calls and intents among these records."""
        totals = cls()
        for frame in frames:
            with suppress(LogError):  # its CRC is right but its content makes no sense: skip it, as ``Replay`` does
                if frame.kind == CALL:
                    totals.call(frame)
                elif frame.kind == INTENT:
                    totals.intent(frame)
        return totals

    def intent(self, frame: Frame) -> None:
        """Count an INTENT: a call that is about to be made. LogError: the record is too short."""
        try:
            digest, at, inputs, outputs, bound = INTENT_FIELDS.unpack_from(frame.payload)
            model = self._name(frame.payload, INTENT_FIELDS.size)
        except (struct.error, IndexError, UnicodeDecodeError):
            raise bad_record("INTENT") from None
        mine = _Intent(at, model, inputs, outputs, bound, frame.offset, key(frame.payload))
        self._open.setdefault(digest, []).append(mine)
        self.latest = max(self.latest, at)

    def call(self, frame: Frame) -> None:
        """Count a CALL: a call that was answered or settled. LogError: the record is too short."""
        try:
            digest, at, *counts, cost, reusable, estimated = CALL_FIELDS.unpack_from(frame.payload)
            model = self._name(frame.payload, CALL_FIELDS.size)
        except (struct.error, IndexError, UnicodeDecodeError):
            raise bad_record("CALL") from None
        # Identical calls have one digest, and their intents are alike: the answer settles the newest.
        if digest in self._open:
            self._open[digest].pop()
            if not self._open[digest]:
                del self._open[digest]
        if reusable == TRUE:
            self.prefixes.append(_DIGEST_PREFIX.unpack_from(digest)[0])
            self.offsets.append(frame.offset)
        total = self._totals.get(model)
        if total is None:
            total = self._totals[model] = _Total()
        total.add(counts, cost, estimated == TRUE)
        self._remember(at, model, counts[0], counts[1])

    def spent(self) -> dict[str, Spent]:
        """The use of each model."""
        found: dict[str, Spent] = {}
        for model, total in self._totals.items():
            usage = total.usage
            cost = None if math.isnan(total.cost) else total.cost
            found[model] = Spent(total.calls, usage, cost, longest=total.longest)
        for intent in self._unanswered():
            known = found.get(intent.model, Spent())
            bound = known.bound + Usage(intent.bound_tokens, intent.output_tokens)
            longest = max(known.longest, intent.bound_tokens)
            found[intent.model] = replace(known, unanswered=known.unanswered + 1, bound=bound, longest=longest)
        return found

    def unanswered(self) -> int:
        """The number of calls that may have been billed and have no answer in the log."""
        return sum(map(len, self._open.values()))

    def open_since(self, offset: int) -> dict[tuple[int, int, int], int]:
        """Offsets of the INTENTs at ``offset`` or later without an answer, by task: (round, chunk_id, model_index)."""
        since = sorted((intent.offset, intent.task) for intent in self._unanswered() if intent.offset >= offset)
        return {task: at for at, task in since}

    def recent_usage(self, *, now: float) -> dict[str, list[tuple[float, int, int, int]]]:
        """{model: [(at, requests, input tokens, output tokens)…]} of the last minute, in order."""
        # Unanswered calls are among them: the provider may have counted them against its limits.
        since = now - RECENT_S
        used: dict[str, list[tuple[float, int, int, int]]] = {}
        unanswered = (intent[:4] for intent in self._unanswered())
        for at, model, inputs, outputs in sorted([*self._recent, *unanswered]):
            if at >= since:
                used.setdefault(model, []).append((at, 1, inputs, outputs))
        return used

    def _unanswered(self) -> list[_Intent]:
        return [intent for intents in self._open.values() for intent in intents]

    def _remember(self, at: float, model: str, inputs: int, outputs: int) -> None:
        recent = self._recent
        recent.append((at, model, inputs, outputs))
        if at > self.latest:
            self.latest = at
        since = self.latest - RECENT_S - _SLACK_S
        while recent[0][0] < since:
            recent.popleft()

    def _name(self, payload: bytes, at: int) -> str:
        """The msgpack string at ``at`` (fixstr or str 8). IndexError: it is incomplete."""
        first = payload[at]
        size, at = (payload[at + 1], at + 2) if first == 0xD9 else (first & 0x1F, at + 1)
        if not (0xA0 <= first < 0xC0 or first == 0xD9) or at + size > len(payload):
            raise IndexError
        raw = payload[at : at + size]
        name = self._names.get(raw)
        if name is None:
            name = self._names[raw] = raw.decode("utf-8", "surrogatepass")
        return name
