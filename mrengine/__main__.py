"""``mrengine`` and ``python -m mrengine``: the command line, or what it needs to be there."""

from __future__ import annotations

import importlib.util
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run a command; leaves with its exit code."""
    _hold_standard_descriptors()
    if importlib.util.find_spec("click") is None:
        sys.stderr.write("mrengine: the command line needs click: pip install click (the library works without)\n")
        raise SystemExit(2)
    from mrengine.cli import main as command

    command()


def _hold_standard_descriptors() -> None:
    """Where the shell has closed one (``>&-``), no file that is opened later gets its number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
