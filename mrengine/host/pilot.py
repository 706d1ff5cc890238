"""Runs a pilot: real calls on chunks spread over the input, kept in the job, to predict the cost of the whole."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from mrengine.errors import ConfigError
from mrengine.host.sampling import makespan, spread, total
from mrengine.records import ChunkResult, Interval, Pilot, RateLimit

if TYPE_CHECKING:
    from mrengine.host.job_run import JobRun

__all__ = ["check_size", "pilot"]

START_S = 1.0  # time that a run needs beside its chunks, where the pilot did not measure it
BURST_MIN = 1.0  # minutes of a limit's allowance that can be used at once


def check_size(n: object) -> None:
    """ConfigError: it is not a number of chunks."""
    if type(n) is not int or n < 1:
        raise ConfigError(f"n={n!r}: a pilot has at least 1 chunk", setting="n")


def pilot(run: JobRun, n: int) -> Pilot:
    """Run ``n`` chunks of a prepared run. JobFailed: none of them has a result."""
    sizes = [row.tokens for row in run.follower.view.chunk_table()]
    # Seeded by the job's id: a second pilot of the job chooses the same chunks, whose answers it has.
    seed = int.from_bytes(blake2b(run.job_id.encode(), digest_size=8).digest(), "big")
    chosen = set(spread(len(sizes), n, seed))
    began = time.monotonic()
    run.try_chunks(sorted(chosen))
    wall_s = time.monotonic() - began
    run.check_failures()
    results = [one for one in run.follower.results() if one.chunk_id in chosen]
    tried = _by_chunk(results)
    tried_sizes = [sizes[chunk] for chunk in tried]
    other_sizes = [size for chunk, size in enumerate(sizes) if chunk not in tried]
    seconds = [sum(one.duration_ms for one in of_one) / 1e3 for of_one in tried.values()]
    return Pilot(
        results=tuple(results),
        cost_usd=_cost(run, tried, tried_sizes, other_sizes),
        duration_s=_duration(run, seconds, tried_sizes, other_sizes, wall_s, results),
        chunks=len(sizes),
        job_id=run.job_id,
        summary=run.summary(),
    )


def _by_chunk(results: Sequence[ChunkResult]) -> dict[int, list[ChunkResult]]:
    by_chunk: dict[int, list[ChunkResult]] = {}
    for one in results:
        by_chunk.setdefault(one.chunk_id, []).append(one)
    return by_chunk


def _cost(
    run: JobRun, tried: Mapping[int, Sequence[ChunkResult]], sizes: Sequence[int], rest: Sequence[int]
) -> Interval | None:
    """The cost of the whole job; None: a price is not known."""
    # What was paid beside the results, for calls that came to nothing, is added in proportion.
    costs = []
    for of_one in tried.values():
        paid = [_paid(run, one) for one in of_one]
        if None in paid:
            return None
        costs.append(sum(cost for cost in paid if cost is not None))
    whole, own = run.summary().cost_usd, sum(costs)
    if whole is not None and not any(one.resumed for of_one in tried.values() for one in of_one) and whole > own > 0:
        costs = [cost * whole / own for cost in costs]
    return total(costs, sizes, rest)


def _paid(run: JobRun, one: ChunkResult) -> float | None:
    """The cost of a result; at today's price if none was known when it was made."""
    price = next((model.price for model in run.config.models if model.name == one.model), None)
    return price.cost(one.usage) if one.cost_usd is None and price is not None else one.cost_usd


def _duration(
    run: JobRun,
    seconds: Sequence[float],
    sizes: Sequence[int],
    rest: Sequence[int],
    wall_s: float,
    results: Sequence[ChunkResult],
) -> Interval:
    """The duration of the whole job: its work spread over the lanes, and no faster than the models' limits."""
    settings = run.config.settings
    workers, slots = (1, 1) if settings.backend_name == "sequential" else (settings.workers, settings.slots)
    stealing = settings.assignment == "steal"
    work, left = total(seconds, sizes, rest), len(rest)
    span = makespan(work, seconds, left, workers=workers, slots=slots, stealing=stealing)
    own = makespan(Interval(0.0, sum(seconds), 0.0), seconds, 0, workers=workers, slots=slots, stealing=True)
    fresh = not any(one.resumed for one in results)
    start = max(0.0, wall_s - own.estimate) if fresh else START_S
    limit = _limit_s(run, results, left + len(seconds))
    return Interval(
        max(span.low, 0.9 * limit),
        max(span.estimate, limit) + start,
        max(span.high, 1.2 * limit) + 2 * start + START_S,
    )


def _limit_s(run: JobRun, results: Sequence[ChunkResult], chunks: int) -> float:
    """How many seconds the models' limits need for all chunks, if each model gets its share."""
    models = run.config.models
    if not models or not results:
        return 0.0
    share = chunks if run.config.all_models else chunks / len(models)
    input_tokens = sum(one.usage.input_tokens for one in results) / len(results)
    output_tokens = sum(one.usage.output_tokens for one in results) / len(results)
    return max((_minutes(model.limits, share, input_tokens, output_tokens) for model in models), default=0.0) * 60.0


def _minutes(limit: RateLimit | None, calls: float, input_tokens: float, output_tokens: float) -> float:
    if limit is None:
        return 0.0
    needs = (
        (limit.rpm, calls), (limit.tpm, calls * (input_tokens + output_tokens)), (limit.rps and limit.rps * 60, calls),
        (limit.input_tpm, calls * input_tokens), (limit.output_tpm, calls * output_tokens),
    )  # fmt: skip
    return max((need / rate - BURST_MIN for rate, need in needs if rate), default=0.0)
