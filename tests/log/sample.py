"""A small job's records, for the log's tests: invented, with every kind of record in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format import task_records as r
from mrengine.log.format.batch_records import BatchRecord, RequestRecord, pack_batch, pack_request
from mrengine.log.format.chunk_rows import MAX_ROWS, ChunkRow, pack_chunks, pack_row
from mrengine.log.format.job_records import (
    READING,
    CloseRecord,
    DocumentRow,
    DocumentsRecord,
    JobRecord,
    NoteRecord,
    ReadRecord,
    RoundRecord,
    pack_close,
    pack_documents,
    pack_job,
    pack_note,
    pack_read,
    pack_round,
)
from mrengine.log.format.packing import stamp
from mrengine.records import Usage


def digest(text: str) -> bytes:
    """16 bytes, as documents and chunks have them."""
    return blake2b(text.encode(), digest_size=16).digest()


def job(
    *,
    epoch: int = 0,
    models: Sequence[tuple[str, str]] = (("m", "p"),),
    all_models: bool = False,
    version: str = "v1",
    documents: tuple[int, int, bytes] = (1, 10, b"d" * 16),
    **changes: object,
) -> JobRecord:
    """A JOB."""
    fields = {"chunking": {"target_tokens": 6000}, "python": "3.11", "map_name": "app:f", **changes}
    return JobRecord(
        job_id="j", at=1.0, epoch=epoch, version="0.1", documents=documents, models=tuple(models),
        all_models=all_models, map_version=version, map_source=None, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def row(document: int = 0, text: str = "a", start: int = 0, end: int = 1, overlap: int = 0) -> bytes:
    """A row of the chunk table."""
    return pack_row(ChunkRow(document, "prose", overlap, 5, start, end, start, end, digest(text)))


def result(chunk: int, model: int = 0, value: object = "fine", *, flags: int = 0, round_: int = 0) -> bytes:
    """A RESULT's payload."""
    return r.pack_result(
        r.ResultRecord(round_, chunk, model, flags, "doc", "m", 1, 1, 2.0, 3.5, Usage(10, 5, 2), 0.25, 1, 0, value)
    )


def failure(chunk: int, model: int = 0, message: str = "boom") -> bytes:
    """A FAILURE's payload."""
    return r.pack_failure(
        r.FailureRecord(0, chunk, model, "doc", "m", 1, 3, 2.0, "error", message, "f:1", {"waits": 1})
    )


def call(
    name: str, chunk: int = 0, *, at: float = 2.0, reusable: bool = True, model: str = "m", text: str = "t"
) -> bytes:
    """A CALL's payload."""
    usage = Usage(10, 5, 2)
    return r.pack_call(r.CallRecord(0, chunk, 0, digest(name), at, usage, 0.5, reusable, model, "stop", 7.5, text))


def intent(name: str, chunk: int = 0, *, at: float = 2.0, model: str = "m") -> bytes:
    """An INTENT's payload."""
    return r.pack_intent(r.IntentRecord(0, chunk, 0, digest(name), at, 100, 50, 400, model))


def request(name: str, chunk: int = 0, *, prompt: str = "p", epoch: int = 0) -> bytes:
    """A REQUEST's payload."""
    turns = (("assistant", "a"), ("user", "again"))
    fields = {"system": "s", "temperature": 0.5, "schema": {"type": "object"}, "turns": turns}
    record = RequestRecord(0, chunk, 0, digest(name), 2.0, 100, 400, 50, "m", prompt, **fields)  # type: ignore[arg-type]
    return stamp(pack_request(record), epoch)


def batch(number: int, state: str, *names: str, at: float = 2.0, **facts: object) -> bytes:
    """A BATCH's payload."""
    name = "" if state == "intent" else f"batch_{number}"
    digests = b"".join(map(digest, names))
    return pack_batch(BatchRecord(number, at, state, "m", f"t{number}", name, digests, facts))  # type: ignore[arg-type]


def begin(
    wal: WriteAheadLog,
    texts: Sequence[str] = "abc",
    *,
    record: JobRecord | None = None,
    documents: Sequence[str] = ("doc",),
    of: Sequence[int] | None = None,
    round_: bool = True,
) -> None:
    """JOB, DOCUMENTS, CHUNKS and ROUND of a job with one chunk a text; ``of``: the document of each."""
    record = record or job()
    record = replace(record, documents=(len(documents), *record.documents[1:]))
    wal.append(codec.JOB, pack_job(record))
    rows = tuple(DocumentRow(name, digest(name), 0, 10, 10) for name in documents)
    wal.append(codec.DOCUMENTS, pack_documents(DocumentsRecord(0, rows, record.epoch)))
    of = of or [0] * len(texts)
    table = [row(of[i], text, i, i + 1) for i, text in enumerate(texts)]
    for first in range(0, len(table), MAX_ROWS):
        rows = b"".join(table[first : first + MAX_ROWS])
        wal.append(codec.CHUNKS, stamp(pack_chunks(0, first, rows), record.epoch))
    if round_:
        wal.append(codec.ROUND, pack_round(RoundRecord(0, 1.5, len(texts), "v1")))


def every_kind(wal: WriteAheadLog) -> list[int]:
    """A job's life in five commits; the durable offset after each."""
    read = job().documents
    begin(wal, record=replace(job(), settings={READING: True}))
    wal.append(codec.READ, pack_read(ReadRecord((1, *read[1:]), job().settings)))
    ends = [wal.commit()]
    wal.append(codec.INTENT, intent("q0"))
    wal.write()
    wal.append(codec.CALL, call("q0"))
    wal.append(codec.RESULT, result(0, value={"a": [1, None, "\ud800"]}))
    ends.append(wal.commit())
    wal.append(codec.ATTEMPT, r.pack_attempt(r.AttemptRecord(0, 1, 0, 2.5, 1, "crash", "signal 9")))
    wal.append(codec.FAILURE, failure(1))
    ends.append(wal.commit())
    wal.append(codec.CARRY, r.pack_carry(r.CarryRecord(0, 2, 0, ends[0])))
    wal.append(codec.REQUEST, request("q1", 1))
    wal.append(codec.BATCH, batch(1, "intent", "q1"))
    wal.append(codec.NOTE, pack_note(NoteRecord(0, 2.6, "worker:crashed", 1, -1, {"exitcode": -9})))
    ends.append(wal.commit())
    wal.append(codec.CLOSE, pack_close(CloseRecord(9.0, "done", {"n": 1})))
    ends.append(wal.commit())
    return ends
