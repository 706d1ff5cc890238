"""Every file and record of a job folder × every damage × documents given again or resume by id.

What the caller gives again heals the job; what cannot be healed is named, and costs its own chunks alone. Nothing that
was answered is asked again but what the damage struck, and nothing hangs.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mrengine import Document, Job, MapReduceRunner
from mrengine.cli import main
from mrengine.errors import JobCancelled, JobMismatch, JobNotFound, LogError
from mrengine.jobs import list_jobs
from mrengine.log.file.reader import LogReader
from mrengine.log.format import codec
from mrengine.log.format.packing import key
from mrengine.log.view.verify import verify
from mrengine.testing import fake

DOCUMENTS = [Document(f"doc-{n}", "\n\n".join(f"Visit {n}.{k} of patient {n}: " + "fine. " * 20 for k in range(3)))
             for n in range(6)]  # fmt: skip
FAILS_FIRST = ("doc-3", "doc-4", "doc-5")
ONE_BATCH = 2  # documents in a DOCUMENTS record: there are three, and each can be lost alone


class Asked:
    """A model that counts what it is asked, in a file: it travels, and is another object there."""

    def __init__(self) -> None:
        handle, self._path = tempfile.mkstemp(dir=os.path.dirname(os.environ["MRENGINE_STATE_DIR"]))
        os.close(handle)

    @property
    def chunks(self) -> list[int]:
        """Ids of the chunks of which it was asked, in order."""
        return sorted(map(int, Path(self._path).read_text().split()))

    def model(self) -> Any:
        path = self._path

        def answer(request: Any) -> str:
            with open(path, "a") as file:
                file.write(f"{request.chunk_id}\n")
            return f"answer {request.chunk_id}"

        return fake(answer)


def first_half(chunk: Any, context: Any) -> str:
    """Fails where the second run is to go on."""
    if chunk.document_id in FAILS_FIRST:
        raise ValueError("not yet")
    return everything(chunk, context)


def everything(chunk: Any, context: Any) -> str:
    """What was asked, and of what."""
    return f"{chunk.document_id}|{chunk.text[:9]}|{context.complete('Q ' + chunk.text).text}"


def runner(asked: Asked, **more: Any) -> MapReduceRunner:
    return MapReduceRunner(
        "job", strategy="sequential", models=asked.model(), map_version="1", target_tokens=80, overlap_tokens=0, **more
    )


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    """A job folder of which half is done, and all that it would hold in the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mrengine.log.format.job_records.MAX_BATCH_BYTES", ONE_BATCH * (4 * len("doc-0") + 60))
        whole = tmp_path_factory.mktemp("whole")
        patch.setenv("MRENGINE_STATE_DIR", str(whole))
        found = {r.chunk_id: r.result for r in runner(Asked()).run(DOCUMENTS, everything).results}
        half = tmp_path_factory.mktemp("half")
        patch.setenv("MRENGINE_STATE_DIR", str(half))
        run = runner(Asked()).run(DOCUMENTS, first_half)
    assert 0 < len(run.results) < len(found)
    assert len(found) >= 12
    return half, found


