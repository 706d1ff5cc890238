"""``python -m bench report``: writes docs/performance.md, docs/plots and the table of README.md from bench/results."""

from __future__ import annotations

import argparse
import sys

from bench.machine import ROOT
from bench.page.render import pages
from bench.page.results import Results

__all__ = ["add_options", "main"]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is stale")


def main(options: argparse.Namespace) -> int:
    """Write, or check."""
    stale = [(path, text) for path, text in pages(Results()).items() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        name = path.relative_to(ROOT)
        if options.check:
            print(f"{name} is not what bench/results says: python -m bench report", file=sys.stderr)
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(f"wrote {name}")
    return int(options.check and bool(stale))
