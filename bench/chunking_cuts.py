"""Where the chunker cuts, judged by texts that know their units: ``python -m bench.chunking_cuts``.

For each kind of text, 40 variants: the share of the cuts that are wrong (inside a unit that would have fitted into a
chunk, or behind what belongs to what follows), of any unit that fits and of those of at most a quarter of the limit;
and how full the chunks are. ``--tools`` names other chunkers, to stand beside. ``samples``: cuts, wrong ones, those of
a quarter, and fill of each variant. With ``--overlap``, at 6000 tokens with
350 of overlap, also where the overlaps begin.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from bench.chunking import ENCODING, PACKAGES, TOOLS
from bench.chunking_judge import Labelled, judge
from bench.chunking_made import MADE
from bench.chunking_nested import BUNDLES
from bench.chunking_records import RECORDS
from bench.chunking_wild import WILD
from bench.machine import save
from mrengine.chunking import safe_chunk
from mrengine.chunking.tokens import tokenizer

SIZES = {200: 12_000, 512: 24_000, 2000: 60_000, 6000: 150_000}  # characters of a text, by limit
ALL: dict[str, Callable[[random.Random, int], Labelled]] = {**MADE, **RECORDS, **WILD}
_EVERY = {**ALL, **BUNDLES}


def ours(made: Labelled, target: int, overlap: int = 0) -> Iterator[tuple[int, int, int, str]]:
    """Start of the text, start, tokens and kind of each chunk."""
    for chunk in safe_chunk(made.text, target_tokens=target, overlap_tokens=overlap):
        yield chunk.start - chunk.overlap, chunk.start, chunk.tokens, chunk.kind


def of_peer(tool: str, made: Labelled, target: int) -> list[int]:
    """Where a peer cuts; one that drops blanks is followed."""
    cuts, position = [], 0
    for piece in TOOLS[tool](target)(made.text):
        found = made.text.find(piece, position)
        if found > 0:
            cuts.append(found)
        position = max(position, found) + len(piece) if found >= 0 else position
    return cuts


def measure(name: str, target: int, variants: int, tool: str, *, overlap: int = 0) -> dict[str, Any]:
    """The row of one kind of text, one limit and one tool."""
    encode = tokenizer.load(ENCODING).encode_ordinary
    count = lru_cache(maxsize=None)(lambda text: len(encode(text)))
    cuts = wrong = small = leads = torn = 0
    fills: list[float] = []
    samples: list[list[float]] = []
    kinds: Counter[str] = Counter()
    for seed in range(variants):
        before, known = (cuts, wrong, small), len(fills)
        made = _EVERY[name](random.Random(seed), SIZES[target])
        if tool == "mrengine":
            chunks = list(ours(made, target, overlap))
            places = [start for _, start, _, _ in chunks[1:]]
            fills += [taken / target for _, _, taken, _ in chunks[:-1]]
            kinds[chunks[0][3]] += 1
            begins = [lead for lead, start, _, _ in chunks[1:] if lead < start]
            leads += len(begins)
            torn += len(judge(made, begins, overlap, count, leads=True)) if overlap else 0
        else:
            places = of_peer(tool, made, target)
            edges = [0, *places, len(made.text)]
            fills += [count(made.text[a:b]) / target for a, b in pairwise(edges[:-1])]
        cuts += len(places)
        wrong += len(judge(made, places, target, count))
        small += len(judge(made, places, target, count, quarter=True))
        fill = sum(fills[known:]) / max(1, len(fills) - known)
        samples.append([cuts - before[0], wrong - before[1], small - before[2], round(fill, 3)])
    row = {"text": name, "target": target, "tool": tool, "cuts": cuts, "wrong %": _percent(wrong, cuts)}
    row |= {"of a quarter %": _percent(small, cuts), "fill": round(sum(fills) / max(1, len(fills)), 3)}
    if overlap:
        row |= {"overlaps": leads, "torn overlaps %": _percent(torn, leads)}
    return row | {"kinds": dict(kinds), "samples": samples}


def _percent(part: int, whole: int) -> float:
    return round(100 * part / max(1, whole), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", nargs="*", default=list(_EVERY))
    parser.add_argument("--tools", nargs="*", default=["mrengine"], choices=list(TOOLS))
    parser.add_argument("--targets", nargs="*", type=int, default=[200, 512, 2000], choices=list(SIZES))
    parser.add_argument("--variants", type=int, default=40)
    parser.add_argument("--overlap", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the figures to bench/results")
    options = parser.parse_args()
    rows = []
    names = [name for name in _EVERY if any(name.startswith(given) for given in options.texts)]
    for name in names:
        for target in [6000] if options.overlap else options.targets:
            for tool in options.tools:
                try:
                    row = measure(name, target, options.variants, tool, overlap=350 if options.overlap else 0)
                except ImportError as error:
                    row = {"text": name, "target": target, "tool": tool, "missing": error.name}
                print("  ".join(f"{key} {value}" for key, value in row.items() if key != "samples"), flush=True)
                rows.append(row)
    if options.save:
        print(f"written to {save('chunking_cuts', rows, packages=PACKAGES, variants=options.variants)}")


if __name__ == "__main__":
    main()
