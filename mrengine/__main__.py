"""``mrengine`` and ``python -m mrengine``: the command line, or a line that says what it needs."""

from __future__ import annotations

import importlib.util
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run a command and exit with its code."""
    _hold_standard_descriptors()  # first: an import may open a file
    if importlib.util.find_spec("click") is None:
        sys.stderr.write("mrengine: the command line needs click: pip install click (the library works without)\n")
        raise SystemExit(2)
    from mrengine.cli import main as command

    command()


def _hold_standard_descriptors() -> None:
    """Open /dev/null for those that the shell has closed (``>&-``).

    The next file that is opened would get the number, and whatever is printed would be written into it.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
