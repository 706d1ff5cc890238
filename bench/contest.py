"""Contestants side by side: each measurement in a process of its own, in turn: all share the machine's moods."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench.machine import ROOT
from bench.numbers import ratios, spread
from bench.peers.registry import environment

__all__ = ["fresh", "interleave", "rows_of"]


def fresh(module: str, *arguments: str, timeout_s: float = 300.0, **extra: str) -> Any:
    """What ``python -m module arguments`` prints last, as JSON; RuntimeError with its last line of stderr."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment(), **extra},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1][:300])
    return json.loads(done.stdout.splitlines()[-1])


def interleave(
    module: str, contestants: Mapping[str, Sequence[str]], turns: int
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """``turns`` measurements of each contestant, one after the other in every turn; and why some could not be made.

    ``contestants``: the arguments of each.
    """
    found: dict[str, list[Any]] = {name: [] for name in contestants}
    missing: dict[str, str] = {}
    for turn in range(turns):
        for name, arguments in contestants.items():
            if name in missing:
                continue
            try:
                found[name].append(fresh(module, *arguments))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                missing[name] = str(error).splitlines()[0]
                print(f"{name}: {missing[name]}", file=sys.stderr)
                continue
            print(f"turn {turn + 1}: {name}: {found[name][-1]}", file=sys.stderr)
    return {name: samples for name, samples in found.items() if name not in missing}, missing


def rows_of(
    samples: Mapping[str, Sequence[float]], missing: Mapping[str, str], *, base: str, key: str, value: str
) -> list[dict[str, Any]]:
    """A row for each contestant: its median as ``value``, its ratio to ``base``, every sample; or why it is missing."""
    over = ratios(samples, base) if base in samples else {}
    rows: list[dict[str, Any]] = []
    for name, found in samples.items():
        told = spread(found)
        rows.append({key: name, value: told.pop("median"), "ratio": over.get(name), **told})
    return rows + [{key: name, "missing": reason} for name, reason in missing.items()]
