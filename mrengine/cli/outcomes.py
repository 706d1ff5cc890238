"""Prints the outcome of a run: records or the answer, failures, an estimate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import mrengine
from mrengine.cli.exits import DONE, TOO_MANY_FAILED, ended, place_of
from mrengine.cli.output import StdoutClosed, echo, print_json, print_value, record_of, rounded, say, some_of
from mrengine.cli.terms import in_cli_terms
from mrengine.errors import JobError
from mrengine.outputs.run_result import RunResult
from mrengine.records import ChunkFailure, ChunkResult, Document, JobDiff, Pilot

__all__ = [
    "print_diff",
    "print_estimate",
    "print_failures",
    "print_pilot",
    "print_run",
    "printing_done",
    "too_many_failed",
]

SHOWN = 5


def print_run(
    run: RunResult, *, reduced: bool, written: bool, each_line: bool, max_failed: int, as_json: bool, quiet: bool
) -> int:
    """Print a run's records, or its reduced answer unless too many chunks failed; returns the exit code.

    ``written``: the records are in a file. ``each_line``: documents are lines or rows of a source, "visits.jsonl:3".
    """
    place = "is in the file" if written else "is printed"
    withheld = "the reduced answer is withheld" if reduced else f"what succeeded {place} all the same"
    too_many = too_many_failed(run, max_failed, withheld=withheld)
    with suppress(StdoutClosed):  # the exit code still says what the run was
        if reduced and not too_many:
            print_json(run.result) if as_json else print_value(run.result)
        elif not reduced and not written:
            _print_records(run, as_json=as_json, each_line=each_line)
    say(ended(run.summary), quiet=quiet)
    return TOO_MANY_FAILED if too_many else DONE


@contextmanager
def printing_done(*, reduced: bool, as_json: bool) -> Iterator[None]:
    """Print the records of a job that ends with an error: what was done until then, and what failed."""
    try:
        yield
    except JobError as error:
        # Text gets none: it has no place for failures, and would pass for the whole.
        if as_json and not reduced:
            with suppress(StdoutClosed):
                _print_records(error, as_json=True, each_line=False)
        raise


def _print_records(run: RunResult | JobError, *, as_json: bool, each_line: bool) -> None:
    if as_json:
        for outcome in (*run.results, *run.failures):
            print_json(record_of(outcome))
        return
    # Results are in document order, so the ends tell whether there are several; reading all would take them twice.
    ends: list[Any] = [*run.results[:1], *run.results[-1:], *run.failures[:1], *run.failures[-1:]]
    several = len({_source_of(outcome, each_line) for outcome in ends}) > 1
    last = None
    for result in run.results:
        source = _source_of(result, each_line)
        if several and source != last:
            echo(f"# {source}\n" if last is None else f"\n# {source}\n")
            last = source
        print_value(result.result)


def _source_of(outcome: ChunkResult | ChunkFailure, each_line: bool) -> str:
    return outcome.document_id.rpartition(":")[0] if each_line else outcome.document_id


def too_many_failed(run: RunResult, max_failed: int, *, withheld: str) -> bool:
    """Whether more chunks failed than --max-failed accepts; if so, print the first of them and the way on."""
    failed = len(run.failures) - len(run.unread)  # unread sources were accepted, or the run would not have begun
    if failed <= max_failed:
        return False
    for failure in run.failures[:SHOWN]:  # a wrong prompt fails in every chunk alike
        place = place_of(failure.traceback)
        say(f"chunk {failure.chunk_id} of {failure.document_id} failed ({failure.kind}): {failure.message}{place}")
    total = run.summary.total_chunks
    message = f"{failed} of {total} chunk{'s' * (total > 1)} failed, and --max-failed is {max_failed}"
    say(f"mrengine: {message}: {withheld}. The same command tries the failed ones again")
    say(f"'mrengine export {run.job_id}' prints all of them, and where they failed")
    return True


def print_failures(failures: Sequence[ChunkFailure], *, as_json: bool) -> None:
    """Print why chunks failed, each with the raw answers that were paid for: data, hence on stdout."""
    for failure in failures:
        if as_json:
            print_json(record_of(failure))
            continue
        place = place_of(failure.traceback)
        echo(f"chunk {failure.chunk_id} of {failure.document_id} ({failure.kind}): {failure.message}{place}")
        for number, text in enumerate(failure.answers, 1):
            echo(f"  answer {number} of {len(failure.answers)}:")
            echo("\n".join(f"    {line}" for line in text.splitlines() or ("(nothing)",)))


def print_pilot(pilot: Pilot, *, as_json: bool) -> int:
    """Print what a pilot predicts for the whole job."""
    if as_json:
        facts = {"job_id": pilot.job_id, "chunks": pilot.chunks, "tried": len(pilot.results)}
        cost_usd = None if pilot.cost_usd is None else dataclasses.asdict(pilot.cost_usd)
        print_json({**facts, "cost_usd": cost_usd, "duration_s": dataclasses.asdict(pilot.duration_s)})
        return DONE
    cost, time_s = pilot.cost_usd, pilot.duration_s
    echo(f"tried:         {len(pilot.results)} of {pilot.chunks} chunks; the same command without --pilot goes on")
    shown = "unknown" if cost is None else f"${cost.estimate:.4f}, between ${cost.low:.4f} and ${cost.high:.4f}"
    echo(f"whole cost:    {shown}")
    echo(f"whole time:    {time_s.estimate:.0f} s, between {time_s.low:.0f} and {time_s.high:.0f} s")
    return DONE


def print_diff(diff: JobDiff, as_json: bool) -> None:
    """Print what a job would ask again for other documents, and its cost."""
    if as_json:
        print_json({**dataclasses.asdict(diff), "cost_usd": rounded(diff.cost_usd)})
        return
    echo(f"asked again:   {diff.asked} of {diff.chunks} chunks, {diff.asked_tokens} tokens of text")
    echo(f"cost:          {'unknown' if diff.cost_usd is None else f'${diff.cost_usd:.4f}'}")
    for what in ("added", "removed", "changed"):
        names: tuple[str, ...] = getattr(diff, what)
        if names:
            echo(f"{what + ':':<15}{some_of(names)}")
    for line in diff.assumed:
        echo(f"assumed:       {line}")


def print_estimate(
    runner: mrengine.MapReduceRunner, documents: list[Document], map_fn: Any, *, as_json: bool, **how: Any
) -> int:
    """Print what a run would do and cost, and what that assumes: a few lines, or one of JSON."""
    estimate = runner.estimate(documents, map_fn, **how)
    if as_json:
        costs = {name: rounded(getattr(estimate, name)) for name in ("cost_usd", "batch_cost_usd")}
        print_json({**dataclasses.asdict(estimate), **costs})
        return DONE
    models = [model.name for model in runner.models]  # none in a dry run without a key
    unknown = [model.name for model in runner.models if model.price is None]
    echo(f"documents:     {len(documents):,}")
    echo(f"chunks:        {estimate.chunks:,}")
    echo(f"calls:         {estimate.calls:,}{' to ' * bool(models)}{', '.join(models)}")
    echo(f"input tokens:  {estimate.input_tokens:,}")
    echo(f"output tokens: {estimate.output_tokens:,}")
    if estimate.cost_usd is None:
        note = f": no price of {', '.join(unknown)} is known; --price IN:OUT gives it" if unknown else ""
        echo(f"cost:          unknown{note or ': no model is named (--model)'}")
    elif models and all(model.kind == "local" for model in runner.models):
        echo(f"cost:          nothing: {', '.join(models)} runs on this machine")
    else:
        batched = estimate.batch_cost_usd
        note = "" if batched is None else f"; ${batched:.4f} in batches (--batch)"
        echo(f"cost:          ${estimate.cost_usd:.4f}{note}")
    for assumed in estimate.assumed:
        echo(f"assumed:       {in_cli_terms(assumed)}")
    return DONE
