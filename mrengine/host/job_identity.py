"""What a job is: the JOB record of what the caller gave, compared with the one in the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgpack

from mrengine._version import __version__
from mrengine.chunking.chunker import Chunker
from mrengine.errors import ConfigError, JobMismatch, SourceError
from mrengine.host.chunk_limits import Chunking, chunking_of, stored_chunking
from mrengine.host.chunk_table import Whole, chunk_records
from mrengine.host.document_rows import DocumentRows, digest_of
from mrengine.host.document_stream import DocumentStream, can_go_on
from mrengine.host.edited import guided
from mrengine.host.intake import Intake
from mrengine.host.known_documents import Known
from mrengine.host.row_stream import Numbered
from mrengine.host.table_checks import first_row
from mrengine.log.format import codec
from mrengine.log.format.job_records import (
    READING,
    DocumentRow,
    JobRecord,
    RoundRecord,
    batch_documents,
    pack_job,
    pack_round,
)
from mrengine.log.format.values import Plain
from mrengine.log.view.carry_over import carried
from mrengine.log.view.chunk_facts import FACTS, unread_facts
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.mismatch import Differences, compare
from mrengine.mapfn.describe import MapFunction
from mrengine.providers.models.model import Model
from mrengine.records import ModelSpec
from mrengine.settings import Settings

__all__ = [
    "Plan",
    "Record",
    "auto_job_id",
    "job_record",
    "round_record",
]

Record = tuple[int, bytes]


def job_record(
    job_id: str,
    settings: Settings,
    models: Sequence[Model],
    mapping: MapFunction,
    documents: Sequence[DocumentRow],
    chunking: Chunking,
    *,
    all_models: bool,
    unread: Sequence[SourceError] = (),
) -> JobRecord:
    """What the caller gave, as the log keeps it."""
    return JobRecord(
        job_id=job_id,
        at=time.time(),
        epoch=0,
        version=__version__,
        python=mapping.python,
        documents=digest_of(documents),
        chunking=chunking.fields(),
        models=tuple((model.name, blake2b(model.identity.encode(), digest_size=8).hexdigest()) for model in models),
        all_models=all_models,
        map_version=mapping.version,
        map_name=mapping.name,
        map_source=mapping.source,
        settings={
            "priority": settings.full_priority,
            "balance": settings.balance,
            "workers": settings.workers,
            "map_parts": dict(mapping.parts),
            "map_folder": mapping.folder,
            "models": [_named(model.spec) for model in models],
            "batch": asdict(settings.batching) if settings.batching is not None else None,
            FACTS: documents.has_facts if isinstance(documents, DocumentRows) else any(row.facts for row in documents),
            **unread_facts(unread),
        },
    )


def auto_job_id(
    documents: Sequence[DocumentRow], settings: Settings, models: Sequence[Model], mapping: MapFunction
) -> str:
    """``auto-`` with 16 hex digits of what the job is made of: the same command again resumes.

    A prompt counts as what it says; a function as what it is named by, and not its code: mended, it goes on with its
    job. Its version counts where that is exact (a prompt's), or all that there is (no name to import).
    """
    named = mapping.source if isinstance(mapping.source, str) and mapping.parts else mapping.version
    digests = [[row.id, row.identity] for row in documents]
    facts = [digests, chunking_of(settings, models).fields(), [model.identity for model in models], named]
    return f"auto-{blake2b(msgpack.packb(facts, unicode_errors='surrogatepass'), digest_size=8).hexdigest()}"


def _named(spec: ModelSpec) -> list[str | list[str] | None]:
    """What a job that goes on by its id alone needs of a spec: names, and no value that could be a secret."""
    provider = spec.provider if isinstance(spec.provider, str) else None
    key = spec.api_key_env if spec.api_key_env is None or isinstance(spec.api_key_env, str) else list(spec.api_key_env)
    return [spec.name, spec.base_url, provider, key]


class Plan:
    """What has to be done before the first round: nothing, or a new epoch in the log."""

    def __init__(self, job: JobRecord, documents: Sequence[DocumentRow], chunking: Chunking) -> None:
        self.job, self.documents, self._chunking = job, documents, chunking
        self.other: str | None = None  # a document of which the log has another beginning
        self.blank_chunks = 0  # left out by records()

    def differences(self, stored: ResumeEngine) -> Differences:
        """What the log has other than the caller."""
        assert stored.epoch is not None
        job = stored.epoch.job
        if not stored.epoch.reading:
            return compare(job, self.job, _pairs(stored.documents()), _pairs(self.documents))
        # It was left while they were read: it says nothing against further ones.
        known = dict(_pairs(stored.documents()))
        now = {name: identity for name, identity in _pairs(self.documents) if name in known}
        for row in stored.documents():
            if row.is_open and row.id in now and row.id != self.other:
                now[row.id] = known[row.id]
        if now == known:
            job = replace(job, documents=self.job.documents)
        return compare(job, self.job, known.items(), now.items())

    def has_other_documents(self, stored: ResumeEngine) -> bool:
        """Whether the log has other documents than the caller, and nothing else that is another."""
        assert stored.epoch is not None
        known = stored.epoch.job
        return known.documents != self.job.documents and not compare(
            replace(known, documents=self.job.documents), self.job
        )

    def check(self, stored: ResumeEngine, on_mismatch: str) -> str:
        """What to do: "resume", "fresh" (the log is empty), "restart" or "new_epoch". JobMismatch."""
        current, newest = stored.epoch, stored.state.newest
        if current is None or newest is None:
            return "fresh"
        if newest is not current and not newest.complete and not compare(newest.job, self.job):
            return "new_epoch"  # it was begun and not finished, or part of it was lost: written anew behind it
        if not current.complete and not (newest is current and stored.has_begun):
            return "new_epoch"
        found = self.differences(stored)
        if current.reading and not found:
            return "new_epoch"  # they were all read by now, and the log does not say so
        if not found and not current.complete:
            return "go_on" if can_go_on(stored) else "new_epoch"
        if not found:
            return "resume" if newest is current else "new_epoch"
        if on_mismatch == "restart":
            return "restart"
        if on_mismatch == "recompute" or (on_mismatch == "extend" and found.extends):
            return "new_epoch"
        raise JobMismatch(_mismatch_message(self.job.job_id, found, on_mismatch), differences=found.lines)

    def blank(self) -> int:
        """How many chunks were left out so far."""
        return self.blank_chunks

    @property
    def n_bytes(self) -> int:
        """Of all documents."""
        return self.job.documents[1]

    def load(self) -> None:
        """Load now what cutting needs."""
        self._chunking.chunker()

    def _note_blank(self) -> None:
        self.blank_chunks += 1

    def records(
        self, spool: Path, stored: ResumeEngine | None = None, *, is_due: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """The records of a new epoch, all but its ROUND; with what it takes over from the epochs of ``stored``.

        ``is_due``: asked after each chunk, whether a record of the chunk table is to end here.
        """
        epoch = max((known.job.epoch + 1 for known in stored.state.epochs), default=0) if stored is not None else 0
        yield codec.JOB, _packed(replace(self.job, epoch=epoch, settings=self._settings()))
        for payload in batch_documents(0, self.documents, epoch=epoch):
            yield codec.DOCUMENTS, payload
        tables = []
        self.blank_chunks = 0
        chunker = self._chunking.chunker()
        chunk = guided(chunker, stored, self.job, self.documents, spool)
        how: dict[str, Any] = {"whole": _whole_of(chunker), "blank": self._note_blank, "is_due": is_due}
        for payload in chunk_records(spool, self.documents, chunk, **how):
            yield codec.CHUNKS, payload
            if stored is not None:
                tables.append(payload)
        if stored is not None and stored.state.epochs:
            for payload in carried(stored, self.job, self.documents, tables):
                yield codec.CARRY, payload

    def _settings(self) -> dict[str, Plain]:
        """What the log says of the job, with what its chunks are cut to."""
        cut_tokens = self._chunking.cut_tokens()
        return {**self.job.settings, "cut_tokens": cut_tokens, "room_tokens": self._chunking.room_tokens}

    def while_read(
        self, intake: Intake, stored: ResumeEngine, known: Known, *, is_due: Callable[[], bool], eager: bool
    ) -> tuple[list[Numbered], DocumentStream]:
        """The JOB record of a job whose documents are being read, where the log has none, and all that follows.

        ``self.job.documents`` names the spool. ``eager``: see DocumentStream.
        """
        chunking, records = self._chunking, []
        if stored.epoch is not None:
            chunking, settings = stored_chunking(stored.epoch.job) or chunking, dict(stored.epoch.job.settings)
        else:
            settings = {**self._settings(), READING: True}
            records = [(codec.JOB, _packed(replace(self.job, settings=settings)), 0)]
        chunker, blank = chunking.chunker(), self._note_blank
        how: dict[str, Any] = {"settings": settings, "known": known, "blank": blank, "is_due": is_due, "eager": eager}
        return records, DocumentStream(intake, chunker.chunk, whole=_whole_of(chunker), **how)

    def further_records(self, spool: Path, stored: ResumeEngine, *, is_due: Callable[[], bool]) -> Iterator[Record]:
        """The rows that the first epoch of a log lacks. The last document that has some is cut once more."""
        chunking = self._chunking
        if stored.epoch is not None and (as_before := stored_chunking(stored.epoch.job)) is not None:
            chunking = as_before  # what a server says of its window today may be something else
        table = stored.chunk_table()
        known = len(table)
        document = table[known - 1].document if known else 0
        first = first_row(table, document)
        chunker = chunking.chunker()
        rows = chunk_records(
            spool,
            self.documents,
            chunker.chunk,
            whole=_whole_of(chunker),
            blank=self._note_blank,
            is_due=is_due,
            since=(document, first),
            known=table,
        )
        return ((codec.CHUNKS, payload) for payload in rows)


def _whole_of(chunker: Any) -> Whole | None:
    """A chunker's short way, where it has one."""
    return chunker.whole if isinstance(chunker, Chunker) else None


def _packed(job: JobRecord) -> bytes:
    packed = pack_job(job)
    if len(packed) > codec.MAX_PAYLOAD_BYTES:
        most = codec.MAX_PAYLOAD_BYTES >> 20
        problem = f"what names the job (its prompt, map_version, models) has {len(packed) >> 20} MB; {most} MB are kept"
        raise ConfigError(f"{problem}: give long texts as documents, or in a map function", setting="map_fn")
    return packed


def round_record(round_: int, total: int, version: str, settings: Settings, **extra: Plain) -> Record:
    """The record that starts, or goes on with, a round; with the size of the pool and the limits, for reports.

    ``extra``: what its facts say beside that.
    """
    limits: dict[str, Plain] = {name: limit.tpm for name, limit in (settings.limits or {}).items()}
    facts: dict[str, Plain] = {"workers": settings.workers, "slots": settings.slots, "limits": limits, **extra}
    return codec.ROUND, pack_round(RoundRecord(round_, time.time(), total, version, facts))


def _pairs(rows: Iterable[DocumentRow]) -> Iterator[tuple[str, bytes]]:
    return ((row.id, row.identity) for row in rows)


def _mismatch_message(job_id: str, found: Differences, on_mismatch: str) -> str:
    what = "; ".join(found.lines)
    if on_mismatch == "extend":
        return f"job {job_id}: on_mismatch='extend' takes added documents and no other change, but: {what}"
    extend = "'extend' (documents were added), " if found.extends else ""
    return (
        f"job {job_id} was started with other inputs: {what}. Use another job_id, or on_mismatch={extend}"
        "'recompute' (keep what still fits) or 'restart' (from nothing)"
    )
