"""Joins the outcomes of several jobs that are parts of a larger one, each with a log of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from mrengine.outputs.run_result import Chained, Outcomes
from mrengine.records import ChunkFailure, ChunkResult, JobStatus, Usage

__all__ = ["Merged", "SharedDocument", "SharedDocuments", "in_two_jobs"]

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


class SharedDocuments:
    """Finds documents that two jobs have."""

    def __init__(self) -> None:
        self._seen = sqlite3.connect("")  # a temporary file, not memory: there may be 10⁸ ids
        self._seen.executescript(
            "CREATE TABLE seen (id BLOB PRIMARY KEY, job TEXT) WITHOUT ROWID;"
            "CREATE TABLE part (id BLOB PRIMARY KEY) WITHOUT ROWID;"
        )

    def add(self, job_id: str, documents: Iterable[str]) -> list[SharedDocument]:
        """Add a job; return a few of its documents that earlier jobs have."""
        # By way of a second table: a document that one job names twice is no shared one.
        ids = ((document.encode("utf-8", "surrogatepass"),) for document in documents)
        with self._seen:
            self._seen.executemany("INSERT OR IGNORE INTO part VALUES (?)", ids)
            shared = self._seen.execute("SELECT id, job FROM part JOIN seen USING (id) LIMIT ?", (SHOWN,)).fetchall()
            self._seen.execute("INSERT OR IGNORE INTO seen SELECT id, ? FROM part", (job_id,))
            self._seen.execute("DELETE FROM part")
        return [(one.decode("utf-8", "surrogatepass"), other, job_id) for one, other in shared]

    def close(self) -> None:
        """Remove the temporary file."""
        self._seen.close()


def in_two_jobs(jobs: Iterable[tuple[str, Iterable[str]]]) -> list[SharedDocument]:
    """A few documents of the first job that shares any with a job before it. ``jobs``: (id, documents) of each."""
    with closing(SharedDocuments()) as shared:
        return next((few for job_id, documents in jobs if (few := shared.add(job_id, documents))), [])
