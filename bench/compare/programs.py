"""Whole programs of each tool over the same calls: ``python -m bench.compare.programs startup|memory|resume``.

``startup``: from the start of the interpreter to the first request. ``memory``: the most that all processes had
together (PSS). ``resume``: the finished program is started again with the same folder: its calls, and its time. The
programs stand in bench/peers. ``ratio`` is to threads with the SDK and a JSONL file, which one writes by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from typing import Any

from bench.machine import ROOT, save
from bench.numbers import ratios, spread
from bench.peers.registry import PEERS, environment, missing
from bench.peers.work import answer_to
from bench.processes import MARK, PeakMemory, end_all, new_mark
from mrengine.testing import LLMServer

__all__ = ["WHAT", "main", "measure"]

BASE = "threads and a JSONL file"
# What is measured: the field, its unit, and the calls and their padding (45 characters each).
WHAT: dict[str, tuple[str, int, int]] = {
    "startup": ("first_request_s", 1, 0),
    "memory": ("peak_mb", 100, 500),
    "resume": ("again_s", 100, 0),
}


def measure(tool: str, what: str) -> dict[str, float]:
    """One program, once; and once again for ``resume``."""
    _, calls, padding = WHAT[what]
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state,
        LLMServer(latency_s=0.05, answer=answer_to) as server,
    ):
        found = _run(tool, server, state, calls, padding, memory=what == "memory")
        bought = server.stats().ok
        if what == "resume":
            again = _run(tool, server, state, calls, padding, memory=False)
            found |= {"again_s": again["wall_s"], "again_calls": server.stats().ok - bought}
    return found


def _run(tool: str, server: LLMServer, state: str, calls: int, padding: int, *, memory: bool) -> dict[str, float]:
    mark = new_mark()
    command = [PEERS[tool].interpreter, "-m", "bench.peers", tool, "--url", server.url, "--state", state]
    command += ["--calls", str(calls), "--padding", str(padding), "--timeout-s", "60"]
    watch = PeakMemory(mark)
    began = time.monotonic()
    if memory:
        watch.start()
    try:
        subprocess.run(
            command, cwd=ROOT, env={**environment(), MARK: mark}, check=True, capture_output=True, timeout=180
        )
    finally:
        wall_s = time.monotonic() - began
        end_all(mark)
    found = {"wall_s": wall_s, "first_request_s": (server.stats().first_request_s or began) - began}
    return found | ({"peak_mb": watch.stop(), "processes": watch.processes} if memory else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--tools", nargs="*", choices=list(PEERS), default=list(PEERS), metavar="TOOL")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    field, calls, padding = WHAT[options.what]
    found: dict[str, list[dict[str, float]]] = {}
    gone = {tool: reason for tool in options.tools if (reason := missing(tool))}
    for _ in range(options.turns):
        for tool in options.tools:
            if tool not in gone:
                try:
                    found.setdefault(tool, []).append(measure(tool, options.what))
                except subprocess.SubprocessError as error:
                    gone[tool] = f"could not be measured: {type(error).__name__}"
                    found.pop(tool, None)
                    continue
                print(f"{tool}: {found[tool][-1]}", file=sys.stderr)
    samples = {tool: [sample[field] for sample in each] for tool, each in found.items()}
    over = ratios(samples, BASE) if BASE in samples else {}
    rows: list[dict[str, Any]] = []
    for tool, each in found.items():
        others = {name: spread([sample[name] for sample in each])["median"] for name in each[0] if name != field}
        rows.append(
            {"tool": tool, field: spread(samples[tool])["median"], "ratio": over.get(tool), **others, "samples": each}
        )
    rows += [{"tool": tool, "missing": reason} for tool, reason in gone.items()]
    packages = [peer.package for peer in PEERS.values()]
    path = save(options.what, rows, packages=packages, turns=options.turns, calls=calls, padding=padding, base=BASE)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
