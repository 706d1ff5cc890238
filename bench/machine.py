"""Where results go, and what they carry: the machine, its load, the versions, the day, a format version."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrengine._version import __version__

__all__ = ["FOLDER", "FORMAT", "ROOT", "describe", "save"]

FORMAT = 2  # 2: the machine's load and memory, and raw samples in the rows
ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / "results"
_LOAD_AT_START = os.getloadavg()


def describe(
    name: str, rows: Sequence[Mapping[str, Any]], *, packages: Sequence[str] = (), **settings: Any
) -> dict[str, Any]:
    """A result as it is stored. ``packages``: whose versions matter; mrengine's own is always told."""
    return {
        "format": FORMAT,
        "bench": name,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "processor": _processor(),
            "memory_gb": _memory_gb(),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "load_before": [round(load, 2) for load in _LOAD_AT_START],
            "load_after": [round(load, 2) for load in os.getloadavg()],
        },
        "versions": {**{package: _version(package) for package in packages}, "mrengine": __version__},
        "settings": settings,
        "rows": [_with_samples(row) for row in rows],
    }


def _with_samples(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that was measured once, and has no samples of its own, is its one sample."""
    reasons = {"missing_tool", "raised"} & set(row) or isinstance(row.get("missing"), str)
    return dict(row) if "samples" in row or reasons else {**row, "samples": [dict(row)]}


def save(name: str, rows: Sequence[Mapping[str, Any]], *, packages: Sequence[str] = (), **settings: Any) -> Path:
    """Write ``<name>.json`` to bench/results, or to the folder that BENCH_RESULTS names, and return its path."""
    folder = Path(os.environ.get("BENCH_RESULTS", FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(describe(name, rows, packages=packages, **settings), indent=1) + "\n")
    return path.resolve()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _version(package: str) -> str | None:
    """Here, or where an interpreter of a peer's own has it (``BENCH_…_PYTHON``)."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        others = [python for name, python in os.environ.items() if re.fullmatch(r"BENCH_\w+_PYTHON", name)]
        code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
        found = (subprocess.run([python, "-c", code], capture_output=True, text=True, check=False) for python in others)
        return next((done.stdout.strip() for done in found if done.returncode == 0), None)
