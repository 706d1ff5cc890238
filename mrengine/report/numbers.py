"""Answers derived from a run's story: where the time went, how slow calls were, what failed and why, what it cost."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mrengine.profiling import format_duration
from mrengine.report.story import DONE, FAILED, LOST, Failure, Story

__all__ = ["Cause", "Share", "causes", "cost", "latencies", "shares", "verdict", "waited_s", "wall_s"]

HTTP_LIMIT = 429
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
    """Slots of the pool, from the last ROUND record; logs without them: as many workers as have finished tasks."""
    facts = story.runs[-1].facts if story.runs else {}
    workers, each = facts.get("workers"), facts.get("slots")
    if isinstance(workers, int) and isinstance(each, int) and workers > 0 and each > 0:
        return workers * each
    return max(1, len({worker for worker in story.tasks.worker if worker >= 0}))


def shares(story: Story) -> list[Share]:
    """Where the time of the slots went, in the order of a task's life; the parts add up to slots × wall time."""
    busy, lost = _busy(story, DONE) + _busy(story, FAILED), _busy(story, LOST)
    in_flight = math.fsum(max(0.0, story.now - began) for began in story.in_flight)
    whole = max(slots(story) * wall_s(story), busy + lost + in_flight)
    # Each part takes no more than is left, so that the sum holds although the parts are measured apart: the calls of
    # lost attempts are among the calls, and old logs have waits that were reported before they were over.
    left = busy
    taken = []
    for seconds in (math.fsum(story.calls.latency_ms) / 1000, waited_s(story), _refused_s(story)):
        taken.append(min(left, seconds))
        left -= taken[-1]
    model, limit, refusals = taken
    idle = max(0.0, whole - busy - lost - in_flight)
    batches = min(idle, _batches_s(story))
    idle -= batches
    starting, ending = _edges(story)
    starting = min(idle, starting)
    ending = min(idle - starting, ending)
    batched = Share("batches", batches, "slots without a task while a batch is at the provider")
    return [
        Share("model", model + in_flight, "calls on their way: the provider works"),
        Share("token limit", limit, "calls wait for the rate limit of the model"),
        Share("refused calls", refusals, "waits after 429s and errors, before the next try"),
        *([batched] if story.batches else []),
        Share("map function", left, "the function itself, and the engine around it"),
        Share("lost work", lost, "attempts that ended with a crash, a hang or a kill, and had to be made again"),
        Share("starting", starting, "from the start of each run to its first task: processes, imports, reading"),
        Share("idle at the end", ending, "no chunk was left to start while the last ones ran"),
        Share(
            "idle between",
            idle - starting - ending,
            "slots without a task: after a crash its suspects run one by one; waits before another attempt",
        ),
    ]


def waited_s(story: Story) -> float:
    """Seconds for which calls waited for limits, summed; in old logs, as they were estimated when the waits began."""
    waits = {"budget:waited": 0.0, "budget:wait": 0.0}
    for note in story.notes:
        if note.name in waits:
            waits[note.name] += _number(note.fields.get("wait_ms")) / 1000
    # A wait that is over has a note of each kind; their sum would count it twice.
    return waits["budget:waited"] or waits["budget:wait"]


def _refused_s(story: Story) -> float:
    return sum(_number(note.fields.get("wait_s")) for note in story.notes if note.name == "call:retry")


def _busy(story: Story, outcome: int) -> float:
    tasks = story.tasks
    return sum(end - start for start, end, ok in zip(tasks.start, tasks.end, tasks.ok, strict=True) if ok == outcome)


def _open(story: Story) -> list[tuple[float, float]]:
    """The times in which at least one batch was at a provider, in order, without overlaps."""
    spans: list[tuple[float, float]] = []
    for batch in sorted(story.batches, key=lambda batch: batch.began):
        if spans and batch.began <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], batch.ended))
        else:
            spans.append((batch.began, batch.ended))
    return spans


def _batches_s(story: Story) -> float:
    """Seconds of all slots without a task while a batch was at a provider."""
    spans, width = _open(story), slots(story)
    tasks = zip(story.tasks.start, story.tasks.end, strict=True) if spans else ()
    busy = math.fsum(_overlap(spans, start, end) for start, end in tasks)
    return max(0.0, width * math.fsum(_overlap(spans, run.began, run.ended) for run in story.runs) - busy)


