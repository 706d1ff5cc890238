"""Where results go, and what they carry: the machine, the versions, the day, a format version."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["save"]

FORMAT = 1
FOLDER = Path(__file__).parent / "results"


def save(name: str, rows: Sequence[Mapping[str, Any]], *, packages: Sequence[str] = (), **settings: Any) -> Path:
    """Write ``bench/results/<name>.json`` and return its path. ``packages``: whose versions matter."""
    data = {
        "format": FORMAT,
        "bench": name,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
        },
        "versions": {package: _version(package) for package in packages},
        "settings": settings,
        "rows": list(rows),
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
