"""Rows of the chunk table and of documents that were altered before the CRC of their record was made.

No CRC tells of them. The job is set right, or says that it is damaged; nothing is told under the id of another document,
and no text is taken for another.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner
from mrengine.errors import JobCancelled, JobMismatch, JobNotFound, LogError, MrengineError
from mrengine.host import prepare, rounds, row_stream
from mrengine.log.file.reader import LogReader
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ROW_BYTES, ChunkRow, chunks_segment, pack_row, unpack_row
from mrengine.log.format.job_records import DocumentRow, DocumentsRecord, pack_documents, unpack_documents

SETTINGS: dict[str, Any] = {"strategy": "sequential", "target_tokens": 100, "overlap_tokens": 15, "map_version": "1"}
PARAGRAPH = "# Visit {0}\n\nThe patient of bed {0} slept well – über Nacht. Nothing else was seen.\n\n"
LONG = "".join(PARAGRAPH.format(i) for i in range(1200))  # more than a block of text
DOCUMENTS = [
    Document("doc-1", "".join(PARAGRAPH.format(i) for i in range(70, 80))),
    Document("doc-2", LONG),
    Document("doc-3", LONG[2000:4000]),
]
STATES = ("half", "cut", "read")


def stopping(count: int) -> MapReduceRunner:
    runner = MapReduceRunner("job", **SETTINGS)
    seen: list[Any] = []

    def stop(event: Any) -> None:
        seen.append(event)
        if len(seen) == count:
            runner.stop()

    runner.on("chunk:processed", stop)
    return runner


def told(chunk: Any, _context: Any) -> list[Any]:
    """All that a result may be made of: text, and where it stands."""
    return [chunk.document_id, chunk.text, chunk.start, chunk.end, chunk.overlap]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of jobs that were left half done, while they were cut, and while they were read; and a whole one."""
    made: dict[str, Path] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_stream, "SLICE_S", 0.001)
        patch.setattr(row_stream, "LONGEST_S", 0.002)
        patch.setattr(rounds, "AHEAD", 20)
        for name, read_s, first_s, count in (("half", 60, 60, 30), ("cut", 60, 0, 30), ("read", 0, 0, 30)):
            patch.setattr(prepare, "READ_S", read_s)
            patch.setattr(prepare, "FIRST_S", first_s)
            made[name] = tmp_path_factory.mktemp(name)
            patch.setenv("MRENGINE_STATE_DIR", str(made[name]))
            with pytest.raises(JobCancelled):
                stopping(count).run(DOCUMENTS, told)
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRENGINE_STATE_DIR", str(tmp_path_factory.mktemp("whole")))
        run = MapReduceRunner("job", **SETTINGS).run(DOCUMENTS, told)
    return [(result.document_id, result.result) for result in run.results]


def records(log: Path, kind: int) -> list[int]:
    with LogReader(log) as reader:
        return [frame.offset for frame in reader.frames() if frame.kind == kind]


def rewrite(log: Path, offset: int, change: Callable[[bytes], bytes]) -> None:
    """Change a record's payload, and let its CRC vouch for it."""
    with LogReader(log) as reader:
        frame, header = reader.frame(offset), reader.header
    payload = change(frame.payload)
    assert len(payload) == len(frame.payload)
    assert payload != frame.payload
    with open(log, "r+b") as file:
        file.seek(offset)
        file.write(codec.encode_frame(header.prefix, header.seed, offset, frame.watermark, frame.kind, payload))


def alter_row(log: Path, chunk: int, field: str, how: Callable[[Any], Any]) -> None:
    for offset in records(log, codec.CHUNKS):
        with LogReader(log) as reader:
            segment = chunks_segment(reader.payload(offset), 0)
        if segment.first <= chunk < segment.first + segment.rows:
            at = segment.offset - codec.OVERHEAD_BYTES + (chunk - segment.first) * ROW_BYTES

            def change(payload: bytes, at: int = at) -> bytes:
                row = unpack_row(payload, at)
                altered = pack_row(row._replace(**{field: how(getattr(row, field))}))
                return payload[:at] + altered + payload[at + ROW_BYTES :]

            rewrite(log, offset, change)


def alter_document(log: Path, index: int, field: str, how: Callable[[Any], Any]) -> None:
    for offset in records(log, codec.DOCUMENTS):

        def change(payload: bytes) -> bytes:
            record = unpack_documents(payload)
            rows = list(record.rows)
            row = rows[index - record.first]
            rows[index - record.first] = row._replace(**{field: how(getattr(row, field))})
            return pack_documents(DocumentsRecord(record.first, tuple(rows), record.epoch))

        with LogReader(log) as reader:
            known = unpack_documents(reader.payload(offset))
        if known.first <= index < known.first + len(known.rows):
            rewrite(log, offset, change)


