"""What a run gains by cutting while its workers are at the first chunks: ``python -m bench.stream``.

Rows of 300 characters, and one file of many megabytes, with a map function that does nothing. ``streamed``: as it is;
``whole``: the chunk table is made first. ``chunking``: the file is cut and no more. Each in a fresh interpreter.
``first_s`` and ``all_s`` count from the call of ``run()``; ``memory_mb`` is what the host took at most, above what it
had with the encoder loaded. ``host_cpu_s`` tells more than times on a machine that others use.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.machine import save
from mrengine import Document, MapReduceRunner
from mrengine.chunking import Chunker
from mrengine.host import prepare

SENTENCE = "The patient of bed {} slept well and the fever fell by the evening. "


def nothing(_chunk: Any, _context: Any) -> None:
    """The task."""


def rows(number: int) -> list[Document]:
    """Small documents, each another text."""
    return [Document(f"row {row}", (SENTENCE.format(row) * 5)[:300]) for row in range(number)]


def file_of(megabytes: int) -> Path:
    """A text file of paragraphs."""
    path = Path(tempfile.gettempdir()) / f"stream-{megabytes}.txt"
    with path.open("w") as file:
        for block in range(megabytes * 16):
            file.write(("\n\n".join(SENTENCE.format(block * 16 + part) * 60 for part in range(16)))[: 1 << 16])
    return path


def measured(what: str, road: str, size: int) -> dict[str, Any]:
    """One contestant, in this interpreter."""
    given: Any = rows(size) if what == "rows" else file_of(size)
    chunker = Chunker()
    chunker.prepare()
    before, cpu, began = _peak_mb(), time.process_time(), time.monotonic()
    first_s = chunks = 0.0
    if road == "chunking":
        for chunk in chunker.chunk(given):
            first_s, chunks = first_s or time.monotonic() - began, chunk.id + 1
    else:
        prepare.FIRST_S = math.inf if road == "whole" else prepare.FIRST_S
        runner = MapReduceRunner("bench-stream", workers=2, map_version="1", target_tokens=6000, overlap_tokens=350)
        seen: list[float] = []
        runner.on("chunk:processed", lambda event: seen or seen.append(time.monotonic() - began))
        chunks = runner.run(given, nothing).summary.total_chunks
        first_s = seen[0]
    all_s = time.monotonic() - began
    found = {"first_s": first_s, "all_s": all_s, "per_second": chunks / all_s, "host_cpu_s": time.process_time() - cpu}
    told = {name: round(value, 3) for name, value in found.items()}
    return {"what": what, "size": size, "road": road, "chunks": chunks, **told, "memory_mb": round(_peak_mb() - before)}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(what: str, road: str, size: int) -> dict[str, Any]:
    """The same in a fresh interpreter, with a state folder of its own."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "bench.stream", "--one", what, road, str(size)]
        done = subprocess.run(
            command, env={**os.environ, "MRENGINE_STATE_DIR": state}, stdout=subprocess.PIPE, check=True
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(found: Sequence[Mapping[str, Any]]) -> None:
    """A line for each."""
    for row in found:
        print("  ".join(f"{name}={value}" for name, value in row.items()))


def main() -> None:
    """Measure all, print and save it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--one", nargs=3)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(asked.one[0], asked.one[1], int(asked.one[2]))))
        return
    found = [alone("rows", road, asked.rows) for road in ("whole", "streamed")]
    found += [alone("file", road, asked.megabytes) for road in ("chunking", "whole", "streamed")]
    told(found)
    save("stream", found)


if __name__ == "__main__":
    main()
