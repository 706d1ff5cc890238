"""The state that a log adds up to, and what can be asked of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrengine.errors import JobNotFound, LogError
from mrengine.log.file.reader import LogReader
from mrengine.log.file.repair import voids
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format import task_records as r
from mrengine.log.format.chunk_rows import pack_chunks
from mrengine.log.format.codec import Frame
from mrengine.log.format.job_records import CloseRecord, RoundRecord, pack_close, pack_job, pack_round
from mrengine.log.format.packing import stamp
from mrengine.log.format.shapes import LEARN_EVERY
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.outcome_index import OutcomeIndex
from mrengine.log.view.replay import Replay
from tests.log.disk import MemoryDisk
from tests.log.sample import begin, call, every_kind, failure, intent, job, result, row


@pytest.fixture
def wal(tmp_path: Path) -> Iterator[WriteAheadLog]:
    """A log in a job folder."""
    with WriteAheadLog.create(tmp_path / "log", "j") as log:
        yield log


def replayed(wal: WriteAheadLog, folder: Path) -> ResumeEngine:
    wal.commit()
    return ResumeEngine(folder)


def test_finished_failed_and_pending_chunks_are_reported_apart(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Failed ones run again."""
    begin(wal, "abcde")
    wal.append(codec.RESULT, result(1))
    wal.append(codec.FAILURE, failure(3))
    with replayed(wal, tmp_path) as engine:
        assert engine.get_pending_chunks() == [0, 2, 3, 4]
        assert [x.chunk_id for x in engine.results()] == [1]
        assert [x.chunk_id for x in engine.failures()] == [3]
        index = engine.index()
        assert (index.total, index.done, index.failed) == (5, 1, 1)
        assert engine.chunk_table()[4].start == 4
        assert engine.documents()[0].id == "doc"
        assert not engine.state.problems


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_first_result_counts_and_wins_over_every_failure(history: list[tuple[int, bool]]) -> None:
    """Among failures the last; ``put`` says what is news; the counts are those of a model that remembers everything."""
    index, model = OutcomeIndex(0, 4), {}
    for at, (chunk, good) in enumerate(history, 600):
        known = model.get(chunk)
        kind, payload = (codec.RESULT, result(chunk)) if good else (codec.FAILURE, failure(chunk))
        news = index.put(Frame(at, kind, payload, 512), chunk, -1)
        assert news is not (known is not None and known[0])
        if news:
            model[chunk] = good, at
    assert index.done == sum(good for good, _ in model.values())
    assert index.failed == sum(not good for good, _ in model.values())
    assert [chunk for chunk, _ in index.pending()] == [c for c in range(4) if not model.get(c, (False,))[0]]
    for chunk, (good, at) in model.items():
        assert (index.result(chunk), index.failure(chunk)) == ((at, 0) if good else (0, at))


def test_with_all_models_every_model_has_its_outcome(wal: WriteAheadLog, tmp_path: Path) -> None:
    """In chunk order, then in model order."""
    begin(wal, "ab", record=job(models=[("m", ""), ("n", "")], all_models=True))
    wal.append(codec.RESULT, result(1, 1, "b-n"))
    wal.append(codec.RESULT, result(0, 1, "a-n"))
    wal.append(codec.RESULT, result(1, 0, "b-m"))
    with replayed(wal, tmp_path) as engine:
        assert list(engine.pending()) == [(0, 0)]
        assert engine.get_pending_chunks() == [0]
        assert [(x.chunk_id, x.result) for x in engine.results()] == [(0, "a-n"), (1, "b-m"), (1, "b-n")]