@pytest.fixture
def job(half_done: tuple[Path, dict[int, str]], state_dir: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(half_done[0], state_dir)
    return state_dir / "jobs" / "job"


def frames(job: Path, kind: int) -> list[tuple[int, int]]:
    """(start, stop) of the records of a kind."""
    with LogReader(job / "log") as log:
        return [(frame.offset, frame.end) for frame in log.frames() if frame.kind == kind]


def flip(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def overwrite(path: Path, start: int, stop: int) -> None:
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(bytes(stop - start))


def insert_again(path: Path, start: int, stop: int) -> None:
    """What a block layer may do: the same bytes once more, the rest behind them."""
    data = path.read_bytes()
    path.write_bytes(data[:stop] + data[start:stop] + data[stop:])


RECORD_DAMAGE: dict[str, Callable[[Path, int, int], None]] = {
    "flip": lambda log, start, stop: flip(log, (start + stop) // 2),
    "zeros": overwrite,
    "sector": lambda log, start, stop: overwrite(log, start // 512 * 512 or 512, max(start // 512 * 512, 512) + 512),
    "cut": lambda log, start, stop: os.truncate(log, (start + stop) // 2),
    "twice": insert_again,
}
INSTEAD: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "socket": lambda path: bind(path),
    "folder": lambda path: (path.mkdir(), (path / "kept").touch()),  # type: ignore[func-returns-value,dict-item]
    "link": lambda path: path.symlink_to("/dev/zero"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "device": lambda path: os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5)),
}


def short(names: Iterable[str], *always: str) -> list[Any]:
    """All names; those that are not ``always`` tried belong to the long runs."""
    return [name if name in always else pytest.param(name, marks=pytest.mark.system) for name in names]


def bind(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address must be short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def replace(path: Path, how: str) -> None:
    """Put something else in the place of a file."""
    if how == "device" and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    path.unlink(missing_ok=True)
    INSTEAD[how](path)


def look() -> None:
    """What every reader meets: an answer or an error of ours, and no waiting."""
    for job in list_jobs():
        for act in (job.status, lambda job=job: list(job.results())):
            try:
                act()
            except (LogError, JobNotFound):
                pass


def run_again(whole: dict[int, str]) -> Asked:
    """With its documents: all is there, and as it would have been."""
    asked = Asked()
    run = runner(asked).run(DOCUMENTS, everything)
    assert {r.chunk_id: r.result for r in run.results} == whole
    assert not run.results.failures
    assert {r.document_id for r in run.results} == {document.id for document in DOCUMENTS}
    return asked


def resume(whole: dict[int, str]) -> tuple[Asked, list[Any], Exception | None]:
    """By its id: what could be done is right, what could not is named, and the way out is said."""
    asked, refused = Asked(), None
    try:
        run = runner(asked).resume("job", everything)
    except (JobNotFound, LogError) as error:
        refused = error
    if refused is not None:
        assert any(way_out in str(refused) for way_out in ("documents again", "remove it", "there is no job"))
        return asked, [], refused
    assert {r.chunk_id: r.result for r in run.results} == {r.chunk_id: whole[r.chunk_id] for r in run.results}
    for failure in run.results.failures:
        assert failure.kind == "damaged", failure
        assert "run the job again with its documents" in failure.message
    assert len(run.results) + len(run.results.failures) == len(whole)
    return asked, list(run.results.failures), None


KINDS = [
    name for name in codec.KIND_NAMES if name not in ("VOID", "ATTEMPT", "CARRY", "NOTE", "REQUEST", "BATCH", "READ")
]  # the job has none


@pytest.mark.parametrize("way", ["documents", "id"])
@pytest.mark.parametrize("damage", short(RECORD_DAMAGE, "flip", "sector"))
@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_was_struck(
    kind: str, damage: str, way: str, job: Path, half_done: tuple[Path, dict[int, str]]
) -> None:
    """Whichever it is, and however: the job ends as it would have; answers that are left are not asked for again."""
    whole = half_done[1]
    struck = frames(job, codec.KIND_NAMES.index(kind))
    start, stop = struck[len(struck) // 2]
    RECORD_DAMAGE[damage](job / "log", start, stop)
    look()
    if way == "id":
        _, failures, error = resume(whole)
        if damage == "flip" and kind != "JOB":
            assert error is None
            assert len(failures) <= 2 * 3  # of the documents whose record was struck, and that nothing else names
    asked = run_again(whole)
    if damage == "flip" and kind != "CALL":
        done = len(whole) - len([chunk for chunk in whole if whole[chunk].startswith(FAILS_FIRST)])
        if way == "documents":
            assert len(asked.chunks) == len(whole) - done
    assert run_again(whole).chunks == []


def rewrite(log: Path, offset: int, change: Callable[[bytearray], object]) -> None:
    """Change a record's payload, and let its CRC vouch for it."""
    with LogReader(log) as reader:
        frame, header = reader.frame(offset), reader.header
    payload = bytearray(frame.payload)
    change(payload)
    bare = codec.Frame(offset, frame.kind, bytes(payload), frame.watermark)
    data = codec.encode_frame(header.prefix, header.seed, offset, bare.watermark, bare.kind, bare.payload)
    assert bare.end == frame.end
    with open(log, "r+b") as file:
        file.seek(offset)
        file.write(data)


def fill(payload: bytearray, byte: int, *, keep: int = 22) -> None:
    payload[keep:] = bytes([byte]) * (len(payload) - keep)


NONSENSE: dict[str, Callable[[bytearray], object]] = {
    "no msgpack": lambda payload: fill(payload, 0xC1),
    "other types": lambda payload: fill(payload, 0x01),
    "nothing": lambda payload: fill(payload, 0xC0),
    "half": lambda payload: fill(payload, 0xC1, keep=len(payload) * 3 // 4),
    "no text": lambda payload: fill(payload, 0xFF, keep=len(payload) - 4),
    "no head": lambda payload: fill(payload, 0xC1, keep=0),
}


@pytest.mark.parametrize("damage", short(NONSENSE, "no msgpack", "other types"))
@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_its_crc_vouches_for_and_that_is_none(
    kind: str, damage: str, job: Path, half_done: tuple[Path, dict[int, str]]
) -> None:
    """It costs its own chunk, or nothing: all else stays readable, and the next run sets it right."""
    whole = half_done[1]
    struck = frames(job, codec.KIND_NAMES.index(kind))
    rewrite(job / "log", struck[len(struck) // 2][0], NONSENSE[damage])
    look()
    if kind == "CHUNKS" and damage != "no head":  # rows are numbers: any are rows, until their texts are asked for
        _, failures, _ = resume(whole)
        assert failures
    run_again(whole)
    assert verify(job).sound
    assert run_again(whole).chunks == []


@pytest.mark.parametrize("damage", [name for name in NONSENSE if name != "no head"])
@pytest.mark.parametrize("kind", ["RESULT", "FAILURE"])
def test_an_unreadable_outcome_is_a_failure_of_its_own_chunk(
    kind: str, damage: str, job: Path, half_done: tuple[Path, dict[int, str]]
) -> None:
    """Results, failures, status, export and verify agree about it."""
    before = Job("job").status()
    whole, offset = half_done[1], frames(job, codec.KIND_NAMES.index(kind))[0][0]
    with LogReader(job / "log") as log:
        chunk = key(log.payload(offset))[1]
    rewrite(job / "log", offset, NONSENSE[damage])
    results, status = Job("job").results(), Job("job").status()
    assert {r.chunk_id: r.result for r in results}.items() < whole.items()
    damaged = [failure for failure in results.failures if failure.kind == "damaged"]
    assert [(f.chunk_id, f.document_id) for f in damaged] == [(chunk, whole[chunk].partition("|")[0])]
    lost = kind == "RESULT"
    assert (len(results), len(results.failures)) == (before.done - lost, before.failed + lost)
    assert (status.done, status.failed) == (len(results), len(results.failures))
    assert [at for at, _ in verify(job).problems] == [offset]
    export = CliRunner().invoke(main, ["export", "job"])
    assert export.exit_code == 0
    assert len(export.output.splitlines()) == before.done + before.failed
    run_again(whole)


@pytest.mark.parametrize("way", ["documents", "id"])
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (8, 9), (12, 16), (16, 20), (25, 26), (300, 301), (508, 512), (0, 512), (0, 4096)]
)
def test_a_header_that_was_struck(
    start: int, stop: int, way: str, job: Path, half_done: tuple[Path, dict[int, str]]
) -> None:
    """Magic, version, salt, name, padding, CRC, the whole sector, and with it the first page: the frames imply it."""
    whole, before = half_done[1], (job / "log").read_bytes()[: codec.HEADER_BYTES]
    if stop - start == 1:
        flip(job / "log", start)
    else:
        overwrite(job / "log", start, stop)
    look()
    if way == "id":
        _, failures, error = resume(whole)
        assert (failures, error) == ([], None) or stop > codec.HEADER_BYTES
    again = run_again(whole)
    assert (job / "log").read_bytes()[: codec.HEADER_BYTES] == before
    assert (job / "log.damaged-0-512").stat().st_size == codec.HEADER_BYTES
    if stop <= codec.HEADER_BYTES:
        assert {whole[chunk].split("|")[0] for chunk in again.chunks} <= set(FAILS_FIRST)


@pytest.mark.parametrize("batches", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("way", ["documents", "id"])
def test_documents_that_the_log_has_lost(
    batches: tuple[int, ...], way: str, job: Path, half_done: tuple[Path, dict[int, str]]
) -> None:
    """Given again, or named by the outcomes of their own chunks: nobody notices. Failures name them, too."""
    whole = half_done[1]
    records = frames(job, codec.DOCUMENTS)
    assert len(records) == 3
    for batch in batches:
        flip(job / "log", records[batch][0] + 30)
    if way == "documents":
        run_again(whole)
    else:
        _, failures, error = resume(whole)
        assert (failures, error) == ([], None)
    assert run_again(whole).chunks == []


def test_documents_that_nothing_names_cost_their_own_chunks(job: Path, half_done: tuple[Path, dict[int, str]]) -> None:
    """No record, no outcome: those that are known are run, the others fail by name, and are healed by documents."""
    whole = half_done[1]
    for start, _ in (*frames(job, codec.FAILURE), frames(job, codec.DOCUMENTS)[2]):
        flip(job / "log", start + 30)
    asked, failures, error = resume(whole)
    assert error is None
    lost = sorted(chunk for chunk in whole if whole[chunk].startswith(("doc-4", "doc-5")))
    assert sorted(failure.chunk_id for failure in failures) == lost
    assert asked.chunks == sorted(chunk for chunk in whole if whole[chunk].startswith("doc-3"))
    assert run_again(whole).chunks == lost


def test_the_record_of_an_extension_is_reported_by_its_spool(job: Path, half_done: tuple[Path, dict[int, str]]) -> None:
    """The caller gives what the job had last: no mismatch with what it had before, and no answer is asked for again."""
    more, asked = [*DOCUMENTS, Document("doc-6", "Visit 6 of patient 6: fine.")], Asked()
    before = runner(asked, on_mismatch="extend").run(more, everything)
    flip(job / "log", frames(job, codec.JOB)[1][0] + 100)
    again = Asked()
    run = runner(again).run(more, everything)
    assert [r.result for r in run.results] == [r.result for r in before.results]
    assert len(run.results) == len(half_done[1]) + 1
    assert again.chunks == []
    with pytest.raises(JobMismatch):
        runner(again).run([*more, Document("doc-7", "Another.")], everything)


def the_spool(job: Path) -> Path:
    (spool,) = job.glob("spool-*")
    return spool


@pytest.mark.parametrize("way", ["documents", "id"])
@pytest.mark.parametrize(
    "damage", ["flip", "zeros", "cut", "empty", "twice", "removed", *short(INSTEAD, "fifo", "folder")]
)
def test_a_spool_that_was_struck(
    damage: str, way: str, job: Path, half_done: tuple[Path, dict[int, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Documents take its place; without them, what is still there is run, and the rest is named."""
    whole, spool = half_done[1], the_spool(job)
    size = spool.stat().st_size
    if damage == "flip":
        flip(spool, size - 5)
    elif damage == "zeros":
        overwrite(spool, size - 60, size)
    elif damage in ("cut", "empty"):
        os.truncate(spool, size - 7 if damage == "cut" else 0)
    elif damage == "twice":
        insert_again(spool, size - 900, size - 500)
    elif damage == "removed":
        spool.unlink()
    else:
        replace(spool, damage)
    look()
    if way == "id":
        _, failures, error = resume(whole)
        if damage in ("flip", "zeros", "cut"):
            assert [(failure.chunk_id, failure.document_id) for failure in failures] == [(max(whole), "doc-5")]
            assert "'doc-5' is in its spool damaged" in caplog.text
        elif damage == "empty":
            lost = {chunk: value.partition("|")[0] for chunk, value in whole.items() if value.startswith(FAILS_FIRST)}
            assert {failure.chunk_id: failure.document_id for failure in failures} == lost
        elif damage != "twice":
            assert isinstance(error, JobNotFound)
            assert damage == "removed" or str(spool) in str(error)
    run_again(whole)
    assert the_spool(job).is_file()
    kept = list(job.glob("not-spool-*/kept"))
    assert len(kept) == (damage == "folder")  # nobody's files are removed


@pytest.mark.parametrize("way", ["documents", "id"])
@pytest.mark.parametrize("how", short(INSTEAD, "fifo", "folder"))
@pytest.mark.parametrize("name", ["log", "lock"])
def test_what_stands_in_the_place_of_log_or_lock_is_named(
    name: str, how: str, way: str, job: Path, half_done: tuple[Path, dict[int, str]]
) -> None:
    """And never opened: a FIFO would wait for ever. It is removed by who put it there; then all goes on."""
    kept = (job / name).read_bytes()
    replace(job / name, how)
    look()
    with pytest.raises(LogError, match=rf"{name}.*(a FIFO|a socket|a folder|a symbolic link|a device).*remove it"):
        runner(Asked()).run(DOCUMENTS, everything) if way == "documents" else resume_or_raise()
    shutil.rmtree(job / name) if how == "folder" else (job / name).unlink()
    (job / name).write_bytes(kept)
    run_again(half_done[1])


def resume_or_raise() -> None:
    runner(Asked()).resume("job", everything)


@pytest.mark.parametrize("name", ["lock", "salvage-0-1", "log.new", "log.1", "socket", "spool.1-ab.new"])
@pytest.mark.parametrize("content", [b"", b"\0" * 512, b'{"pid": 1}', b"\xff" * 4096])
def test_files_that_hold_no_result_may_hold_anything(
    name: str, content: bytes, job: Path, half_done: tuple[Path, dict[int, str]]
) -> None:
    """Whatever bytes they have, and where they were removed."""
    (job / name).write_bytes(content)
    resume(half_done[1])
    run_again(half_done[1])


@pytest.mark.parametrize("name", ["salvage-0-1", "spool.1-ab.new", "socket", "log.1"])
@pytest.mark.parametrize("how", short(INSTEAD, "fifo", "folder"))
def test_no_other_name_is_waited_at(name: str, how: str, job: Path, half_done: tuple[Path, dict[int, str]]) -> None:
    """Nothing of it hangs, or stands in the way."""
    replace(job / name, how)
    look()
    resume(half_done[1])
    run_again(half_done[1])


@pytest.mark.parametrize("how", short(INSTEAD, "fifo", "folder"))
def test_what_stands_where_a_log_is_made_is_named(how: str, state_dir: Path) -> None:
    """By its own name: who reads that ``log`` is a FIFO, and finds none, is lost."""
    folder = state_dir / "jobs" / "job"
    folder.mkdir(parents=True, mode=0o700)
    replace(folder / "log.new", how)
    with pytest.raises(LogError, match=r"log\.new: it is .*remove it"):
        runner(Asked()).run(DOCUMENTS, everything)


@pytest.mark.parametrize("how", ["file", *short(INSTEAD, "dangling", "folder")])
def test_whatever_is_called_cancelled_cancels(how: str, job: Path, half_done: tuple[Path, dict[int, str]]) -> None:
    """And uncancel takes it away."""
    (job / "cancelled").touch() if how == "file" else replace(job / "cancelled", how)
    for _ in range(2):
        with pytest.raises(JobCancelled):
            runner(Asked()).run(DOCUMENTS, everything)
        with pytest.raises(JobCancelled):
            resume_or_raise()
        Job("job").cancel()
    Job("job").uncancel()
    run_again(half_done[1])


@pytest.mark.parametrize("way", ["documents", "id"])
def test_a_log_that_was_removed(way: str, job: Path, half_done: tuple[Path, dict[int, str]]) -> None:
    """The job is new; without documents there is none."""
    (job / "log").unlink()
    if way == "id":
        with pytest.raises(JobNotFound, match="there is no job"):
            resume_or_raise()
    run_again(half_done[1])


def fuzz(seed: int, job: Path, whole: dict[int, str]) -> None:
    """Anything, anywhere, several times."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        path = chance.choice([job / "log", job / "log", the_spool(job)])
        size = path.stat().st_size
        start = chance.randrange(size)
        act = chance.choice(["flip", "zeros", "cut"])
        if act == "flip":
            flip(path, start)
        elif act == "zeros":
            overwrite(path, start, min(size, start + chance.choice([1, 40, 512, 4096])))
        elif size - start < size // 4:
            os.truncate(path, start)
    look()
    if chance.random() < 0.5:
        resume(whole)
    run_again(whole)
    assert run_again(whole).chunks == []


@pytest.mark.parametrize("seed", range(8))
def test_random_damage(seed: int, job: Path, half_done: tuple[Path, dict[int, str]]) -> None:
    """In a short form."""
    fuzz(seed, job, half_done[1])


@pytest.mark.system
@pytest.mark.parametrize("block", range(10))
def test_random_damage_for_long(block: int, half_done: tuple[Path, dict[int, str]], state_dir: Path) -> None:
    """300 seeds."""
    for seed in range(1000 + 30 * block, 1030 + 30 * block):
        shutil.rmtree(state_dir, ignore_errors=True)
        shutil.copytree(half_done[0], state_dir)
        try:
            fuzz(seed, state_dir / "jobs" / "job", half_done[1])
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