def count_of(log: Path) -> int:
    with LogReader(log) as reader:
        last = [chunks_segment(reader.payload(offset), 0) for offset in records(log, codec.CHUNKS)][-1]
    return last.first + last.rows


def check(found: Any, whole: list[Any]) -> None:
    """What is told is of the document and the text that it is told of."""
    known = {(name, result[1], *result[2:]) for name, result in whole}
    for one in found:
        assert one.result[0] == one.document_id
        assert (one.document_id, *one.result[1:]) in known
    for failure in found.failures:
        assert failure.kind == "damaged", failure
        assert failure.document_id in ("", *(document.id for document in DOCUMENTS))


def run_until_whole(whole: list[Any], *, by_id: bool) -> list[str]:
    """At most three runs: each tells nothing wrong, and the last one all. What each of them was."""
    steps: list[str] = []
    if by_id:
        try:
            run = MapReduceRunner("job", **SETTINGS).resume("job", told)
            check(run.results, whole)
            steps.append(f"resumed {len(run.results.failures)}")
        except (JobNotFound, LogError) as error:
            assert "with its documents again" in str(error)  # noqa: PT017
            steps.append("refused")
    for _ in range(3):
        accepted = {"on_mismatch": "recompute"} if steps and steps[-1] == "mismatch" else {}
        try:
            run = MapReduceRunner("job", **SETTINGS, **accepted).run(DOCUMENTS, told)
        except JobMismatch:
            steps.append("mismatch")
            continue
        check(run.results, whole)
        steps.append(f"ran {len(run.results.failures)}")
        if not run.results.failures:
            break
    assert [(result.document_id, result.result) for result in run.results] == whole, steps
    return steps


def flipped(bit: int) -> Callable[[int], int]:
    return lambda value: value ^ (1 << bit)


def bytes_flipped(value: bytes) -> bytes:
    return bytes([value[0] ^ 0x10]) + value[1:]


ROW_FIELDS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "document": {"next": lambda value: value + 1, "before": lambda value: value - 1, "none": lambda _: 1 << 20},
    "kind": {"other": lambda value: "json" if value != "json" else "csv"},
    "overlap": {"one": flipped(0), "many": flipped(9)},
    "tokens": {"one": flipped(0), "many": flipped(20)},
    "start": {"one": flipped(0), "many": flipped(40)},
    "end": {"one": flipped(0), "many": flipped(12)},
    "spool_from": {"one": flipped(0), "some": flipped(6), "many": flipped(33)},
    "spool_to": {"one": flipped(0), "some": flipped(6), "many": flipped(60)},
    "digest": {"bit": bytes_flipped},
    "context": {"none": lambda _: 0xFFFF},
}
DOCUMENT_FIELDS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "id": {
        "other": lambda value: value[:-1] + "7",
        "another's": lambda value: "doc-1" if value != "doc-1" else "doc-2",
    },
    "digest": {"bit": bytes_flipped},
    "spool_offset": {"one": flipped(0), "some": flipped(4)},
    "n_bytes": {"one": flipped(0), "some": flipped(4)},
    "n_chars": {"one": flipped(0), "some": flipped(4)},
}
ROWS = [(field, how) for field, ways in ROW_FIELDS.items() for how in ways]
OF_DOCUMENTS = [(field, how) for field, ways in DOCUMENT_FIELDS.items() for how in ways]


def the_job(jobs: dict[str, Path], state: str, state_dir: Path) -> Path:
    shutil.copytree(jobs[state], state_dir, dirs_exist_ok=True)
    return state_dir / "jobs" / "job" / "log"


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(("field", "how"), ROWS)
@pytest.mark.parametrize("place", ["pending", "done", "last"])
@pytest.mark.parametrize("state", STATES)
def test_a_row_of_a_chunk(
    state: str, place: str, field: str, how: str, by_id: bool, jobs: dict[str, Path], whole: list[Any], state_dir: Path
) -> None:
    log = the_job(jobs, state, state_dir)
    chunk = {"pending": count_of(log) - 5, "done": 3, "last": count_of(log) - 1}[place]
    alter_row(log, chunk, field, ROW_FIELDS[field][how])
    steps = run_until_whole(whole, by_id=by_id)
    print("STEPS", state, place, field, how, by_id, steps)


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(("field", "how"), OF_DOCUMENTS)
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("state", STATES)
def test_a_row_of_a_document(
    state: str, index: int, field: str, how: str, by_id: bool, jobs: dict[str, Path], whole: list[Any], state_dir: Path
) -> None:
    log = the_job(jobs, state, state_dir)
    alter_document(log, index, field, DOCUMENT_FIELDS[field][how])
    steps = run_until_whole(whole, by_id=by_id)
    print("STEPS", state, index, field, how, by_id, steps)
