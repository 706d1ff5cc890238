"""What models cost: the table, and what the caller says instead."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner
from mrengine.errors import ConfigError
from mrengine.providers.models import catalog
from mrengine.providers.models.model import resolve_models
from mrengine.records import ModelSpec, Price, Usage

MINE = {
    "date": "2026-11-27",
    "sources": ["a contract"],
    "batch_factor": 0.4,
    "models": {
        "claude-haiku-4-5": {"price": [7.0, 8.0]},
        "mine": {"price": {"input": 1.0, "output": 2.0, "cached": 0.5}, "context_window": 5000},
    },
}


def price(given: Any, **options: Any) -> Price | None:
    (model,) = resolve_models(given, keys=False, **{"env": {}, **options})
    return model.price


def test_every_vendor_writes_into_its_cache_at_its_own_price() -> None:
    """Anthropic's writes cost more, OpenAI's first ones nothing above the input, later ones a quarter more."""
    assert price("claude-opus-4-5") == Price(5.0, 25.0, 0.5, 6.25, 10.0)
    assert price("gpt-4o-mini") == Price(0.15, 0.6, 0.075, 0.15, 0.15)
    assert price("gpt-5.6-sol") == Price(4.0, 20.0, 0.4, 5.0, 5.0, 0.5, 272_000, Price(8.0, 30.0, 0.8, 10.0, 10.0))
    assert price(ModelSpec("m", base_url="http://127.0.0.1:1/v1")) is None


def test_the_callers_prices_go_before_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument or by the environment's file; a spec's own goes before both. What is not said stays known."""
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(MINE))
    assert price("claude-haiku-4-5", prices=file) == Price(7.0, 8.0, batch_factor=0.4)
    assert price("claude-haiku-4-5", env={"MRENGINE_PRICES": str(file)}) == Price(7.0, 8.0, batch_factor=0.4)
    assert price("claude-haiku-4-5", env={"MRENGINE_PRICES": str(file)}, prices={"x": Price(1, 1)}) == Price(
        1.0, 5.0, 0.1, 1.25, 2.0
    )
    mine = ModelSpec("mine", base_url="http://127.0.0.1:1/v1", price=Price(3.0, 4.0))
    assert price(mine, prices=file) == Price(3.0, 4.0)
    (model,) = resolve_models("http://127.0.0.1:1/v1#mine", env={}, prices=file)
    assert (model.price, model.context_window) == (Price(1.0, 2.0, 0.5, batch_factor=0.4), 5000)
    assert catalog.catalog(file).models["claude-haiku-4-5"].context_window == 200_000
    assert (catalog.catalog(file).date, catalog.catalog(file).sources) == ("2026-11-27", ("a contract",))
    monkeypatch.setenv("MRENGINE_PRICES", str(file))
    assert MapReduceRunner(models="http://127.0.0.1:1/v1#mine").models[0].price == model.price
    runner = MapReduceRunner(models="http://127.0.0.1:1/v1#mine", prices={"mine": Price(9.0, 9.0)})
    assert runner.models[0].price == Price(9.0, 9.0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{", "no JSON"),
        ("[]", "is not of the form"),
        ('{"models": {"m": {"price": [1]}}}', "the price of m is"),
        ('{"models": {"m": {"price": [1, -2]}}}', "output of the price of m is -2"),
        ('{"models": {"m": {"price": {"input": 1, "out": 2}}}}', "the price of m is"),
        ('{"models": {"m": {"context_window": "x"}}}', "context_window of m"),
        ('{"models": {"m": {"price": [1, NaN]}}}', "output of the price of m is nan"),
        ('{"models": {"m": {"price": [1, 2], "long_price": [2, 4]}}}', "long_above and long both"),
        (
            '{"models": {"m": {"price": [1, 2], "long_price": [2, 4], "long_above": -5}}}',
            "long_above of",
        ),
        (
            '{"models": {"m": {"price": [1, 2], "long_price": [2, -4], "long_above": 5}}}',
            "of m is -4",
        ),
    ],
)
def test_a_file_that_is_none_is_an_error_that_names_it(tmp_path: Path, wrong: str, told: str) -> None:
    """And so is a price that is none, wherever it is given."""
    file = tmp_path / "mine.json"
    file.write_text(wrong)
    with pytest.raises(ConfigError, match=told):
        price("gpt-4o", prices=file)


@pytest.mark.parametrize("given", [{"m": 1.0}, {"m": Price(-1.0, 1.0)}, 5, "/no/such/file"])
def test_prices_that_are_none(given: Any) -> None:
    """As an argument."""
    with pytest.raises(ConfigError, match="prices: "):
        price("gpt-4o", prices=given)
    if isinstance(given, dict) and isinstance(given["m"], Price):
        with pytest.raises(ConfigError, match="prices: "):
            price(ModelSpec("gpt-4o", price=given["m"]))


def test_long_prompts_cost_what_their_provider_takes() -> None:
    """All of the call, cached parts too, from one token above the limit on; in a batch as well."""
    haiku = price("claude-haiku-5-5")
    assert haiku is not None
    assert haiku.cost(Usage(100_000, 1000)) == pytest.approx(100_000 * 0.1e-6 + 1000 * 0.5e-6)
    long = Usage(100_001, 1000, 90_000, 10_000, 0, 4_000)
    told = (1 * 0.5 + 90_000 * 0.05 + 6_000 * 0.625 + 4_000 * 1.0 + 1000 * 2.5) / 1e6
    assert haiku.cost(long) == pytest.approx(told)
    assert haiku.cost(long, batch=True) == pytest.approx(told / 2)
    assert Price.of(asdict(haiku)) == haiku
    many = Usage(1_000_000, 1000)
    assert haiku.cost(many, longest=50_000) == pytest.approx(haiku.cost(many) / 5)


def test_no_call_costs_more_than_its_bound() -> None:
    """Whatever of it is cached, written, thought or long, and whatever the prices are."""
    rng = random.Random(4)
    for _ in range(3000):
        rates = [rng.choice([0.0, rng.uniform(0, 9)]) for _ in range(10)]
        one = Price(*rates[:5], rng.uniform(0.1, 1), rng.randint(1, 2000), Price(*rates[5:]))
        asked = rng.randint(0, 3000)
        cached = rng.randint(0, asked)
        written = rng.randint(0, asked - cached)
        said = rng.randint(0, 900)
        usage = Usage(asked, said, cached, written, rng.randint(0, said), rng.randint(0, written))
        bound = Usage(asked + rng.randint(0, 500), said + rng.randint(0, 500))
        for batch in (False, True):
            assert one.cost(usage, batch=batch) <= one.most(bound, batch=batch) + 1e-12