def test_an_epoch_counts_once_its_chunk_table_is_complete(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Until its ROUND 0 the one before it stands; its calls count for ever."""
    begin(wal, "ab")
    offset = wal.append(codec.RESULT, result(0, value="old"))
    wal.append(codec.CALL, call("q"))
    begin(wal, "xyb", record=job(epoch=1, version="v2"), round_=False)
    wal.append(codec.CARRY, stamp(r.pack_carry(r.CarryRecord(0, 2, 0, offset)), 1))
    with replayed(wal, tmp_path) as engine:
        assert engine.epoch is not None
        assert engine.epoch.job.epoch == 0
        assert engine.get_pending_chunks() == [1]
    wal.append(codec.ROUND, pack_round(RoundRecord(0, 3.0, 3, "v2")))
    with replayed(wal, tmp_path) as engine:
        assert engine.epoch is not None
        assert engine.epoch.job.epoch == 1
        assert engine.get_pending_chunks() == [0, 1]
        assert [(x.chunk_id, x.result) for x in engine.results()] == [(2, "old")]
        assert len(engine.state.call_totals.offsets) == 1


def test_a_first_epoch_that_is_not_complete_still_has_its_results(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Chunks may run while the rest is still being cut."""
    begin(wal, "ab", round_=False)
    wal.append(codec.RESULT, result(0))
    with replayed(wal, tmp_path) as engine:
        assert engine.epoch is not None
        assert not engine.epoch.complete
        assert len(engine.results()) == 1


def test_a_further_run_continues_a_round_and_another_version_starts_it_afresh(
    wal: WriteAheadLog, tmp_path: Path
) -> None:
    """A tree reduce with another prompt."""
    begin(wal, "abcd")
    for chunk in range(4):
        wal.append(codec.RESULT, result(chunk))
    wal.append(codec.ROUND, pack_round(RoundRecord(1, 2.0, 2, "tree-1")))
    wal.append(codec.RESULT, result(0, round_=1))
    wal.append(codec.ROUND, pack_round(RoundRecord(0, 3.0, 4, "v1")))
    wal.append(codec.ROUND, pack_round(RoundRecord(1, 3.0, 2, "tree-1")))
    with replayed(wal, tmp_path) as engine:
        assert (engine.index(0).done, engine.index(1).done, engine.index(1).total) == (4, 1, 2)
    wal.append(codec.ROUND, pack_round(RoundRecord(1, 3.0, 2, "tree-2")))
    with replayed(wal, tmp_path) as engine:
        assert (engine.index(0).done, engine.index(1).done) == (4, 0)


def test_a_close_is_the_end_of_a_run_and_any_later_record_takes_it_back(wal: WriteAheadLog, tmp_path: Path) -> None:
    """What the status of a job is made of; padding is no record."""
    begin(wal)
    wal.append(codec.CLOSE, pack_close(CloseRecord(5.0, "stopped")))
    with replayed(wal, tmp_path) as engine:
        assert engine.state.closed == CloseRecord(5.0, "stopped")
    wal.append(codec.RESULT, result(0))
    with replayed(wal, tmp_path) as engine:
        assert engine.state.closed is None


def test_an_intent_fixes_the_model_of_a_chunk_until_it_has_a_result(wal: WriteAheadLog, tmp_path: Path) -> None:
    """So that a resume finds the answers that the chunk has already paid for."""
    begin(wal, "abc", record=job(models=[("m", ""), ("n", "")]))
    for chunk, model in ((0, 1), (1, 1), (2, 0)):
        wal.append(codec.INTENT, r.pack_intent(r.IntentRecord(0, chunk, model, bytes(16), 2.0, 1, 1, 1, "mn"[model])))
    wal.append(codec.RESULT, result(0, 1))
    wal.append(codec.FAILURE, failure(1, 1))
    with replayed(wal, tmp_path) as engine:
        assert engine.epoch is not None
        assert engine.epoch.assigned == {(0, 1): 1, (0, 2): 0}


def test_attempts_are_reported_by_task(wal: WriteAheadLog, tmp_path: Path) -> None:
    """A chunk that crashes its worker is not tried for ever over many runs."""
    begin(wal)
    for kind in ("crash", "hang"):
        wal.append(codec.ATTEMPT, r.pack_attempt(r.AttemptRecord(0, 1, 0, 2.0, 1, kind, "signal 9")))
    with replayed(wal, tmp_path) as engine:
        assert engine.epoch is not None
        assert engine.epoch.attempts == {(0, 1, 0): ["crash", "hang"]}


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (codec.RESULT, result(3)),
        (codec.RESULT, result(2**40)),
        (codec.RESULT, b""),
        (codec.CARRY, r.pack_carry(r.CarryRecord(0, 0, 0, 2**62))),
        (codec.CHUNKS, b"\xc0"),
        (codec.ROUND, pack_round(RoundRecord(1, 1.0, 2**40))),
        (codec.ROUND, pack_round(RoundRecord(0, 1.0, 9))),
        (codec.CALL, call("q")[:60]),
        (codec.INTENT, intent("q")[:-1]),
        (codec.CLOSE, b"\x93\x01\x02\x03"),
        (codec.JOB, b"\x90"),
    ],
)
def test_a_record_that_makes_no_sense_is_noted_and_costs_nothing(
    wal: WriteAheadLog, tmp_path: Path, kind: int, payload: bytes
) -> None:
    """Its CRC is right, its content is not: neither memory nor the rest of the log suffers."""
    begin(wal)
    offset = wal.append(kind, payload)
    wal.append(codec.RESULT, result(1))
    with replayed(wal, tmp_path) as engine:
        assert [at for at, _ in engine.state.problems] == [offset]
        assert engine.index().total == 3
        assert len(engine.results()) == 1


