"""Makes the JOB record of what the caller gave, compares it with the log's, and plans the records that it lacks."""

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
    """The JOB record of what the caller gave."""
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
    """``auto-`` and 16 hex digits, a digest of the job's inputs: the same command again resumes the job.

    A prompt counts by its text; a function by its importable name, or by its version where it has none.
    """
    # Not by its code: a function that was mended goes on with its job, and with the answers that were paid for.
    named = mapping.source if isinstance(mapping.source, str) and mapping.parts else mapping.version
    digests = [[row.id, row.identity] for row in documents]
    facts = [digests, chunking_of(settings, models).fields(), [model.identity for model in models], named]
    return f"auto-{blake2b(msgpack.packb(facts, unicode_errors='surrogatepass'), digest_size=8).hexdigest()}"


def _named(spec: ModelSpec) -> list[str | list[str] | None]:
    """What resuming by id alone needs of a spec: names, and no value that could be a secret."""
    provider = spec.provider if isinstance(spec.provider, str) else None
    key = spec.api_key_env if spec.api_key_env is None or isinstance(spec.api_key_env, str) else list(spec.api_key_env)
    return [spec.name, spec.base_url, provider, key]


class Plan:
    """Decides what the log needs before the first round, and makes the records."""

    def __init__(self, job: JobRecord, documents: Sequence[DocumentRow], chunking: Chunking) -> None:
        self.job, self.documents, self._chunking = job, documents, chunking
        self.other: str | None = None  # the id of a half-read document that begins otherwise now
        self.blank_chunks = 0  # chunks of nothing but blanks, which were left out

    def differences(self, stored: ResumeEngine) -> Differences:
        """In what the log differs from what the caller gave."""
        assert stored.epoch is not None
        job = stored.epoch.job
        if not stored.epoch.reading:
            return compare(job, self.job, _pairs(stored.documents()), _pairs(self.documents))
        # The job was left while its documents were read: further documents are no difference, and an open one has no
        # digest yet to compare (the digests of its rows were compared before).
        before = dict(_pairs(stored.documents()))
        now = {name: identity for name, identity in _pairs(self.documents) if name in before}
        for row in stored.documents():
            if row.is_open and row.id in now and row.id != self.other:
                now[row.id] = before[row.id]
        if now == before:
            job = replace(job, documents=self.job.documents)
        return compare(job, self.job, before.items(), now.items())

    def has_other_documents(self, stored: ResumeEngine) -> bool:
        """Whether the documents are all that differs between the log and the caller."""
        assert stored.epoch is not None
        logged = stored.epoch.job
        return logged.documents != self.job.documents and not compare(
            replace(logged, documents=self.job.documents), self.job
        )

    def check(self, stored: ResumeEngine, on_mismatch: str) -> str:
        """Decide: "fresh" (an empty log), "resume", "go_on" (append rows), "restart" or "new_epoch". JobMismatch."""
        current, newest = stored.epoch, stored.state.newest
        if current is None or newest is None:
            return "fresh"
        if newest is not current and not newest.complete and not compare(newest.job, self.job):
            return "new_epoch"  # the newest epoch has these inputs, but is cut short or damaged: write it anew
        # Nothing was paid for under these inputs: others need not be refused.
        if not current.complete and not (newest is current and stored.has_begun):
            return "new_epoch"
        differences = self.differences(stored)
        if current.reading and not differences:
            return "new_epoch"  # all documents are read by now: the log gets the digest of all, which it lacks
        if not differences and not current.complete:
            return "go_on" if can_go_on(stored) else "new_epoch"
        if not differences:
            return "resume" if newest is current else "new_epoch"
        if on_mismatch == "restart":
            return "restart"
        if on_mismatch == "recompute" or (on_mismatch == "extend" and differences.extends):
            return "new_epoch"
        raise JobMismatch(_mismatch_message(self.job.job_id, differences, on_mismatch), differences=differences.lines)

    def blank(self) -> int:
        """How many chunks were left out so far, because they have nothing but blanks."""
        return self.blank_chunks

    @property
    def n_bytes(self) -> int:
        """The length of all documents."""
        return self.job.documents[1]

    def load(self) -> None:
        """Load the tokenizer now, so that it does not count against the first slice of cutting."""
        self._chunking.chunker()

    def _note_blank(self) -> None:
        self.blank_chunks += 1

    def records(
        self, spool: Path, stored: ResumeEngine | None = None, *, is_due: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """The records of a new epoch without its ROUND; CARRY records take results over from the epochs of ``stored``.

        ``is_due``: asked after each chunk whether a CHUNKS record is to end here.
        """
        epoch = max((known.job.epoch + 1 for known in stored.state.epochs), default=0) if stored is not None else 0
        yield codec.JOB, _packed(replace(self.job, epoch=epoch, settings=self._settings()))
        for payload in batch_documents(0, self.documents, epoch=epoch):
            yield codec.DOCUMENTS, payload
        tables = []
        self.blank_chunks = 0
        chunker = self._chunking.chunker()
        chunk = guided(chunker, stored, self.job, self.documents, spool)
        whole = _whole_of(chunker)
        for payload in chunk_records(spool, self.documents, chunk, whole=whole, blank=self._note_blank, is_due=is_due):
            yield codec.CHUNKS, payload
            if stored is not None:
                tables.append(payload)
        if stored is not None and stored.state.epochs:
            for payload in carried(stored, self.job, self.documents, tables):
                yield codec.CARRY, payload

    def _settings(self) -> dict[str, Plain]:
        """The settings for the JOB record, with the size that chunks are cut to."""
        # A server may report another window tomorrow: the rest of the table is then cut to the size in the log.
        cut_tokens = self._chunking.cut_tokens()
        return {**self.job.settings, "cut_tokens": cut_tokens, "room_tokens": self._chunking.room_tokens}

    def while_read(
        self, intake: Intake, stored: ResumeEngine, known: Known, *, is_due: Callable[[], bool], eager: bool
    ) -> tuple[list[Numbered], DocumentStream]:
        """The JOB record of a job whose documents are being read, if the log has none, and the stream of all others.

        ``self.job.documents`` names the spool. ``eager``: see DocumentStream.
        """
        chunking, records = self._chunking, []
        if stored.epoch is not None:
            chunking, settings = stored_chunking(stored.epoch.job) or chunking, dict(stored.epoch.job.settings)
        else:
            settings = {**self._settings(), READING: True}
            records = [(codec.JOB, _packed(replace(self.job, settings=settings)), 0)]
        chunker = chunking.chunker()
        stream = DocumentStream(
            intake,
            chunker.chunk,
            whole=_whole_of(chunker),
            settings=settings,
            known=known,
            blank=self._note_blank,
            is_due=is_due,
            eager=eager,
        )
        return records, stream

    def further_records(self, spool: Path, stored: ResumeEngine, *, is_due: Callable[[], bool]) -> Iterator[Record]:
        """The rows that the first epoch of a log lacks; the last document with rows is cut once more and compared."""
        chunking = self._chunking
        if stored.epoch is not None and (as_before := stored_chunking(stored.epoch.job)) is not None:
            chunking = as_before  # a server may report another window today
        table = stored.chunk_table()
        count = len(table)
        document = table[count - 1].document if count else 0
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
    """A chunker's method for documents that are one chunk, if it has one."""
    return chunker.whole if isinstance(chunker, Chunker) else None


def _packed(job: JobRecord) -> bytes:
    packed = pack_job(job)
    if len(packed) > codec.MAX_PAYLOAD_BYTES:
        most = codec.MAX_PAYLOAD_BYTES >> 20
        problem = f"what names the job (its prompt, map_version, models) has {len(packed) >> 20} MB; {most} MB are kept"
        raise ConfigError(f"{problem}: give long texts as documents, or in a map function", setting="map_fn")
    return packed


def round_record(round_: int, total: int, version: str, settings: Settings, **extra: Plain) -> Record:
    """The record that starts or continues a round; its facts have the size of the pool and the limits, for reports,
    and ``extra``.
    """
    limits: dict[str, Plain] = {name: limit.tpm for name, limit in (settings.limits or {}).items()}
    facts: dict[str, Plain] = {"workers": settings.workers, "slots": settings.slots, "limits": limits, **extra}
    return codec.ROUND, pack_round(RoundRecord(round_, time.time(), total, version, facts))


def _pairs(rows: Iterable[DocumentRow]) -> Iterator[tuple[str, bytes]]:
    return ((row.id, row.identity) for row in rows)


def _mismatch_message(job_id: str, differences: Differences, on_mismatch: str) -> str:
    what = "; ".join(differences.lines)
    if on_mismatch == "extend":
        return f"job {job_id}: on_mismatch='extend' takes added documents and no other change, but: {what}"
    extend = "'extend' (documents were added), " if differences.extends else ""
    return (
        f"job {job_id} was started with other inputs: {what}. Use another job_id, or on_mismatch={extend}"
        "'recompute' (keep what still fits) or 'restart' (from nothing)"
    )
