"""Logs of invented runs, for the report's tests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format import task_records as r
from mrengine.log.format.job_records import CloseRecord, NoteRecord, RoundRecord, pack_close, pack_note, pack_round
from mrengine.records import Usage
from tests.log.sample import begin, digest, job

HOUR = 3600.0


def write(
    folder: Path,
    *,
    chunks: int = 20,
    workers: int = 3,
    slots: int = 2,
    runs: int = 1,
    close: bool = True,
    failed: Sequence[int] = (),
    text: str = "plain",
    began: float = 1_800_000_000.0,
) -> None:
    """A job whose chunks ran one after another in each slot; ``text``: names, causes and messages."""
    folder.mkdir(parents=True, mode=0o700)
    wal = WriteAheadLog.create(folder / "log", "j")
    names = [f"{text} {number}" for number in range(3)]
    record = job(models=((text, "p"),), map_name=text)
    begin(
        wal, ["x"] * chunks, record=record, documents=names, of=[n * 3 // chunks for n in range(chunks)], round_=False
    )
    rng, facts = random.Random(5), {"workers": workers, "slots": slots, "limits": {text: 60_000}}
    for run in range(runs):
        at = began + run * HOUR
        wal.append(codec.ROUND, pack_round(RoundRecord(0, at, chunks, "v1", facts)))
        free = [at + 0.5] * (workers * slots)
        mine = range(run * chunks // runs, (run + 1) * chunks // runs)
        for chunk in mine:
            slot = min(range(len(free)), key=free.__getitem__)
            start, length = free[slot], rng.lognormvariate(0, 0.5)
            free[slot] = end = start + length + 0.01
            _task(wal, chunk, slot // slots, start, end, text, fails=chunk in failed)
            wal.commit() if chunk % 1000 == 999 else None
        wal.append(
            codec.NOTE,
            pack_note(NoteRecord(0, at + 1, "worker:crashed", 1, -1, {"cause": text, "exitcode": -9})),
        )
        note = {"model": text, "wait_s": 1.0, "error": text, "status": 429, "chunk_id": 1, "attempt": 1}
        wal.append(codec.NOTE, pack_note(NoteRecord(0, at + 2, "call:retry", 0, 1, note)))
        wal.append(
            codec.NOTE,
            pack_note(NoteRecord(0, at + 2, "budget:wait", 0, 2, {"model": text, "wait_ms": 500.0})),
        )
        if close:
            state = "done" if run == runs - 1 else "stopped"
            wal.append(codec.CLOSE, pack_close(CloseRecord(max(free), state, {"reason": text})))
    wal.commit()
    wal.close()


def _task(wal: WriteAheadLog, chunk: int, worker: int, start: float, end: float, text: str, *, fails: bool) -> None:
    name, usage = digest(str(chunk)), Usage(100, 50, 20)
    wal.append(codec.INTENT, r.pack_intent(r.IntentRecord(0, chunk, 0, name, start, 100, 50, 120, text)))
    ms = (end - start - 0.01) * 1000
    wal.append(codec.CALL, r.pack_call(r.CallRecord(0, chunk, 0, name, end, usage, 0.001, True, text, "stop", ms, "t")))
    if fails:
        record = r.FailureRecord(
            0, chunk, 0, f"{text} 0", text, worker, 1, end, "error", f"{text}: record {chunk}", text, {}
        )
        wal.append(codec.FAILURE, r.pack_failure(record))
    else:
        outcome = r.ResultRecord(
            0, chunk, 0, 0, "d", text, worker, 1, end, (end - start) * 1000, usage, 0.001, 1, 0, "r"
        )
        wal.append(codec.RESULT, r.pack_result(outcome))
