"""Tells what a job would cost with other documents, before anything is paid."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrengine.errors import JobNotFound, LogError
from mrengine.host.chunk_limits import stored_chunking
from mrengine.host.document_rows import digest_of
from mrengine.host.intake import spool_unnamed
from mrengine.host.job_identity import Plan
from mrengine.host.stored import stored_job
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ROW_BYTES, unpack_chunks, unpack_row
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.format.packing import key
from mrengine.log.format.task_records import unpack_result
from mrengine.log.view.job_view import ResumeEngine
from mrengine.records import JobDiff

__all__ = ["diff"]

SAMPLE = 1000  # results from which the cost of a token of text is taken
ASSUMED = "at what the chunks of the job have cost so far, for each token; a reduce by prompt is not counted"


def diff(folder: Path, job_id: str, document: Any) -> JobDiff:
    """Compare a job with other documents, as ``Job.diff`` says. They are read into a file that is removed again."""
    with ResumeEngine(folder) as stored:
        job = stored_job(stored, job_id).record
        chunking = stored_chunking(job)
        if chunking is None:
            raise JobNotFound(f"job {job_id} was cut by a function of the caller's: only a run can cut", job_id=job_id)
        # Not in the job's folder: nothing of the job may change, and another process may be running it.
        spooled = spool_unnamed(folder.parent, document, skip=False)
        try:
            spooled.spool.require()
            plan = Plan(replace(job, documents=digest_of(spooled.rows)), spooled.rows, chunking)
            tokens = _asked(plan, stored, spooled.spool.path)
        finally:
            spooled.spool.discard()
        asked = [count for count in tokens if count]
        price = _price(stored)
        cost = 0.0 if not asked else None if price is None else price * sum(asked)
        names = _changes(stored, spooled.rows)
        return JobDiff(len(tokens), len(tokens) - len(asked), len(asked), sum(asked), cost, *names, (ASSUMED,))


def _asked(plan: Plan, stored: ResumeEngine, spool: Path) -> list[int]:
    """The tokens of each chunk that has to be asked; 0 for a chunk whose result is kept."""
    if not plan.differences(stored):
        tokens = [row.tokens for row in stored.chunk_table()]
        pending = {chunk for chunk, _ in stored.pending()}
        return [count if chunk in pending else 0 for chunk, count in enumerate(tokens)]
    # The records that a run would append, with what it would carry over: both go the same way, so they agree.
    tokens, kept = [], set()
    for kind, payload in plan.records(spool, stored):
        if kind == codec.CHUNKS:
            rows = unpack_chunks(payload)[2]
            tokens += [unpack_row(rows, at).tokens for at in range(0, len(rows), ROW_BYTES)]
        elif kind == codec.CARRY:
            kept.add(key(payload)[1])
    return [0 if chunk in kept else count for chunk, count in enumerate(tokens)]


def _price(stored: ResumeEngine) -> float | None:
    """USD for each token of text, from the job's results; None: a cost is not known, or there is no result."""
    assert stored.epoch is not None
    index = stored.index(0)
    done = [slot for slot in range(index.total) if index.result(slot)]
    table = stored.chunk_table()
    cost = tokens = 0.0
    for slot in done[:: max(1, len(done) // SAMPLE)]:
        with suppress(LogError):
            paid = unpack_result(stored.reader.payload(index.result(slot))).cost_usd
            if paid is None:
                return None  # a model without a price: half of a cost would pass for the whole
            cost += paid * stored.epoch.models
            tokens += table[slot // stored.epoch.models].tokens
    return cost / tokens if tokens else None


def _changes(
    stored: ResumeEngine, rows: Sequence[DocumentRow]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The ids of documents that were added, removed and changed."""
    assert stored.epoch is not None
    names = stored.documents()
    known = {row.id: row.digest for n in range(stored.epoch.document_count) if (row := names.get(n)) is not None}
    now = {row.id: row.digest for row in rows}
    added = tuple(name for name in now if name not in known)
    removed = tuple(name for name in known if name not in now)
    return added, removed, tuple(name for name in now if name in known and known[name] != now[name])
