"""``mrengine`` and ``python -m mrengine``: the command line, or what it needs to be there."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """Run a command; leaves with its exit code."""
    if importlib.util.find_spec("click") is None:
        sys.stderr.write("mrengine: the command line needs click: pip install click (the library works without)\n")
        raise SystemExit(2)
    from mrengine.cli import main as command

    command()


if __name__ == "__main__":
    main()
