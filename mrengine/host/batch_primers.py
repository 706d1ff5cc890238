"""Fills prompt caches for batches: where it pays, one call goes first, directly, and the batch reads its prefix.

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
HITS = 0.8  # the share of a batch's requests that is assumed to read the prefix: vendors promise none
MARGIN = 2.0  # how many times the saving must exceed what the first call costs in addition

Prefix = tuple[str, str]  # model, digest
Open = list[tuple[bytes, Wanted]]


class Primers:
    """Chooses the calls that write a prefix into a cache; the log shows what is cached, by the usage of its answers."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._tried: dict[Prefix, float] = {}
        self.now: frozenset[bytes] = frozenset()  # digests that the next play asks directly

    def choose(self, ledger: BatchLedger, wanted: Open, allowance: Allowance) -> bool:
        """Choose the calls that go first; True: play the round again for them. ``wanted``: what would be sent."""
        first_calls, now = [], time.time()
        for prefix, group in _groups(wanted).items():
            model = self._models[prefix[0]]
            # A first call that cached nothing, or was refused, is not in ``warmed``; ``_tried`` keeps it from being
            # made again and again.
            warm = max(self._tried.get(prefix, 0.0), ledger.warmed.get(prefix, 0.0)) > now - WARM_S
            if not warm and pays(model, [one for _, one in group]) and self._fits(group, allowance):
                self._tried[prefix] = now
                first_calls.append(group[0][0])
        self.now = frozenset(first_calls)
        return bool(first_calls)

    def is_warm(self, ledger: BatchLedger, wanted: Wanted) -> bool:
        """Whether a request's prefix is cached, so that a mark lets it be read."""
        return ledger.warmed.get((wanted.model, wanted.prefix[0]), 0.0) > time.time() - WARM_S

    def _fits(self, group: Open, allowance: Allowance) -> bool:
        """Whether the budget has room for the first call beside the whole batch."""
        # Otherwise it could push a batch over a budget that the batch alone would have kept.
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
    # What each later request saves; what the first call costs more than in the batch: the write, and all the rest.
    each = factor * prefix * (price.input - HITS * read - (1 - HITS) * written)
    beside = max(0, first.tokens - prefix) * price.input + first.max_tokens * price.output
    extra = prefix * (written - factor * price.input) + (1 - factor) * beside
    return each * (len(group) - 1) > MARGIN * extra


def _groups(wanted: Open) -> dict[Prefix, Open]:
    groups: dict[Prefix, Open] = {}
    for digest, one in wanted:
        if one.prefix[0]:
            groups.setdefault((one.model, one.prefix[0]), []).append((digest, one))
    return groups
