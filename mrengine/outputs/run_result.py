"""The result of a run, and the forms in which its outcomes are given: rows, a data frame, a file."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from mrengine.html_views import facts_html, rows_html
from mrengine.outputs.files import export_rows, frame_of
from mrengine.outputs.rows import rows_of
from mrengine.records import ChunkFailure, ChunkResult, RunSummary

if TYPE_CHECKING:
    from mrengine.errors import SourceError

__all__ = ["Chained", "Outcomes", "RunResult", "with_unread"]


class Outcomes:
    """The base of classes that have ``results`` and ``failures``, and give them as rows."""

    results: Sequence[ChunkResult]
    failures: Sequence[ChunkFailure]

    def rows(self) -> Iterator[dict[str, Any]]:
        """A dict for each chunk's result or failure, and for each source that could not be read.

        Their keys are ``document_id``, ``chunk_id``, ``fields``, ``pages``, ``result``, ``model``, ``usage``,
        ``cost_usd`` and ``failure``, and ``result.NAME`` for each item of a result that is a dict. They are read from
        the log lazily.
        """
        return rows_of(self.results, self.failures)

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame: fields as columns ``fields.NAME``, items of a dict as ``result.NAME``."""
        return frame_of(self.rows())

    def export(self, path: str | os.PathLike[str], *, formulas: bool = False) -> Path:
        """Write the rows to a .csv, .tsv, .jsonl or .parquet file, in bounded memory, and return its path.

        In CSV and TSV a ' is put before texts that a spreadsheet would run as a formula (=, +, -, @), unless
        ``formulas``. ConfigError: another suffix, or the file cannot be written. MissingExtra: Parquet without pyarrow.
        """
        return export_rows(self.rows, path, formulas=formulas)


class RunResult(tuple[Any, RunSummary], Outcomes):
    """The result of a run; unpacks as ``result, summary = run``. ``results`` and ``failures`` are lazy sequences.

    ``unread``: the SourceError of each source that could not be read; ``failures`` ends with one for each of them.
    """

    unread: Sequence[SourceError]

    def __new__(
        cls,
        result: Any,
        summary: RunSummary,
        results: Sequence[ChunkResult] = (),
        failures: Sequence[ChunkFailure] = (),
        unread: Sequence[SourceError] = (),
    ) -> RunResult:
        # A tuple of two, so that ``result, summary = run`` works; all else is in attributes.
        self = super().__new__(cls, (result, summary))
        self.results = results
        self.failures = with_unread(
            failures, [(error.document_id or error.source or "", str(error)) for error in unread]
        )
        self.unread = unread
        return self

    @property
    def result(self) -> Any:
        """The reducer's value."""
        return self[0]

    @property
    def summary(self) -> RunSummary:
        """Counts, usage and cost."""
        return self[1]

    @property
    def job_id(self) -> str:
        """The job's id, for ``resume`` and ``Job``."""
        return self.summary.job_id

    def _repr_html_(self) -> str:
        """Counts and cost, the first results and the failures, for notebooks."""
        columns = ("chunk_id", "document_id", "model", "result", "cost_usd", "duration_ms")
        parts = [facts_html(self.summary), rows_html(self.results, columns, caption=f"{len(self.results):,} results")]
        if self.failures:
            about = ("chunk_id", "document_id", "model", "kind", "message", "attempts")
            parts.append(rows_html(self.failures, about, caption=f"{len(self.failures):,} failures"))
        return "".join(parts)


def with_unread(failures: Sequence[ChunkFailure], unread: Sequence[tuple[str, str]]) -> Sequence[ChunkFailure]:
    """The failures of chunks, then one for each (name, why) of a source that could not be read."""
    sources = [ChunkFailure(-1, name, None, "source", why) for name, why in unread]
    return Chained([failures, sources]) if sources else failures


_T = TypeVar("_T")


class Chained(Sequence[_T]):
    """The items of several sequences, in their order, as one lazy sequence."""

    def __init__(self, parts: Sequence[Sequence[_T]]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))  # of each part, as positions in the whole

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[_T]:
        # Sequence's own would search for the part of each item.
        for part in self._parts:
            yield from part

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> list[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | list[_T]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, at)
        return self._parts[part][at - (self._ends[part - 1] if part else 0)]
