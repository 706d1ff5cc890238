"""All benchmarks, one after another: ``python -m bench [NAME ...]``. Results go to bench/results, with the machine."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "log",
    "budget",
    "calls",
    "limit",
    "chunking",
    "chunking_first",
    "chunking_cuts",
    "pool",
    "crash",
    "steal",
    "scale",
)
OPTIONS = {"chunking_cuts": ["--save"]}  # by itself it only prints: it is a tool of whoever changes a splitter


def main() -> int:
    """Run what is named, or all; the number of those that failed."""
    wanted = sys.argv[1:] or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    commands = [[sys.executable, "-m", f"bench.{name}", *OPTIONS.get(name, [])] for name in wanted]
    return sum(subprocess.run(command, check=False).returncode != 0 for command in commands)


if __name__ == "__main__":
    sys.exit(main())
