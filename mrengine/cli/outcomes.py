"""Owns what is said of a run's outcome: its records or its answer, its failures, an estimate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import mrengine
from mrengine.cli.exits import DONE, TOO_MANY_FAILED, place_of
from mrengine.cli.notes import say
from mrengine.cli.output import StdoutClosed, echo, print_json, print_value, record_of, rounded
from mrengine.records import ChunkFailure, Document, RunResult

__all__ = ["print_estimate", "print_failures", "print_run", "too_many_failed"]

SHOWN = 5


def print_run(run: RunResult, *, reduced: bool, max_failed: int, as_json: bool) -> int:
    """Records where nothing was reduced, whatever failed; the one answer unless too much did. The exit code."""
    too_many = too_many_failed(run, max_failed)
    try:
        if not reduced:
            _print_records(run, as_json=as_json)
        elif not too_many:
            print_json(run.result) if as_json else print_value(run.result)
    except StdoutClosed:  # the exit code still says what the run was
        pass
    return TOO_MANY_FAILED if too_many else DONE


def _print_records(run: RunResult, *, as_json: bool) -> None:
    for result in run.results:
        print_json(record_of(result)) if as_json else print_value(result.result)
    if as_json:
        for failure in run.failures:
            print_json(record_of(failure))


def too_many_failed(run: RunResult, max_failed: int) -> bool:
    """Whether more chunks failed than were to be accepted; if so, the first of them are told."""
    failed = len(run.failures)
    if failed <= max_failed:
        return False
    for failure in run.failures[:SHOWN]:
        place = place_of(failure.traceback)
        say(f"chunk {failure.chunk_id} of {failure.document_id} failed ({failure.kind}): {failure.message}{place}")
    total = run.summary.total_chunks
    told = f"{failed} of {total} chunk{'s' * (total > 1)} failed, --max-failed is {max_failed}"
    say(f"mrengine: {told}; a single answer is withheld. The same command tries them again")
    say(f"'mrengine export {run.job_id}' has all of them, with where they failed")
    return True


def print_failures(failures: Sequence[ChunkFailure], *, as_json: bool) -> None:
    """Why chunks failed, each with the raw answers that were paid for: they are data, and go to stdout."""
    for failure in failures:
        if as_json:
            print_json(record_of(failure))
            continue
        place = place_of(failure.traceback)
        echo(f"chunk {failure.chunk_id} of {failure.document_id} ({failure.kind}): {failure.message}{place}")
        for number, text in enumerate(failure.answers, 1):
            echo(f"  answer {number} of {len(failure.answers)}:")
            echo("\n".join(f"    {line}" for line in text.splitlines() or ("(nothing)",)))


def print_estimate(runner: mrengine.MapReduceRunner, documents: list[Document], map_fn: Any) -> int:
    """What a run would do and cost at most, as JSON."""
    estimate = runner.estimate(documents, map_fn)
    print_json({**dataclasses.asdict(estimate), "cost_usd": rounded(estimate.cost_usd)})
    return DONE
