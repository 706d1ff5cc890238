"""``python -m bench pipeline``: one source through the whole of mrengine, and where the time went.

Without a model of your own it asks a server on loopback that takes ``--latency-s`` for each call. The first run fills
the log of a job, the second resumes it: with nothing to do, which is what a cache is worth here. ``--no-cache`` gives
the second run a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.machine import describe
from mrengine import Url, summarize
from mrengine.errors import MrengineError
from mrengine.profiling import PerformanceCollector, cprofile_context, format_duration
from mrengine.testing import LLMServer

__all__ = ["add_options", "main"]


def add_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", type=Path, metavar="SOURCE", help="a file or a folder")
    source.add_argument("--url", metavar="SOURCE")
    parser.add_argument("--allow-private", action="store_true", help="the URL may lead to this machine or network")
    parser.add_argument("--query", help="summarise what is said about it")
    parser.add_argument("--no-cache", action="store_true", help="the second run pays again")
    parser.add_argument("--profile", action="store_true", help="cProfile of the host's process, to stderr")
    parser.add_argument("--export", type=Path, metavar="OUT.JSON")
    parser.add_argument("--model", help="default: a server on loopback")
    parser.add_argument("--latency-s", type=float, default=0.2, help="of the server on loopback")
    parser.add_argument("--in-flight", type=int, default=8)


def main(options: argparse.Namespace) -> int:
    """Run twice, print the stages, export."""
    if options.file is not None and not options.file.exists():
        print(f"bench pipeline: there is no {options.file}", file=sys.stderr)
        return 2
    source = options.file if options.file is not None else Url(options.url, allow_private=options.allow_private)
    try:
        if options.model:
            rows = _runs(source, options, options.model)
        else:
            with LLMServer(latency_s=options.latency_s) as server:
                rows = _runs(source, options, f"{server.url}#m")
    except MrengineError as error:
        print(f"bench pipeline: {error}", file=sys.stderr)
        return 1
    for row in rows:
        _print(row)
    if options.export:
        settings = {"source": options.url or options.file.name, "query": options.query, "cache": not options.no_cache}
        options.export.write_text(json.dumps(describe("pipeline", rows, **settings), indent=1) + "\n")
        print(f"written to {options.export}")
    return 0


def _runs(source: Any, options: argparse.Namespace, model: str) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for turn in ("first", "again"):
            state = Path(scratch) / (turn if options.no_cache else "state")
            profile = Path(scratch) / f"{turn}.txt"
            if options.profile:
                with cprofile_context(profile):
                    rows.append(_run(turn, source, options, model, state))
                print(f"--- cProfile of the {turn} run\n{profile.read_text()}", file=sys.stderr)
            else:
                rows.append(_run(turn, source, options, model, state))
    return rows


def _run(turn: str, source: Any, options: argparse.Namespace, model: str, state: Path) -> dict[str, Any]:
    collector = PerformanceCollector()
    workers = 2 if options.in_flight > 1 else 1
    began = time.perf_counter()
    done = summarize(
        source,
        query=options.query,
        models=model,
        job_id="pipeline",
        state_dir=state,
        workers=workers,
        slots=max(1, options.in_flight // workers),
        collector=collector,
    )
    wall_ms = (time.perf_counter() - began) * 1000
    summary = done.run.summary
    return {
        "run": turn,
        "wall_ms": round(wall_ms, 1),
        "chunks": summary.total_chunks,
        "resumed": summary.resumed_chunks,
        "tokens": {name: asdict(usage) for name, usage in summary.usage.items()},
        "characters": len(done.text),
        "stages": {name: asdict(found) for name, found in collector.by_name().items()},
        "samples": {name: [round(ms, 3) for ms in collector.records(name)] for name in collector.names},
    }


def _print(row: dict[str, Any]) -> None:
    print(f"{row['run']} run: {format_duration(row['wall_ms'])}, {row['chunks']} chunks, {row['resumed']} resumed")
    print(f"  {'stage':20} {'count':>7} {'total':>12} {'median':>12} {'p95':>12} {'max':>12}")
    for name, found in row["stages"].items():
        values = (found[key] for key in ("total_ms", "median_ms", "p95_ms", "max_ms"))
        print(f"  {name:20} {found['count']:7} " + " ".join(f"{format_duration(value):>12}" for value in values))
