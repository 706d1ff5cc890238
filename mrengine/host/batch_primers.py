"""Prompt caches in batches: where it pays, one call goes first, directly, and the batch reads what it has written.

Requests of a batch run side by side, and a cold fan-out reads nothing: marks alone would have many of them pay for the
same write. Only where a vendor wants marks is there anything to do; the arithmetic is in docs/decisions/batches.md.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from mrengine.host.batch_budget import Allowance, bound_of
from mrengine.log.view.batch_ledger import BatchLedger, Wanted
from mrengine.providers.models.model import Model

__all__ = ["Primers", "pays"]

WARM_S = 2700.0  # a prefix is kept for an hour from its last read on; its batch has a quarter of that to begin
HITS = 0.8  # of the requests of a batch that read a prefix, at least: vendors promise none
MARGIN = 2.0  # by how much the saving is above what the first call costs

Prefix = tuple[str, str]  # model, digest
Open = list[tuple[bytes, Wanted]]


class Primers:
    """Which call is to write a prefix into a cache. What is there the log tells, by the usage of its answers."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._tried: dict[Prefix, float] = {}
        self.now: frozenset[bytes] = frozenset()  # digests that the next play asks directly

    def choose(self, ledger: BatchLedger, wanted: Open, allowance: Allowance) -> bool:
        """Whether the round is to be played again, for a call that goes first. ``wanted``: what would be sent."""
        found, now = [], time.time()
        for prefix, group in _groups(wanted).items():
            model = self._models[prefix[0]]
            known = max(self._tried.get(prefix, 0.0), ledger.warmed.get(prefix, 0.0)) > now - WARM_S
            if not known and pays(model, [one for _, one in group]) and self._fits(group, allowance):
                self._tried[prefix] = now
                found.append(group[0][0])
        self.now = frozenset(found)
        return bool(found)

    def is_warm(self, ledger: BatchLedger, wanted: Wanted) -> bool:
        """Whether a request is to be marked."""
        return ledger.warmed.get((wanted.model, wanted.prefix[0]), 0.0) > time.time() - WARM_S

    def _fits(self, group: Open, allowance: Allowance) -> bool:
        """A budget that the batch alone would keep is not spent on the first call."""
        bounds = [bound_of(one, self._models) for _, one in group]
        direct = bound_of(group[0][1], self._models, batch=False)
        left = allowance.left()
        return all(sum(bound[at] for bound in bounds) + direct[at] <= left[at] for at in (0, 1))


def pays(model: Model, group: Collection[Wanted]) -> bool:
    """Whether a call that goes first is cheaper than a batch in which each request has its prefix at the full price."""
    price = model.price
    if price is None or model.shape != "anthropic" or len(group) < 2:
        return False
    first, factor = next(iter(group)), price.batch_factor
    prefix, price = first.prefix[1], price.at(first.tokens)
    read, _, written = price.cache_rates
    each = factor * prefix * (price.input - HITS * read - (1 - HITS) * written)
    beside = max(0, first.tokens - prefix) * price.input + first.max_tokens * price.output
    extra = prefix * (written - factor * price.input) + (1 - factor) * beside
    return each * (len(group) - 1) > MARGIN * extra


def _groups(wanted: Open) -> dict[Prefix, Open]:
    found: dict[Prefix, Open] = {}
    for digest, one in wanted:
        if one.prefix[0]:
            found.setdefault((one.model, one.prefix[0]), []).append((digest, one))
    return found