def test_records_of_unknown_kinds_are_skipped(wal: WriteAheadLog, tmp_path: Path) -> None:
    """A later mrengine may write them."""
    begin(wal)
    wal.append(99, b"\xc0")
    with replayed(wal, tmp_path) as engine:
        assert not engine.state.problems


def test_a_folder_without_a_log_is_no_job(tmp_path: Path) -> None:
    """JobNotFound."""
    with pytest.raises(JobNotFound):
        ResumeEngine(tmp_path)


def test_refreshing_reads_only_what_was_added(wal: WriteAheadLog, tmp_path: Path) -> None:
    """So that a job can be watched; a frame that is half written is read when it is whole."""
    begin(wal)
    with replayed(wal, tmp_path) as engine:
        seen: list[int] = []
        add = engine.state.add
        engine.state.add = lambda frame: seen.append(frame.offset) or add(frame)  # type: ignore[func-returns-value,method-assign]
        offset = wal.append(codec.RESULT, result(1))
        frame = bytes(wal._buffer)
        with open(tmp_path / "log", "ab") as file:
            file.write(frame[:40])
        assert engine.refresh().torn == 40
        wal.commit()
        engine.refresh()
        assert seen[0] == offset
        assert engine.index().done == 1


def test_looking_at_a_torn_log_changes_nothing(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Only the writer repairs."""
    every_kind(wal)
    with open(tmp_path / "log", "ab") as file:
        file.write(b"half a frame")
    before = (tmp_path / "log").read_bytes()
    with ResumeEngine(tmp_path) as engine:
        assert engine.recovery.torn == 12
    assert (tmp_path / "log").read_bytes() == before


def test_results_outlive_the_folder_and_later_records(wal: WriteAheadLog, tmp_path: Path) -> None:
    """A snapshot with its own descriptor, which a purge does not take away."""
    begin(wal)
    wal.append(codec.RESULT, result(2, value="c"))
    wal.commit()
    first = wal.size
    wal.append(codec.RESULT, result(0, value="a"))
    with replayed(wal, tmp_path) as engine:
        results = engine.results(resumed_before=first)
        wal.append(codec.RESULT, result(1))
        wal.commit()
    shutil.rmtree(tmp_path)
    assert [(x.chunk_id, x.result, x.resumed) for x in results] == [(0, "a", False), (2, "c", True)]
    assert results[-1] == results[1]
    assert [x.chunk_id for x in results[::-1]] == [2, 0]
    assert len(results.failures) == 0
    with pytest.raises(IndexError):
        results[2]


def test_a_result_tells_all_that_was_stored(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Model, worker, usage, cost, time, attempt."""
    begin(wal)
    wal.append(codec.RESULT, result(0, value={"a": 1}))
    wal.append(codec.FAILURE, failure(1))
    with replayed(wal, tmp_path) as engine:
        (found,), (failed,) = engine.results(), engine.failures()
        assert (found.document_id, found.model, found.worker_id, found.result) == ("doc", "m", 1, {"a": 1})
        assert (found.usage.total_tokens, found.cost_usd, found.duration_ms, found.attempt) == (15, 0.25, 3.5, 1)
        assert (failed.kind, failed.message, failed.attempts, failed.traceback) == ("error", "boom", 3, "f:1")


def test_a_reader_follows_what_is_announced_and_reads_nothing_beyond(wal: WriteAheadLog, tmp_path: Path) -> None:
    """The host tails the log while the supervisor writes it."""
    with LogReader(tmp_path / "log") as reader:
        position, state = codec.HEADER_BYTES, Replay()
        begin(wal)
        for chunk in range(3):
            wal.append(codec.RESULT, result(chunk))
            durable = wal.commit()
            wal.append(codec.RESULT, result(chunk, value="not yet announced"))
            wal.write()
            news = [state.add(frame) for frame in reader.frames(position, durable)]
            assert sum(news) == 1
            position = durable
            assert state.epoch is not None
            assert state.epoch.index(0).done == chunk + 1


EVENTS: dict[str, Callable[[int], tuple[int, bytes]]] = {
    "result": lambda n: (codec.RESULT, result(n, value="x")),
    "long result": lambda n: (codec.RESULT, result(n, value="x" * 300)),
    "later round": lambda n: (codec.RESULT, result(n, value="x", round_=1)),
    "other epoch": lambda n: (codec.RESULT, stamp(result(n, value="x"), 7)),
    "unreadable": lambda n: (codec.RESULT, result(n)[:-2] + b"\xc1\xc1"),
    "failure": lambda n: (codec.FAILURE, failure(n)),
    "begun": lambda n: (codec.INTENT, intent(f"q{n}", n)),
    "answer": lambda n: (codec.CALL, call(f"q{n}", n)),
    "padding": lambda n: (codec.VOID, bytes(n)),
    "repair": lambda n: (codec.VOID, b"\1"),
    "close": lambda n: (codec.CLOSE, pack_close(CloseRecord(9.0, "done", {}))),
    "round": lambda n: (codec.ROUND, pack_round(RoundRecord(0, 1.5, 30, "v1"))),
    "reduce": lambda n: (codec.ROUND, pack_round(RoundRecord(1, 1.5, 30, str(n % 3)))),
    "job": lambda n: (codec.JOB, pack_job(job(epoch=n % 2))),
    "rows": lambda n: (codec.CHUNKS, stamp(pack_chunks(0, 30 + n % 3, row()), n % 2)),
}
EVENT = st.tuples(st.sampled_from([*EVENTS, *["result"] * 15]), st.integers(0, 31))


@given(st.lists(EVENT, max_size=40), st.integers(1, 3), st.integers(4, 60))
@example([("close", 0), ("result", 1)], 1, 60)
@example([("begun", 1), ("result", 1)], 1, 60)
@example([("result", 1), ("later round", 2), ("other epoch", 3), ("result", 1), ("result", 31)], 1, 60)
@settings(max_examples=100, deadline=None)
def test_frames_that_are_taken_in_together_add_up_to_the_same(
    history: list[tuple[str, int]], models: int, lost: int
) -> None:
    """As one by one: outcomes, epochs, problems, how the last run ended, and where the next frame is expected."""
    for chunk in range(LEARN_EVERY):
        r.check_outcome(codec.RESULT, result(chunk, value="x"))
    assert r.RESULT_SHAPES.match(result(0, value="y"))
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    begin(wal, "x" * 30, record=job(all_models=models > 1, models=[("m", "p")] * models))
    for what, number in history:
        wal.append(*EVENTS[what](number))
    wal.commit()
    with LogReader("log", files=disk) as reader:
        frames = list(reader.frames())
    together, single = Replay(), Replay()
    for part in (frames[:lost], frames[lost + 1 :], []):
        together.add_all(iter(part))
        for frame in part:
            single.add(frame)
    assert facts(together) == facts(single)


def facts(state: Replay) -> Any:
    """What a replay has found."""
    epochs = [(epoch.offset, epoch.segments, epoch.rounds, epoch.assigned) for epoch in state.epochs]
    indexes = [
        (round_, index._slots, index.done, index.failed)
        for epoch in state.epochs
        for round_, index in sorted(epoch.indexes.items())
    ]
    ends = state.closed, state.end, state.updated, state.round_offset, state.problems, state._lost, state._unreadable
    return epochs, indexes, ends, state.repaired, state.call_totals.spent(), state.epoch and state.epoch.offset


def test_what_was_taken_in_before_the_disk_failed_is_not_taken_twice() -> None:
    """A view that goes on later begins behind it."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    begin(wal)
    for chunk in range(3):
        wal.append(codec.RESULT, result(chunk))
    wal.commit()
    with LogReader("log", files=disk) as reader:
        frames = list(reader.frames())

    def failing() -> Iterator[Frame]:
        yield from frames[:6]
        raise LogError("no disk", reason="io")

    state = Replay()
    with pytest.raises(LogError):
        state.add_all(failing())
    assert (state.end, state.epoch and state.epoch.index(0).done) == (frames[5].end, 2)


def test_outcomes_that_are_alike_are_not_all_unpacked(
    wal: WriteAheadLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed job of a million chunks reads a million of them before its first task."""
    begin(wal, "x" * 1000)
    for chunk in range(1000):
        wal.append(codec.RESULT, result(chunk, value=f"of {chunk:4}"))
    unpacked: list[bytes] = []
    unpack = r.unpack
    monkeypatch.setattr(r, "unpack", lambda payload: (unpacked.append(payload), unpack(payload))[1])
    with replayed(wal, tmp_path) as engine:
        assert engine.index().done == 1000
        assert len(unpacked) <= LEARN_EVERY
        assert engine.results()[7].result == "of    7"


def test_a_reader_that_is_reported_of_more_than_there_is_says_so(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Damage below what was announced is an error, not an early end."""
    begin(wal)
    durable = wal.commit()
    os.truncate(tmp_path / "log", durable - 1)
    with LogReader(tmp_path / "log") as reader:
        with pytest.raises(LogError) as caught:
            list(reader.frames(stop=durable))
        assert caught.value.reason == "damaged"
        with pytest.raises(LogError):
            reader.payload(codec.HEADER_BYTES + 1)


def test_frames_larger_than_a_block_are_read(tmp_path: Path) -> None:
    """A result of some megabytes, among small ones, at every alignment."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    sizes = [10, (1 << 20) - 700, 3, (1 << 20) - 21, 5, 3 << 20, 1, 0, 1 << 20]
    for size in sizes:
        wal.append(codec.RESULT, bytes(size))
    wal.commit()
    with LogReader("log", files=disk) as reader:
        assert [len(frame.payload) for frame in reader.frames(stop=wal.durable) if frame.kind != codec.VOID] == sizes


def lose(wal: WriteAheadLog, path: Path, start: int, end: int) -> None:
    """Damage: these bytes are filled as a repair fills them."""
    wal.write()
    with LogReader(path / "log") as reader, open(path / "log", "r+b") as file:
        for offset, frame in voids(reader._source, start, end):
            file.seek(offset)
            file.write(frame)


def test_outcomes_of_an_epoch_whose_beginning_is_lost_are_not_those_of_the_one_before(
    wal: WriteAheadLog, tmp_path: Path
) -> None:
    """Chunk 1 is another text there: it stays pending, and nothing is called nonsense."""
    begin(wal, "ab")
    wal.append(codec.RESULT, result(0, value="old"))
    start = wal.size
    begin(wal, "xy", record=job(epoch=1, version="v2"))
    end = wal.size
    wal.append(codec.RESULT, stamp(result(1, value="of another text"), 1))
    wal.append(codec.FAILURE, stamp(failure(1), 1))
    lose(wal, tmp_path, start, end)
    with replayed(wal, tmp_path) as engine:
        assert [(x.chunk_id, x.result) for x in engine.results()] == [(0, "old")]
        assert engine.get_pending_chunks() == [1]
        assert list(engine.failures()) == []
        assert engine.state.problems == []


def test_what_a_carry_points_to_may_be_lost(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Then its chunk runs again."""
    begin(wal, "a")
    offset = wal.append(codec.RESULT, result(0, value="old"))
    end = wal.size
    begin(wal, "xa", record=job(epoch=1, version="v1"))
    wal.append(codec.CARRY, stamp(r.pack_carry(r.CarryRecord(0, 1, 0, offset)), 1))
    with replayed(wal, tmp_path) as engine:
        assert engine.get_pending_chunks() == [0]
    lose(wal, tmp_path, offset, end)
    with replayed(wal, tmp_path) as engine:
        assert engine.get_pending_chunks() == [0, 1]


def test_after_damage_later_rounds_are_played_anew(wal: WriteAheadLog, tmp_path: Path) -> None:
    """One may have been started afresh in the bytes that are lost."""
    begin(wal, "ab")
    for chunk in (0, 1):
        wal.append(codec.RESULT, result(chunk))
    wal.append(codec.CHUNKS, pack_chunks(1, 0, row()))
    wal.append(codec.ROUND, pack_round(RoundRecord(1, 2.0, 1, "r")))
    start = wal.append(codec.CALL, call("q"))
    end = wal.size
    wal.append(codec.RESULT, result(0, round_=1))
    with replayed(wal, tmp_path) as engine:
        assert len(engine.results(1)) == 1
    lose(wal, tmp_path, start, end)
    with replayed(wal, tmp_path) as engine:
        assert len(engine.results(0)) == 2
        assert len(engine.results(1)) == 0
        assert engine.state.problems == []
