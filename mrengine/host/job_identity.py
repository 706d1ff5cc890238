"""What a job is: the JOB record of what the caller gave, compared with the one in the log."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgpack

from mrengine._version import __version__
from mrengine.errors import ChunkingError, ConfigError, JobMismatch, SourceError
from mrengine.host.chunk_table import chunk_records, digest_of
from mrengine.host.edited import guided
from mrengine.log.format import codec
from mrengine.log.format.job_records import DocumentRow, JobRecord, RoundRecord, batch_documents, pack_job, pack_round
from mrengine.log.format.values import Plain
from mrengine.log.view.carry_over import carried
from mrengine.log.view.document_facts import FACTS, UNREAD
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.mismatch import Differences, compare
from mrengine.mapfn.describe import MapFunction
from mrengine.mapfn.digest import digest
from mrengine.providers.models.model import Model
from mrengine.records import ModelSpec
from mrengine.settings import Settings

__all__ = [
    "AUTO_TARGET",
    "Chunking",
    "Plan",
    "Record",
    "auto_job_id",
    "chunking_of",
    "job_record",
    "round_record",
    "stored_chunking",
]

ANSWER_ROOM = 1024 + 256  # tokens of a context window that are not the document's: the answer, and the prompt around
PROMPT_ROOM = 768  # tokens of a window that a summary's own words take
AUTO_TARGET = 6000
MOST_UNREAD, UNREAD_CHARS = 10_000, 1000  # what the log keeps of sources that could not be read
DEFAULT_OVERLAP = 350
Record = tuple[int, bytes]


@dataclass(slots=True)
class Chunking:
    """How documents are cut. The tokenizer is loaded when the first one is. ``fit``: the target is what one call has
    room for, and documents that have more are cut into smaller parts (``chunking/fitted``).
    """

    target_tokens: int | None
    overlap_tokens: int
    encoding: str
    splitter: Any
    askable: tuple[Model, ...] = ()
    fit: bool = False
    room_tokens: int = AUTO_TARGET  # of the text of one call, whatever chunks are cut to
    _made: Any = None

    def cut_tokens(self) -> int | None:
        """What chunks are cut to: the target, and no more than the servers of ``askable`` models say that they hold.

        Not part of ``fields()``: a job goes on, with the chunks that its log has, where a server tells nothing today.
        """
        if not self.askable or self.target_tokens is None:
            return self.target_tokens
        from mrengine.providers.call.context_window import ask_windows

        windows = ask_windows(self.askable)
        declared = any(model.context_window is not None for model in self.askable)
        known = [self.room_tokens] if declared or not windows else []
        self.room_tokens = min([*known, *map(_room_beside_answer, windows)])
        self.target_tokens = self.room_tokens if self.fit else min([self.target_tokens, *map(_room, windows)])
        self.overlap_tokens = min(self.overlap_tokens, self.target_tokens // 4)
        self.askable = ()
        return self.target_tokens

    def chunker(self) -> Any:
        """The chunker, made once."""
        if self._made is None and self.fit:
            from mrengine.chunking.fitted import FittedChunker

            room = self.cut_tokens()
            assert room is not None
            self._made = FittedChunker(
                room=room, overlap_tokens=self.overlap_tokens, encoding=self.encoding, splitter=self.splitter
            )
        elif self._made is None:
            from mrengine.chunking import Chunker

            self._made = Chunker(
                target_tokens=self.cut_tokens(),
                overlap_tokens=self.overlap_tokens,
                encoding=self.encoding,
                splitter=self.splitter,
            )
        return self._made

    def fields(self) -> dict[str, Any]:
        """What the log says of it."""
        named = isinstance(self.splitter, str)
        return {
            "target_tokens": "fit" if self.fit else self.target_tokens,
            "overlap_tokens": self.overlap_tokens,
            "encoding": self.encoding,
            "splitter": self.splitter if named else digest(self.splitter).digest,
        }


def chunking_of(settings: Settings, models: Sequence[Model]) -> Chunking:
    """The limits of a chunk. Target "auto" is what the smallest model holds beside its answer, at most 6,000 tokens;
    "fit" all that it holds beside an answer of half the length, 6,000 where no window is known.

    An overlap that was not asked for gives way to a small target: it is a quarter of it at most.
    """
    target = settings.target_tokens
    fit = target == "fit"
    rooms = [_room_beside_answer(m.context_window, m.max_output) for m in models if m.context_window is not None]
    room = min(rooms, default=AUTO_TARGET)
    if fit:
        target = room
    elif target == "auto":
        windows = [model.context_window for model in models if model.context_window is not None]
        target = min([AUTO_TARGET, *map(_room, windows)])
    assert target is None or isinstance(target, int)
    overlap = settings.overlap_tokens
    if overlap is None:
        overlap = DEFAULT_OVERLAP if target is None else min(DEFAULT_OVERLAP, target // 4)
    askable = tuple(models) if settings.target_tokens in ("auto", "fit") else ()
    return Chunking(target, overlap, settings.encoding, settings.splitter, askable, fit, room)


def stored_chunking(job: JobRecord) -> Chunking | None:
    """How a job of the log was cut; None where a function of the caller's said where, or the log says it in no known
    way.
    """
    from mrengine.chunking.detect import check

    fields = job.chunking
    target, splitter = fields.get("target_tokens"), fields.get("splitter")
    cut = job.settings.get("cut_tokens", target)
    try:
        check(splitter)  # type: ignore[arg-type]
        overlap = int(fields["overlap_tokens"])
        limit = None if cut is None else int(cut)
    except (ChunkingError, KeyError, TypeError, ValueError):
        return None
    if limit is not None and cut != target:
        overlap = min(overlap, limit // 4)
    return Chunking(
        limit, overlap, str(fields.get("encoding")), splitter, fit=target == "fit", room_tokens=_stored_room(job)
    )


def _stored_room(job: JobRecord) -> int:
    room = job.settings.get("room_tokens")
    return room if isinstance(room, int) else AUTO_TARGET


def _room(window: int) -> int:
    """Tokens of a chunk that a window has room for. Other tokenizers count up to a third more than ours."""
    return max(64, int((window - ANSWER_ROOM) / 1.3))


def _room_beside_answer(window: int, max_output: int | None = None) -> int:
    """The same beside an answer of half the chunk's length, or of all that the model can say, if that is less."""
    left = window - PROMPT_ROOM
    rooms = [left / 1.8] if max_output is None else [left / 1.8, (left - max_output) / 1.3]
    return max(64, int(max(rooms)))


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
            FACTS: any(row.facts for row in documents),
            UNREAD: [
                [error.document_id or error.source or "", str(error)[:UNREAD_CHARS]] for error in unread[:MOST_UNREAD]
            ],
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
        self.blank_chunks = 0  # left out by records()

    def differences(self, stored: ResumeEngine) -> Differences:
        """What the log has other than the caller."""
        assert stored.epoch is not None
        return compare(stored.epoch.job, self.job, _pairs(stored.documents()), _pairs(self.documents))

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
        if not found and not current.complete:
            return "go_on" if _can_go_on(stored) else "new_epoch"
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
        settings = {**self.job.settings, "cut_tokens": self._chunking.cut_tokens()}
        settings["room_tokens"] = self._chunking.room_tokens
        job = pack_job(replace(self.job, epoch=epoch, settings=settings))
        if len(job) > codec.MAX_PAYLOAD_BYTES:
            most = codec.MAX_PAYLOAD_BYTES >> 20
            told = f"what names the job (its prompt, map_version, models) has {len(job) >> 20} MB; {most} MB are kept"
            raise ConfigError(f"{told}: give long texts as documents, or in a map function", setting="map_fn")
        yield codec.JOB, job
        for payload in batch_documents(0, self.documents, epoch=epoch):
            yield codec.DOCUMENTS, payload
        tables = []
        self.blank_chunks = 0
        chunk = guided(self._chunking.chunker(), stored, self.job, self.documents, spool)
        for payload in chunk_records(spool, self.documents, chunk, blank=self._note_blank, is_due=is_due):
            yield codec.CHUNKS, payload
            if stored is not None:
                tables.append(payload)
        if stored is not None and stored.state.epochs:
            for payload in carried(stored, self.job, self.documents, tables):
                yield codec.CARRY, payload

    def further_records(self, spool: Path, stored: ResumeEngine, *, is_due: Callable[[], bool]) -> Iterator[Record]:
        """The rows that the first epoch of a log lacks. The last document that has some is cut once more."""
        chunking = self._chunking
        if stored.epoch is not None and (as_before := stored_chunking(stored.epoch.job)) is not None:
            chunking = as_before  # what a server says of its window today may be something else
        table = stored.chunk_table()
        known = len(table)
        document = table[known - 1].document if known else 0
        first = bisect_left(range(known), document, key=lambda row: table[row].document)
        rows = chunk_records(
            spool,
            self.documents,
            chunking.chunker().chunk,
            blank=self._note_blank,
            is_due=is_due,
            since=(document, first),
            known=table,
        )
        return ((codec.CHUNKS, payload) for payload in rows)


def _can_go_on(stored: ResumeEngine) -> bool:
    """Whether the rows of a log are the first ones of this version's, and all of its documents are known."""
    epoch = stored.epoch
    assert epoch is not None
    return epoch.job.version == __version__ and not stored.state.repaired and not epoch.lost_documents()


def round_record(round_: int, total: int, version: str, settings: Settings, **told: Plain) -> Record:
    """The record that starts, or goes on with, a round; with the size of the pool and the limits, for reports.

    ``told``: what its facts say beside that.
    """
    limits: dict[str, Plain] = {name: limit.tpm for name, limit in (settings.limits or {}).items()}
    facts: dict[str, Plain] = {"workers": settings.workers, "slots": settings.slots, "limits": limits, **told}
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
