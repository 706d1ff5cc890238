"""The bar in a notebook, whose stderr is no terminal: an HTML line that is redrawn in its cell."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from html import escape
from importlib import import_module
from typing import Any

from mrengine.progress.meter import Clock, describe
from mrengine.progress.watching import Watching

__all__ = ["NotebookBar", "in_notebook"]


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, in the thread that runs its cells."""
    # IPython is not imported to be asked: in a kernel it is there already.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookBar(Watching):
    """A progress element and the words beside it, at most four times a second."""

    every_s = 0.25

    def __init__(self, tpm: Mapping[str, int] | None = None, *, clock: Clock = time.monotonic) -> None:
        super().__init__(tpm, clock=clock)
        self._handle: Any = None
        self._closed = False

    def close(self) -> None:
        """Draw the last state, which stays below the cell."""
        if not self._closed:
            self._text = ""
            self._redraw()
        self._closed = True

    def _draw(self) -> None:
        if self._closed:
            return
        screen: Any = import_module("IPython.display")
        shown = screen.HTML(self.html())
        if self._handle is None:
            self._handle = screen.display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def html(self) -> str:
        """The line as HTML, escaped, as it contains names of models."""
        meter = self.meter
        share = f'value="{meter.done}" max="{meter.total}"' if meter.total else ""
        words = escape(describe(meter, self.doing()))
        return f'<progress {share} style="width:16em" aria-label="chunks"></progress> <span>{words}</span>'
