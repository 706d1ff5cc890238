"""Run one tool's program; see the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.peers import programs
from bench.peers.work import Work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=programs.PROGRAMS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--rpm", type=int)
    parser.add_argument("--tpm", type=int)
    parser.add_argument("--timeout-s", type=float, default=10.0)
    parser.add_argument("--padding", type=int, default=0)
    given = vars(parser.parse_args())
    name = given.pop("name")
    programs.PROGRAMS[name](Work(**given))


if __name__ == "__main__":
    main()
