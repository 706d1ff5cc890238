"""Tracks the prefixes in a provider's cache: one call goes first, and the others follow when it has been answered.

Identical calls, of which only one is to be made, wait for each other in the same way.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["WarmPrefixes"]

WARM_S = 240.0  # the caches of all vendors last 5 minutes from the last read on
LEAD_S = 60.0  # how long the others wait for the first call, or for a sign of it
MOST = 4096  # prefixes that are remembered


@dataclass(slots=True)
class _Prefix:
    """``leader``: (worker, number) of the call that goes first; ``since``: when it last asked."""

    leader: tuple[str, int] | None = None
    since: float = 0.0
    warm_until: float = float("-inf")


class WarmPrefixes:
    """The prefixes by model, where each key's lane is one: caches belong to a key. Times are the caller's clock's."""

    # Why: a cache can be read once the answer to the call that wrote it has begun. Calls that start together with that
    # one read nothing and, if writes cost more, each of them pays for one.

    def __init__(self) -> None:
        self._prefixes: dict[tuple[str, str], _Prefix] = {}
        self._leads: dict[tuple[str, int], set[tuple[str, str]]] = {}

    def may_go(self, model: str, prefix: str, call: tuple[str, int], now: float) -> bool:
        """Whether a call may be made: its prefix is warm, or this is the one that goes first."""
        state = self._prefixes.get((model, prefix))
        if state is None:
            state = self._add((model, prefix), now)
        if now < state.warm_until:
            state.warm_until = now + WARM_S  # each read keeps the cache alive
            return True
        if state.leader not in (None, call) and now - state.since < LEAD_S:
            return False
        if state.leader not in (None, call):
            self._forget(state.leader, (model, prefix))
        state.leader, state.since = call, now
        self._leads.setdefault(call, set()).add((model, prefix))
        return True

    def leads(self, model: str, prefix: str, call: tuple[str, int]) -> bool:
        """Whether this call is the one that goes first."""
        state = self._prefixes.get((model, prefix))
        return state is not None and state.leader == call

    def ended(self, call: tuple[str, int], *, answered: bool, now: float) -> None:
        """Record the end of a call. If it was not answered, the next one that asks goes first."""
        for key in self._leads.pop(call, ()):
            state = self._prefixes.get(key)
            if state is not None and state.leader == call:
                state.leader = None
                state.warm_until = now + WARM_S if answered else state.warm_until

    def keep(self, worker: str, numbers: Collection[int], now: float) -> None:
        """End all calls of a worker except ``numbers``, which wait or are open: it has given up the others."""
        for call in [call for call in self._leads if call[0] == worker and call[1] not in numbers]:
            self.ended(call, answered=False, now=now)

    def _forget(self, leader: tuple[str, int] | None, key: tuple[str, str]) -> None:
        if leader is not None and (leads := self._leads.get(leader)) is not None:
            leads.discard(key)
            if not leads:
                del self._leads[leader]

    def _add(self, key: tuple[str, str], now: float) -> _Prefix:
        if len(self._prefixes) >= MOST:
            old = [key for key, state in self._prefixes.items() if state.leader is None and state.warm_until <= now]
            for one in old or list(self._prefixes)[: MOST // 2]:
                self._forget(self._prefixes.pop(one).leader, one)
        self._prefixes[key] = state = _Prefix()
        return state
