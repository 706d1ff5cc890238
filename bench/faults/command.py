"""``python -m bench faults``: every fault over every tool; the results go to bench/results/faults.json."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.faults.cases import CASES
from bench.faults.disk import compiler
from bench.faults.play import CALLS, IN_FLIGHT, LATENCY_S, TIMEOUT_S, play
from bench.machine import FOLDER, save
from bench.peers.registry import PEERS, missing

__all__ = ["add_options", "main"]

COUNTS = ("bought_twice", "announced", "lost", "missing", "wrong", "refused", "early")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--faults", nargs="*", choices=list(CASES), default=list(CASES), metavar="FAULT")
    parser.add_argument("--tools", nargs="*", choices=list(PEERS), default=list(PEERS), metavar="TOOL")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the rows of other faults and tools in the result")
    parser.add_argument("--together", type=int, default=2, help="programs that run at the same time")


def main(options: argparse.Namespace) -> int:
    """Play, print, save."""
    rows: list[dict[str, Any]] = []
    print(f"{'fault':14} {'tool':25} " + " ".join(f"{count:>12}" for count in COUNTS) + "  ended")
    with ThreadPoolExecutor(options.together) as pool:
        pairs = [(fault, tool) for fault in options.faults for tool in options.tools]
        for row in pool.map(lambda pair: _row(*pair, options.calls, options.turns), pairs):
            rows.append(row)
            print(_line(row), flush=True)
    if options.keep:
        rows = _kept(rows) + rows
    settings = {"calls": options.calls, "in_flight": IN_FLIGHT, "latency_s": LATENCY_S, "timeout_s": TIMEOUT_S}
    about = {fault: case.about for fault, case in CASES.items()}
    tools = {tool: peer.about for tool, peer in PEERS.items()}
    packages = [peer.package for peer in PEERS.values()]
    path = save("faults", rows, packages=packages, **settings, turns=options.turns, faults=about, tools=tools)
    print(f"written to {path}")
    return 0


def _kept(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stored rows that were not measured again."""
    path = Path(os.environ.get("BENCH_RESULTS", FOLDER)) / "faults.json"
    new = {(row["fault"], row["tool"]) for row in rows}
    stored = json.loads(path.read_text())["rows"] if path.exists() else []
    return [row for row in stored if (row["fault"], row["tool"]) not in new]


def _row(fault: str, tool: str, calls: int, turns: int) -> dict[str, Any]:
    row: dict[str, Any] = {"fault": fault, "tool": tool}
    case = CASES[fault]
    reason = missing(tool) or ("no C compiler" if case.on_disk and compiler() is None else None)
    if reason:
        return {**row, "missing_tool": reason}
    samples = []
    for _ in range(turns):
        try:
            samples.append(play(tool, case, calls))
        except Exception as error:  # noqa: BLE001  # the others' rows are wanted all the same
            return {**row, "missing_tool": f"could not be measured: {type(error).__name__}: {error}"}
    return {**row, **{count: sum(sample[count] for sample in samples) for count in COUNTS}, "samples": samples}


def _line(row: dict[str, Any]) -> str:
    if "missing_tool" in row:
        return f"{row['fault']:14} {row['tool']:25} {row['missing_tool']}"
    ended = ", then ".join(row["samples"][-1]["ended"])
    return f"{row['fault']:14} {row['tool']:25} " + " ".join(f"{row[count]:12}" for count in COUNTS) + f"  {ended}"
