"""Windows, output limits and prices of well-known models, from the one data file ``prices.json`` and its date."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from mrengine.records import Price

__all__ = ["DEFAULTS", "Entry", "date", "find", "names"]

DEFAULTS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
"""The models that are taken where none is named: cheap ones that answer without thinking first."""

_FILE = Path(__file__).with_name("prices.json")
_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a model; tokens, and USD per million tokens. ``None``: not known."""

    context_window: int | None
    max_output: int | None
    price: Price | None


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return table


def date() -> str:
    """The day of the figures, as YYYY-MM-DD."""
    return str(_table()["date"])


def names() -> list[str]:
    """All models of the table."""
    return sorted(_table()["models"])


def find(name: str) -> Entry | None:
    """A model by its name or by its dated snapshot's; never by likeness: ``gpt-4o-audio`` is not ``gpt-4o``."""
    models = _table()["models"]
    row = models.get(name) or models.get(_DATED.sub("", name))
    if row is None:
        return None
    price = row.get("price")
    return Entry(row.get("context_window"), row.get("max_output"), _price(name, price) if price else None)


def _price(name: str, row: list[float]) -> Price:
    """Anthropic's prices of cache writes are multiples of the input's: docs/en/build-with-claude/prompt-caching."""
    price = Price(*row)
    if not name.startswith("claude"):
        return price
    return replace(price, cache_write=price.input * 1.25, cache_write_1h=price.input * 2.0)
