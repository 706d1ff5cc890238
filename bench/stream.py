"""What a run gains by reading and cutting while its workers are at the first chunks: ``python -m bench.stream``.

Rows of 300 characters and one file of many megabytes, with a map function that does nothing; each in a fresh
interpreter, in turn. ``streamed``: as it is; ``base``: the code of another checkout (``--base``); ``whole``: all is
read and cut first. ``chunking``: the file is cut, and no more. ``many``: a million rows; their host is killed when
half are done (``half``), the job is resumed (``resumed``), and run again when it is finished (``finished``).

``first_s`` and ``all_s`` count from the call of ``run()``; ``host_mb`` and ``supervisor_mb`` are the most that these
took, the host's above what it had with the encoder loaded. CPU times tell more than others on a machine in use.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SENTENCE = "The patient of bed {} slept well and the fever fell by the evening. "


def nothing(_chunk: Any, _context: Any) -> None:
    """The task."""


def rows(number: int) -> Iterator[Any]:
    """Small documents, each another text."""
    from mrengine import Document

    return (Document(f"row {row}", (SENTENCE.format(row) * 5)[:300]) for row in range(number))


def file_of(megabytes: int) -> Path:
    """A text file of paragraphs."""
    path = Path(tempfile.gettempdir()) / f"stream-{megabytes}.txt"
    if not path.exists() or path.stat().st_size < megabytes << 19:
        with path.open("w") as file:
            for block in range(megabytes * 16):
                text = "\n\n".join(SENTENCE.format(block * 16 + part) * 60 for part in range(16))
                file.write(text[: 1 << 16])
    return path


class Supervisor(threading.Thread):
    """Looks at the memory of this process's first child, while there is one."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most_mb = 0.0

    def run(self) -> None:
        """Twice a second."""
        while True:
            with suppress(OSError, IndexError, ValueError, StopIteration):  # a zombie has no VmHWM
                pid = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()[0]
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peak = next(line for line in lines if line.startswith("VmHWM"))
                self.most_mb = max(self.most_mb, int(peak.split()[1]) / 1024)
            time.sleep(0.5)


def measured(what: str, road: str, size: int) -> dict[str, Any]:
    """One contestant, in this interpreter."""
    from mrengine import MapReduceRunner
    from mrengine.chunking import Chunker

    given: Any = file_of(size) if what == "file" else rows(size)
    chunker = Chunker()
    getattr(chunker, "prepare", lambda: None)()  # an older checkout has none
    for _ in chunker.chunk(SENTENCE):
        pass
    supervisor = Supervisor()
    supervisor.start()
    before, cpu, began = _peak_mb(), time.process_time(), time.monotonic()
    first_s = chunks = 0.0
    if road == "chunking":
        for chunk in chunker.chunk(given):
            first_s, chunks = first_s or time.monotonic() - began, chunk.id + 1
    else:
        if road == "whole":
            from mrengine.host import prepare

            prepare.READ_S = prepare.FIRST_S = math.inf
        runner = MapReduceRunner("bench-stream", workers=2, map_version="1", target_tokens=6000, overlap_tokens=350)
        seen: list[float] = []

        def heard(event: Any) -> None:
            if not seen:
                seen.append(time.monotonic() - began)
            if road == "half" and event.done >= size // 2:
                os.kill(os.getpid(), signal.SIGKILL)

        runner.on("chunk:processed", heard)
        chunks = runner.run(given, nothing).summary.total_chunks
        first_s = seen[0] if seen else time.monotonic() - began
    all_s = time.monotonic() - began
    below = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "first_s": first_s,
        "all_s": all_s,
        "per_second": chunks / all_s,
        "host_cpu_s": time.process_time() - cpu,
        "children_cpu_s": below.ru_utime + below.ru_stime,
        "host_mb": _peak_mb() - before,
        "supervisor_mb": supervisor.most_mb,
    }
    return {"chunks": chunks, **{name: round(value, 3) for name, value in found.items()}}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(what: str, road: str, size: int, *, home: Path, state: str) -> dict[str, Any] | None:
    """The same in a fresh interpreter, with the code of a checkout; None: it has killed itself."""
    environment = {**os.environ, "MRENGINE_STATE_DIR": state, "PYTHONPATH": os.fspath(home)}
    program = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", program, os.path.abspath(__file__), "--one", what, road, str(size)]
    done = subprocess.run(command, cwd=state, env=environment, stdout=subprocess.PIPE, check=False)
    if road == "half" and done.returncode == -signal.SIGKILL:
        return None
    done.check_returncode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def contest(
    what: str, roads: Sequence[str], size: int, turns: int, homes: Mapping[str, Path], *, together: bool = False
) -> list[dict[str, Any]]:
    """A row for each road, with its samples. ``together``: they run the same job, one after the other."""
    from statistics import median

    from bench.machine import ROOT

    samples: dict[str, list[dict[str, Any]]] = {road: [] for road in roads}
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as shared:
            for road in roads:
                with tempfile.TemporaryDirectory() as own:
                    state = shared if together else own
                    found = alone(what, road, size, home=homes.get(road, ROOT), state=state)
                if found is not None:
                    samples[road].append(found)
                    print(what, size, road, found, flush=True)
    return [
        {
            "what": what,
            "size": size,
            "road": road,
            **{name: round(median([one[name] for one in several]), 3) for name in several[0]},
            "samples": several,
        }
        for road, several in samples.items()
        if several
    ]


def main() -> None:
    """Measure all, print and save it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--base", type=Path, help="a checkout of the code to compare with")
    parser.add_argument("--one", nargs=3)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(asked.one[0], asked.one[1], int(asked.one[2]))))
        return
    from bench.machine import save

    homes = {} if asked.base is None else {"base": asked.base.resolve()}
    found = contest("rows", [*homes, "whole", "streamed"], asked.rows, asked.turns, homes)
    if asked.megabytes:
        found += contest("file", ["chunking", "streamed"], asked.megabytes, 1, homes)
    if asked.many:
        found += contest("many", ["half", "resumed", "finished"], asked.many, 1, homes, together=True)
    save("stream", found)


if __name__ == "__main__":
    main()
