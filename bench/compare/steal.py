"""How well the work is shared out: ``python -m bench.compare.steal``.

A thousand chunks whose latencies are lognormal (σ = 1), on several workers of several slots. The makespan, from the
first start to the last end, of ``assignment="modulo"`` and ``"steal"``, as a ratio to greedy list scheduling: the next
chunk goes to the first free slot, and nothing else takes any time.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import time
from typing import Any

from bench.machine import save

CHUNKS, SIGMA = 1000, 1.0
SHAPES = ((5, 1), (4, 4), (2, 16))  # workers, slots


def latencies(seed: int, median_s: float) -> list[float]:
    chance = random.Random(seed)
    return [median_s * chance.lognormvariate(0.0, SIGMA) for _ in range(CHUNKS)]


def greedy(took: list[float], slots: int) -> float:
    """The makespan of list scheduling, in the order of the chunks."""
    free = [0.0] * slots
    for seconds in took:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def makespan(took: list[float], workers: int, slots: int, assignment: str) -> float:
    """Of a real run, by the machine's one monotonic clock."""
    from mrengine import MapReduceRunner

    def sleep(chunk: Any, context: Any) -> list[float]:
        began = time.monotonic()
        time.sleep(took[chunk.id])
        return [began, time.monotonic()]

    runner = MapReduceRunner(workers=workers, slots=slots, models="fake", assignment=assignment, target_tokens=None)
    spans = [result.result for result in runner.run([str(n) for n in range(len(took))], sleep).results]
    return max(end for _, end in spans) - min(began for began, _ in spans)


def main() -> None:
    """Measure each shape with several seeds; medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long a run takes")
    options = parser.parse_args()
    rows = []
    print(f"{'workers':>7} {'slots':>5} {'greedy s':>9} {'steal':>6} {'modulo':>7}   (ratios to greedy)")
    for workers, slots in SHAPES:
        ratios: dict[str, list[float]] = {"steal": [], "modulo": []}
        bounds = []
        for seed in range(options.seeds):
            took = latencies(seed, options.seconds * workers * slots / CHUNKS / 1.65)
            bounds.append(greedy(took, workers * slots))
            for assignment, found in ratios.items():
                found.append(makespan(took, workers, slots, assignment) / bounds[-1])
        row = {name: round(statistics.median(found), 3) for name, found in ratios.items()}
        rows.append({"workers": workers, "slots": slots, "greedy_s": round(statistics.median(bounds), 3), **row})
        rows[-1]["samples"] = {"greedy_s": bounds, **ratios}
        print(f"{workers:7} {slots:5} {rows[-1]['greedy_s']:9.2f} {row['steal']:6.3f} {row['modulo']:7.3f}", flush=True)
    path = save("steal", rows, chunks=CHUNKS, sigma=SIGMA, seeds=options.seeds)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
