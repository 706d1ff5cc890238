"""Joins the outcomes of several jobs that are parts of a larger one, each with a log of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from mrengine.outputs.run_result import Chained, Outcomes
from mrengine.records import ChunkFailure, ChunkResult, JobStatus, Usage

__all__ = ["Merged", "SharedDocument", "in_two_jobs"]

SharedDocument = tuple[str, str, str]  # the id of a document, and two jobs that have it
SHOWN = 3  # in an error


class Merged(Outcomes):
    """The outcomes of several jobs, one job after another, each in chunk order.

    Each job numbers its chunks from 0; the column ``job_id`` names the job. ``jobs``: their statuses. ``usage`` and
    ``cost_usd`` are sums; None: the cost of a job is unknown.
    """

    def __init__(self, parts: Sequence[tuple[JobStatus, Outcomes]]) -> None:
        self._parts = parts
        self.jobs = tuple(status for status, _ in parts)
        self.results: Sequence[ChunkResult] = Chained([outcomes.results for _, outcomes in parts])
        self.failures: Sequence[ChunkFailure] = Chained([outcomes.failures for _, outcomes in parts])

    @property
    def usage(self) -> Usage:
        """Tokens of all runs of all jobs."""
        return sum((status.usage for status in self.jobs), Usage())

    @property
    def cost_usd(self) -> float | None:
        """US dollars of all runs of all jobs."""
        costs = [status.cost_usd for status in self.jobs]
        return None if None in costs else float(sum(cost for cost in costs if cost is not None))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of each job, with its ``job_id`` before the other columns."""
        for status, outcomes in self._parts:
            for row in outcomes.rows():
                yield {"job_id": status.job_id, **row}

    def outcomes(self) -> Iterator[tuple[str, ChunkResult | ChunkFailure]]:
        """(job_id, result or failure), results of a job before its failures."""
        for status, outcomes in self._parts:
            for outcome in (outcomes.results, outcomes.failures):
                yield from ((status.job_id, one) for one in outcome)


def in_two_jobs(jobs: Iterable[tuple[str, Iterable[str]]]) -> list[SharedDocument]:
    """A few documents of the first job that shares any with a job before it. ``jobs``: (id, documents) of each."""
    with closing(sqlite3.connect("")) as database:  # a temporary file, not memory: there may be 10⁸ ids
        database.executescript(
            "CREATE TABLE earlier (id BLOB PRIMARY KEY, job TEXT) WITHOUT ROWID;"
            "CREATE TABLE own (id BLOB PRIMARY KEY) WITHOUT ROWID;"
        )
        for job_id, documents in jobs:
            # By way of a second table: a document that one job names twice is no shared one.
            ids = ((document.encode("utf-8", "surrogatepass"),) for document in documents)
            database.executemany("INSERT OR IGNORE INTO own VALUES (?)", ids)
            shared = database.execute("SELECT id, job FROM own JOIN earlier USING (id) LIMIT ?", (SHOWN,)).fetchall()
            if shared:
                return [(name.decode("utf-8", "surrogatepass"), other, job_id) for name, other in shared]
            database.execute("INSERT INTO earlier SELECT id, ? FROM own", (job_id,))
            database.execute("DELETE FROM own")
            database.commit()
    return []