def _overlap(spans: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Seconds of ``start`` to ``end`` that lie in one of the spans."""
    first = bisect_left(spans, start, key=lambda span: span[1])
    seconds = 0.0
    for since, until in spans[first:]:
        if since >= end:
            break
        seconds += max(0.0, min(end, until) - max(start, since))
    return seconds


def _edges(story: Story) -> tuple[float, float]:
    """Idle seconds of all slots before the first task of each run, and after its last one had started.

    Those in which a batch was at a provider are left out: they have a share of their own.
    """
    spans = _open(story)
    tasks, starting, ending, width = story.tasks, 0.0, 0.0, slots(story)
    order = sorted(range(len(tasks)), key=tasks.start.__getitem__)
    begins = [tasks.start[index] for index in order]
    for run in story.runs:
        first, last = bisect_left(begins, run.began), bisect_right(begins, run.ended)
        if first >= last:
            starting += width * max(0.0, run.ended - run.began - _overlap(spans, run.began, run.ended))
            continue
        starting += width * (begins[first] - run.began - _overlap(spans, run.began, begins[first]))
        since = begins[last - 1]
        busy = sum(max(0.0, min(tasks.end[index], run.ended) - since) for index in order[first:last])
        if run is story.runs[-1]:  # only the newest run can have tasks in flight
            busy += sum(max(0.0, run.ended - max(since, began)) for began in story.in_flight)
        ending += max(0.0, width * (run.ended - since) - busy)
    return starting, ending


_WHY = {
    "model": (
        "calls to the model",
        "More slots or workers would put more calls on their way at once, as far as the limit allows.",
    ),
    "token limit": ("waits for the rate limit", "The limit sets the pace; more workers would only wait as well."),
    "refused calls": (
        "waits after refused calls",
        "The provider refused calls; a lower limit in limits= would waste fewer of them.",
    ),
    "provider": (
        "waits for the provider’s limit, refused calls among them",
        "The limit sets the pace; more workers would only wait. Say it in limits=: fewer calls will be refused.",
    ),
    "batches": (
        "waits for the provider’s batches",
        "A batch costs half and may take a day; direct calls are answered at once.",
    ),
    "map function": (
        "the map function",
        "It computes; more worker processes help as far as there are cores, more slots do not.",
    ),
    "lost work": ("work that was lost", "What crashed, hung or was killed had to be done again: see the failures."),
    "starting": ("starting", "The run was too short, or was started too often, for what a start costs."),
    "idle at the end": (
        "idle slots at the end",
        "There were too few chunks for so many slots, or the last chunks took long.",
    ),
    "idle between": (
        "idle slots",
        "Slots had no task: after a crash the chunks that may have caused it run one by one, and retries wait.",
    ),
}


def verdict(story: Story) -> str:
    """Why the run took as long as it did, in a few sentences."""
    parts = {part.name: part.seconds for part in shares(story)}
    whole = sum(parts.values())
    if not whole or not len(story.tasks):
        return "No task has ended yet."
    if _limited(story) and min(parts["refused calls"], parts["token limit"]) > whole / 50:  # two ways to wait for one
        parts["provider"] = parts.pop("refused calls") + parts.pop("token limit")
    first, second = sorted(parts, key=lambda name: -parts[name])[:2]
    took = format_duration(wall_s(story) * 1000)
    finding = f"It ran for {took}: {parts[first] / whole:.0%} of the slots’ time went to {_WHY[first][0]}"
    if parts[second] > whole / 10:
        finding += f", {parts[second] / whole:.0%} to {_WHY[second][0]}"
    advice = [_WHY[name][1] for name in (first, second) if name == first or parts[name] > whole / 4]
    held = whole - parts.get("model", 0.0) > whole / 2
    # More calls at once are no cure where the limit holds them back.
    if held and _WHY["model"][1] in advice and {first, second} & {"provider", "token limit", "refused calls"}:
        advice.remove(_WHY["model"][1])
    return " ".join((f"{finding}.", *advice, *_troubles(story)))


def _limited(story: Story) -> int:
    return sum(note.name == "call:retry" and note.fields.get("status") == HTTP_LIMIT for note in story.notes)


def _troubles(story: Story) -> list[str]:
    notes = Counter(note.name for note in story.notes)
    limited = _limited(story)
    lost, runs = story.tasks.ok.count(LOST), len(story.runs)
    troubles = (
        (notes["worker:crashed"], "1 worker crashed", f"{notes['worker:crashed']:,} workers crashed"),
        (lost, "1 attempt was lost", f"{lost:,} attempts were lost"),
        (limited, "1 call was refused with 429", f"{limited:,} calls were refused with 429"),
        (runs - 1, "it took 2 runs", f"it took {runs} runs"),
    )
    text = ", ".join(one if count == 1 else many for count, one, many in troubles if count > 0)
    return [text[0].upper() + text[1:] + "."] if text else []


def latencies(story: Story) -> dict[str, list[float]]:
    """Milliseconds of answered calls by model, sorted."""
    by_model: dict[str, list[float]] = {model: [] for model in story.models}
    calls = story.calls
    for model, refused, ms in zip(calls.model, calls.refused, calls.latency_ms, strict=True):
        if not refused and ms > 0:
            by_model[story.models[model]].append(ms)
    return {model: sorted(values) for model, values in by_model.items() if values}


def causes(failures: Iterable[Failure]) -> list[Cause]:
    """Failures grouped by what went wrong, the most frequent first."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.kind, _NUMBERS.sub("…", failure.message)), []).append(failure)
    largest_first = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [
        Cause(kind, group[0].message, tuple(sorted(group, key=lambda failure: failure.chunk_id)))
        for (kind, _), group in largest_first
    ]


def cost(story: Story) -> tuple[float | None, float | None]:
    """USD so far, and for all chunks at this rate; None where a price or the rate is unknown."""
    spent = [use.cost_usd for use in story.spending.values()]
    if any(value is None for value in spent):
        return None, None
    now = math.fsum(value for value in spent if value is not None)
    ended = story.done + story.failed
    return now, now * story.total / ended if ended else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value > 0 else 0.0
