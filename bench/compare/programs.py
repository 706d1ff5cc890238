"""Whole programs of each tool over the same calls: ``python -m bench.compare.programs startup memory resume``.

``startup``: from the start of the interpreter to the first request. ``memory``: the most that all processes had
together (PSS). ``resume``: the finished program is started again with the same folder: its calls, and its time. What is
named is taken from the same runs. The programs stand in bench/peers. ``ratio`` is to threads with the SDK and a JSONL
file, which one writes by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from bench.machine import ROOT, save
from bench.numbers import ratios, spread
from bench.peers.registry import PEERS, environment, missing
from bench.peers.work import answer_to
from bench.processes import MARK, PeakMemory, end_all, new_mark
from mrengine.testing import LLMServer

__all__ = ["FIELDS", "main", "measure"]

BASE = "threads and a JSONL file"
FIELDS = {"startup": "first_request_s", "memory": "peak_mb", "resume": "again_s"}
CALLS, PADDING = 60, 500  # prompts of 22 KB


def measure(tool: str, *, again: bool) -> dict[str, float]:
    """One program, once; and once more in its folder."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state,
        LLMServer(latency_s=0.05, answer=answer_to) as server,
    ):
        found = _run(tool, server, state)
        if again:
            bought = server.stats().ok
            found["again_s"] = _run(tool, server, state)["wall_s"]
            found["again_calls"] = server.stats().ok - bought
    return found


def _run(tool: str, server: LLMServer, state: str) -> dict[str, float]:
    mark = new_mark()
    command = [PEERS[tool].interpreter, "-m", "bench.peers", tool, "--url", server.url, "--state", state]
    command += ["--calls", str(CALLS), "--padding", str(PADDING), "--timeout-s", "60"]
    watch = PeakMemory(mark)
    began = time.monotonic()
    watch.start()
    try:
        subprocess.run(
            command, cwd=ROOT, env={**environment(), MARK: mark}, check=True, capture_output=True, timeout=180
        )
    finally:
        wall_s, peak_mb = time.monotonic() - began, watch.stop()
        end_all(mark)
    first = server.stats().first_request_s  # on the machine's one monotonic clock
    found = {"wall_s": wall_s, "peak_mb": peak_mb, "processes": watch.processes}
    return found | ({} if first is None else {"first_request_s": first - began})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=FIELDS, nargs="+")
    parser.add_argument("--tools", nargs="*", choices=list(PEERS), default=list(PEERS), metavar="TOOL")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    gone = {tool: reason for tool in options.tools if (reason := missing(tool))}
    for _ in range(options.turns):
        for tool in options.tools:
            if tool in gone:
                continue
            try:
                found.setdefault(tool, []).append(measure(tool, again="resume" in options.what))
            except subprocess.SubprocessError as error:
                gone[tool] = f"could not be measured: {type(error).__name__}"
                found.pop(tool, None)
                continue
            print(f"{tool}: {found[tool][-1]}", file=sys.stderr)
    packages = [peer.package for peer in PEERS.values()]
    for what in options.what:
        rows = [*_rows(FIELDS[what], found), *({"tool": tool, "missing": reason} for tool, reason in gone.items())]
        path = save(what, rows, packages=packages, turns=options.turns, calls=CALLS, padding=PADDING, base=BASE)
        print(f"written to {path}")


def _rows(field: str, found: dict[str, list[dict[str, float]]]) -> Sequence[dict[str, Any]]:
    samples = {tool: [sample[field] for sample in each] for tool, each in found.items()}
    over = ratios(samples, BASE) if BASE in samples else {}
    rows = []
    for tool, each in found.items():
        others = {name: spread([sample[name] for sample in each])["median"] for name in each[0] if name != field}
        rows.append(
            {"tool": tool, field: spread(samples[tool])["median"], "ratio": over.get(tool), **others, "samples": each}
        )
    return rows


if __name__ == "__main__":
    main()
