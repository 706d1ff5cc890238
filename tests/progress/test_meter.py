"""Tokens, money and the words of the line; what gives way on a narrow terminal."""

from __future__ import annotations

import pytest

from mrengine.progress.meter import Meter, describe
from mrengine.records import Usage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def meter() -> Meter:
    clock = Clock()
    meter = Meter(clock=clock)
    meter.begin(40, 10)
    clock.now = 10.0
    meter.count(done=20, failed=1)
    for _ in range(10):
        meter.spend(Usage(900, 100), 0.01)
    meter.in_flight = 4
    return meter


def test_tokens_and_money_are_those_of_this_run(meter: Meter) -> None:
    assert meter.tokens_per_second == pytest.approx(1_000)
    assert meter.cost_usd == pytest.approx(0.1)
    assert meter.projected_usd == pytest.approx(0.3)  # ten chunks for a tenth of a dollar, twenty are left


def test_an_unknown_price_stays_unknown(meter: Meter) -> None:
    meter.spend(Usage(1, 1), None)
    meter.spend(Usage(1, 1), 0.5)
    assert meter.cost_usd is None
    assert meter.projected_usd is None
    assert "$" not in describe(meter)


def test_the_line_says_all_there_is(meter: Meter) -> None:
    told = "20/40 chunks, 1 failed, 4 in flight, 1.0/s, 1,000 tokens/s, $0.1000 of about $0.3, 0:20 left"
    assert describe(meter) == told


def test_what_is_least_needed_gives_way_first(meter: Meter) -> None:
    whole = describe(meter, "draining")
    shown = [describe(meter, "draining", width=width) for width in range(len(whole), 0, -1)]
    gone = [
        next(n for n, line in enumerate(shown) if word not in line)
        for word in ("tokens", "in flight", "$", "/s,", "draining")
    ]
    assert gone == sorted(gone)
    assert all("20/40 chunks" in line and "left" in line for line in shown)


def test_the_limit_counts_what_the_last_minute_used_of_the_fullest_model() -> None:
    clock = Clock()
    meter = Meter({"a": 10_000, "b": 1_000}, clock=clock)
    meter.begin(4, 0)
    assert meter.limit_used == 0
    for now, model, tokens in ((0.0, "a", 5_000), (30.0, "a", 2_500), (30.0, "b", 100), (30.0, "other", 10**9)):
        clock.now = now
        meter.use(model, tokens)
    assert meter.limit_used == pytest.approx(0.75)
    assert "75% of the limit" in describe(meter)
    clock.now = 61.0
    assert meter.limit_used == pytest.approx(0.25)
    clock.now = 91.0
    assert "limit" not in describe(meter)
    assert Meter(clock=clock).limit_used is None
