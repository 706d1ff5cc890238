"""How the tests of the record kinds judge cuts: by texts that know their units."""

from __future__ import annotations

import random
from functools import lru_cache

from bench.chunking_judge import judge
from bench.chunking_records import RECORDS
from mrengine.chunking import safe_chunk
from tests.chunking.texts import assert_promises, recount

_ALLOWED = {200: 0.08, 512: 0.02, 2000: 0.01}
_FULL = {200: 0.75, 512: 0.8, 2000: 0.8}
_count = lru_cache(maxsize=None)(recount)


def assert_cut_well(name: str, kind: str, *, target: int = 512, size: int = 16_000, seeds: int = 3) -> None:
    """Promises, kind, mean fill; and hardly a cut in a unit of at most a quarter of the limit."""
    cuts = wrong = 0
    fills: list[float] = []
    for seed in range(seeds):
        made = RECORDS[name](random.Random(seed), size)
        chunks = list(safe_chunk(made.text, target_tokens=target, overlap_tokens=0))
        assert_promises(made.text, chunks, target)
        assert {chunk.kind for chunk in chunks} == {kind}
        places = [chunk.start for chunk in chunks[1:]]
        cuts += len(places)
        wrong += len(judge(made, places, target, _count, quarter=True))
        fills += [chunk.tokens / target for chunk in chunks[:-1]]
    assert wrong <= _ALLOWED[target] * cuts
    assert sum(fills) / len(fills) >= _FULL[target]


def assert_same_in_pieces(name: str, *, target: int = 300) -> None:
    """A document of several windows is cut alike, whatever pieces it comes in."""
    text = RECORDS[name](random.Random(1), 300_000).text
    whole = list(safe_chunk(text, target_tokens=target, overlap_tokens=30))
    pieces = [text[place : place + 7001] for place in range(0, len(text), 7001)]
    assert list(safe_chunk(iter(pieces), target_tokens=target, overlap_tokens=30)) == whole
    assert_promises(text, whole, target)


def assert_survives(text: str, kind: str) -> None:
    """Hostile text, taken for this kind: the promises hold."""
    chunks = list(safe_chunk(text, target_tokens=60, overlap_tokens=10, splitter=kind))
    assert_promises(text, chunks, 60)
