"""What the log costs: ``python -m bench.compare.log``. Commits, groups, tailing, and the replay of a large job.

The peers of a commit are the same bytes with nothing but ``write`` and ``fdatasync`` (the floor), and SQLite in WAL
mode with ``synchronous=FULL``. The replay runs in a fresh interpreter, whose peak memory is counted from its start.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bench.machine import save
from mrengine.log.file.reader import LogReader
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec, task_records
from mrengine.log.format.chunk_rows import MAX_ROWS, ChunkRow, pack_chunks, pack_row
from mrengine.log.format.job_records import CloseRecord, JobRecord, RoundRecord, pack_close, pack_job, pack_round
from mrengine.records import Usage

TEXT = "The patient was seen on the ward and is well. " * 20


def result(chunk: int, text: str = TEXT) -> bytes:
    """A RESULT of about 1 KB."""
    usage = Usage(1500, 200)
    return task_records.pack_result(
        task_records.ResultRecord(0, chunk, 0, 0, "report", "m", 1, 1, 1.7e9, 900.0, usage, 0.001, 1, 0, text)
    )


def ours(folder: Path) -> Iterator[Callable[[list[bytes]], object]]:
    """The write-ahead log."""
    with WriteAheadLog.create(folder / "log", "bench") as wal:

        def commit(group: list[bytes]) -> None:
            for payload in group:
                wal.append(codec.RESULT, payload)
            wal.commit()

        yield commit


def bare(folder: Path) -> Iterator[Callable[[list[bytes]], object]]:
    """write and fdatasync, no frame, no CRC."""
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def commit(group: list[bytes]) -> None:
        os.write(fd, b"".join(group))
        os.fdatasync(fd)

    yield commit
    os.close(fd)


def sqlite(folder: Path) -> Iterator[Callable[[list[bytes]], object]]:
    """SQLite, as durable as the log."""
    with closing(sqlite3.connect(folder / "db", isolation_level=None)) as db:
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
        db.execute("create table results (id integer primary key, payload blob)")

        def commit(group: list[bytes]) -> None:
            db.execute("begin")
            db.executemany("insert into results (payload) values (?)", ((payload,) for payload in group))
            db.execute("commit")

        yield commit


def commits(group: int, count: int, turns: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Commits and records a second, the makers in turn; the median of the turns."""
    payloads = [result(chunk) for chunk in range(group)]
    rates: dict[str, list[float]] = {}
    for turn in range(turns):
        for maker in (ours, bare, sqlite):
            place = folder / f"{maker.__name__}-{group}-{turn}"
            place.mkdir()
            for commit in maker(place):
                commit(payloads)
                started = time.perf_counter()
                for _ in range(count):
                    commit(payloads)
                rates.setdefault(maker.__name__, []).append(count / (time.perf_counter() - started))
    for name, found in rates.items():
        rate = statistics.median(found)
        ratio = round(rate / statistics.median(rates["bare"]), 2)
        speed = {"commits_per_s": round(rate), "records_per_s": round(rate * group)}
        yield {"what": f"groups of {group}", "with": name, **speed, "ratio": ratio, "samples": found}


def build(folder: Path, chunks: int) -> None:
    """A finished job of this many chunks, a call and a result each; synced once."""
    with WriteAheadLog.create(folder / "log", "bench") as wal:
        job = JobRecord(
            "bench", 1.7e9, 0, "0", "3.11", (1, 1, bytes(16)), {}, (("m", ""),), False, "v", "bench:f", None
        )
        wal.append(codec.JOB, pack_job(job))
        row = pack_row(ChunkRow(0, "prose", 350, 5900, 0, 24000, 0, 24000, bytes(16)))
        for first in range(0, chunks, MAX_ROWS):
            wal.append(codec.CHUNKS, pack_chunks(0, first, row * min(MAX_ROWS, chunks - first)))
        wal.append(codec.ROUND, pack_round(RoundRecord(0, 1.7e9, chunks)))
        for chunk in range(chunks):
            digest, at = blake2b(chunk.to_bytes(8, "big"), digest_size=16).digest(), 1.7e9 + chunk / 50
            call = task_records.CallRecord(
                0, chunk, 0, digest, at, Usage(1500, 200), 0.001, True, "m", "stop", 900.0, ""
            )
            wal.append(codec.CALL, task_records.pack_call(call))
            wal.append(codec.RESULT, result(chunk))
            if not chunk % 1000:
                wal.write()
        wal.append(codec.CLOSE, pack_close(CloseRecord(1.7e9, "done")))
        wal.commit()


def peak_mb() -> float:
    """The most memory that this program had since its exec (ru_maxrss remembers the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def replay(folder: Path) -> dict[str, Any]:
    """Index, stored calls and reduce of a large job: CPU seconds and MB, in this interpreter."""
    from mrengine.log.file.call_index import CallIndex
    from mrengine.log.view.job_view import ResumeEngine

    before = peak_mb()
    began = time.process_time()
    engine = ResumeEngine(folder)
    indexed = time.process_time()
    index_mb = peak_mb() - before
    calls = CallIndex.build(engine.state.call_totals)
    built = time.process_time()
    size = sum(len(x.result) for x in engine.results())
    reduced = time.process_time()
    return {
        "what": "replay",
        "chunks": engine.index().done,
        "calls": len(calls),
        "mb_of_results": round(size / 1e6),
        "index_s": round(indexed - began, 2),
        "call_index_s": round(built - indexed, 2),
        "reduce_s": round(reduced - built, 2),
        "index_mb": round(index_mb, 1),
        "peak_mb": round(peak_mb(), 1),
    }


def tail(folder: Path, frames: int) -> dict[str, Any]:
    """Small frames a second through a reader."""
    with WriteAheadLog.create(folder / "tail", "bench", durability="flush") as wal:
        payload = result(0, "short")
        for _ in range(frames):
            wal.append(codec.RESULT, payload)
        durable = wal.commit()
    with LogReader(folder / "tail") as reader:
        began = time.process_time()
        rate = sum(1 for _ in reader.frames(stop=durable)) / (time.process_time() - began)
        return {"what": "tail", "bytes_each": len(payload), "frames_per_cpu_s": round(rate)}


def main() -> None:
    """Run all of it and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=1_000_000, help="of the job that is replayed")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--replay", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.replay:
        print(json.dumps(replay(given.replay)))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as name:
        folder = Path(name)
        for group, count in ((1, 200), (64, 100), (256, 50)):
            rows += commits(group, count, given.turns, folder)
        rows.append(tail(folder, 300_000))
        build(folder, given.chunks)
        command = [sys.executable, "-m", "bench.compare.log", "--replay", str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    for row in rows:
        print(row, file=sys.stderr)
    print(save("log", rows, packages=["msgpack"], chunks=given.chunks, turns=given.turns))


if __name__ == "__main__":
    main()
