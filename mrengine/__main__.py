"""``python -m mrengine``: the command line."""

from __future__ import annotations

from mrengine.cli import main

if __name__ == "__main__":
    main()
