"""What a reader asks of a run, derived from its story: where the time went, how slow calls are, what failed and why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mrengine.report.story import Failure, Story

__all__ = ["Cause", "Share", "causes", "cost", "latencies", "percentile", "shares", "verdict", "wall_s"]

_NUMBERS = re.compile(r"\d[\d,._]*")


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the time of all slots. ``seconds``: summed over slots."""

    name: str
    seconds: float
    what: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Failures whose messages differ in nothing but numbers."""

    kind: str
    message: str
    failures: tuple[Failure, ...]


def wall_s(story: Story) -> float:
    """Seconds in which a run was going on; the pauses between runs do not count."""
    return sum(max(0.0, run.ended - run.began) for run in story.runs)


def slots(story: Story) -> int:
    """Slots of the pool: as the last ROUND record says, else as many workers as have finished tasks."""
    facts = story.runs[-1].facts if story.runs else {}
    workers, each = facts.get("workers"), facts.get("slots")
    if isinstance(workers, int) and isinstance(each, int) and workers > 0 and each > 0:
        return workers * each
    return max(1, len({worker for worker in story.tasks.worker if worker >= 0}))


def shares(story: Story) -> list[Share]:
    """Where the time of the slots went, in the order of a task's way; the parts add up to slots × wall time."""
    tasks, calls = story.tasks, story.calls
    busy = sum(end - start for start, end in zip(tasks.start, tasks.end, strict=True))
    model = sum(calls.latency_ms) / 1000
    limit = refusals = 0.0
    for note in story.notes:
        if note.name == "budget:wait":
            limit += _number(note.fields.get("wait_ms")) / 1000
        elif note.name == "call:retry":
            refusals += _number(note.fields.get("wait_s"))
    whole = max(slots(story) * wall_s(story), busy)
    # Waits are told when they begin, with the length that is expected: what is over busy time never happened.
    limit = min(limit, max(0.0, busy - model))
    refusals = min(refusals, max(0.0, busy - model - limit))
    own = max(0.0, busy - model - limit - refusals)
    return [
        Share("model", min(model, busy), "calls on their way: the provider works"),
        Share("token limit", limit, "calls wait for the budget of the model"),
        Share("refused calls", refusals, "waits after 429s and errors, before the next try"),
        Share("map function", own, "the function itself, and the engine around it"),
        Share("no task", max(0.0, whole - busy), "slots without a task: start, end, crashes, and too few chunks"),
    ]


def verdict(story: Story) -> str:
    """One sentence: why the run took as long as it did."""
    parts = shares(story)
    whole = sum(part.seconds for part in parts)
    if not whole or not len(story.tasks):
        return "No task has ended yet."
    most = max(parts, key=lambda part: part.seconds)
    advice = {
        "model": "More slots or workers would put more calls on their way at once, as far as the limit allows.",
        "token limit": "The token limit sets the pace; more workers would only wait as well.",
        "refused calls": "The provider refused calls; a lower limit in `limits` would waste fewer of them.",
        "map function": "The map function computes; more worker processes help as far as there are cores.",
        "no task": "Slots stood idle; there were too few chunks for the pool, or it was started and ended often.",
    }[most.name]
    return f"{most.seconds / whole:.0%} of the slots' time went to: {most.name} ({most.what}). {advice}"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of sorted values lie, interpolated; NaN of none."""
    if not ordered:
        return math.nan
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def latencies(story: Story) -> dict[str, list[float]]:
    """Milliseconds of answered calls by model, sorted."""
    found: dict[str, list[float]] = {model: [] for model in story.models}
    calls = story.calls
    for number, ms in enumerate(calls.latency_ms):
        if not calls.refused[number] and ms > 0:
            found[story.models[calls.model[number]]].append(ms)
    return {model: sorted(values) for model, values in found.items() if values}


def causes(failures: Iterable[Failure]) -> list[Cause]:
    """Failures grouped by what went wrong, the most frequent first."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.kind, _NUMBERS.sub("…", failure.message)), []).append(failure)
    made = [
        Cause(kind, group[0].message, tuple(sorted(group, key=lambda failure: failure.chunk_id)))
        for (kind, _), group in groups.items()
    ]
    return sorted(made, key=lambda cause: -len(cause.failures))


def cost(story: Story) -> tuple[float | None, float | None]:
    """USD so far, and as it would be for all chunks at this rate; None where a price or the rate is unknown."""
    spent = [use.cost_usd for use in story.spending.values()]
    if any(value is None for value in spent):
        return None, None
    now = math.fsum(value for value in spent if value is not None)
    ended = story.done + story.failed
    return now, now * story.total / ended if ended else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value > 0 else 0.0
