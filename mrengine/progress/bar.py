"""The bar on a terminal, drawn to stderr, and the one in a notebook. Both draw in the caller's thread."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

from mrengine.progress.meter import Clock, describe
from mrengine.progress.watching import Watching

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Bar", "NotebookBar", "in_notebook"]

BAR, LEAST_BAR = 20, 6  # characters


class Bar(Watching):
    """One line on the terminal: bar, counts, state, pace, tokens, share of the limit, cost, time left."""

    every_s = 0.1

    def __init__(self, stream: TextIO, tpm: Mapping[str, int], *, clock: Clock) -> None:
        from rich.console import Console

        super().__init__(tpm, clock=clock)
        self._console = Console(file=stream)
        self._live: Any = None
        self._closed = self._console.is_dumb_terminal  # it cannot redraw a line: each drawing would be a new one

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._live is None:
            super().say(text)
        else:
            self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar from the screen, so that a traceback does not print into it."""
        self._closed = True
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if self._closed:
            return
        if self._live is None:
            from rich.live import Live

            # Live, and not rich's Progress: that lays its columns out one by one, and on a narrow terminal the pace and
            # the state must give way before the time left. No refresh thread: the host may fork while it holds a lock.
            # No redirection: sys.stdout and sys.stderr stay the user's.
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(self._line(), refresh=True)

    def _line(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        words = describe(self.meter, self.doing(), width=self._console.width - 1)
        room = min(BAR, self._console.width - 1 - len(words) - 1)
        if room < LEAST_BAR:  # the words are more useful than the bar
            return Text(words, no_wrap=True, overflow="ellipsis")
        line = Table.grid(Column(width=room), Column(no_wrap=True, overflow="ellipsis"), padding=(0, 1))
        bar = ProgressBar(total=self.meter.total or None, completed=self.meter.done, pulse=not self.meter.total)
        line.add_row(bar, words)
        return line


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, in the thread that runs its cells."""
    # IPython is not imported to be asked: in a kernel it is there already.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookBar(Watching):
    """An HTML line below a cell, a progress element and the words beside it: a notebook's stderr is no terminal."""

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
