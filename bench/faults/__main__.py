"""``python -m bench.faults`` is ``python -m bench faults``."""

from __future__ import annotations

import argparse
import sys

from bench.faults.command import add_options, main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=main.__doc__)
    add_options(parser)
    sys.exit(main(parser.parse_args()))
