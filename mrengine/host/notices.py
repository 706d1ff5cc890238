"""The texts of a run's warnings: about its log, its documents and its failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mrengine.host.intake import Intake

__all__ = ["blank", "damaged", "empty", "failed", "lost", "of_documents", "of_sources", "partly_failed"]

SHOWN = 5  # names in one message
SOURCES_SHOWN = 20


def damaged(job_id: str, ranges: Sequence[tuple[int, int]]) -> str:
    """The log has lost bytes whose records were announced before."""
    shown = ", ".join(f"{start} to {end}" for start, end in ranges)
    return f"the log of job {job_id} was damaged: bytes {shown} are kept aside, what they held runs again"


def lost(job_id: str, damaged: Sequence[str], unknown: int) -> Iterator[str]:
    """Documents that a job cannot read any more: ``damaged`` by their ids, and how many lost their ids, too."""
    way_out = "what they still had to do fails; run the job with its documents again"
    if damaged:
        yield f"job {job_id}: {_names('document', damaged)} in its spool damaged: {way_out}"
    if unknown:
        yield f"job {job_id}: its log has lost the record of {unknown} document{'s' * (unknown > 1)}: {way_out}"


def _names(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more are" if len(names) > SHOWN else " are" if len(names) > 1 else " is"
    return f"{what}{'s' * (len(names) > 1)} {', '.join(map(repr, names[:SHOWN]))}{more}"


def empty(job_id: str, names: Sequence[str]) -> str:
    """Documents without text, by their ids, have no chunk."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    what = "a document is empty and has" if len(names) == 1 else f"{len(names)} documents are empty and have"
    return f"job {job_id}: {what} no chunk: {', '.join(map(repr, names[:SHOWN]))}{more}"


def of_documents(job_id: str, intake: Intake | None) -> Iterator[str]:
    """Warnings about documents that were read while the round was played; none if all were read before."""
    if intake is None:
        return
    yield from of_sources(job_id, intake.reading.warnings)
    if intake.reading.errors:
        yield f"job {job_id}: {intake.reading.unread_message()}\n  they are left out"
    if intake.textless:
        yield empty(job_id, intake.textless)


def blank(job_id: str, count: int) -> str:
    """Chunks of nothing but blanks are not sent."""
    what = "a chunk has" if count == 1 else f"{count} chunks have"
    return f"job {job_id}: {what} nothing but blanks, and cost{'s' * (count == 1)} no call"


def partly_failed(job_id: str, failed: int, total: int) -> str:
    """Some chunks have no result, and the reducer is given the others."""
    chunks = f"{failed} of {total} chunk{'s' * (total > 1)} failed"
    return f"job {job_id}: {chunks}; results.failures, or 'mrengine export {job_id}', says why"


def failed(failed: int, total: int) -> str:
    """Too many of the chunks failed; the caller appends why the first one did."""
    if total == 1:
        return "its only chunk failed"
    return f"{f'all {total}' if failed == total else f'{failed} of {total}'} chunks failed; the first one"


def of_sources(job_id: str, warnings: Sequence[str]) -> list[str]:
    """Warnings about sources that were not read exactly as they are: the first ones, and how many more there are."""
    lines = [f"job {job_id}: {warning}" for warning in warnings[:SOURCES_SHOWN]]
    if len(warnings) > SOURCES_SHOWN:
        lines.append(f"job {job_id}: {len(warnings) - SOURCES_SHOWN} more sources were read so")
    return lines
