"""Ids that come twice are found, however many there are."""

from __future__ import annotations

import pytest

from mrengine.sources import seen_ids
from mrengine.sources.seen_ids import SeenIds


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 40), (2, 30_000), (59, 61), (21_000, 21_001), (7, 59_999)])
def test_the_places_of_two_that_are_the_same(monkeypatch: pytest.MonkeyPatch, first: int, second: int) -> None:
    monkeypatch.setattr(seen_ids, "EXACT", 60)
    seen, found = SeenIds(), []
    for place in range(60_000):
        found += [same for same in [seen.add(f"row {first if place == second else place}")] if same]
        if found:
            break
    assert (found or [seen.end()]) == [(first, second)]


def test_many_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_ids, "EXACT", 60)
    seen = SeenIds()
    assert all(seen.add(f"row {place}") is None for place in range(60_000))
    assert seen.end() is None
