"""The bar on a terminal: drawn to stderr, in the caller's thread, at most ten times a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from mrengine.progress.meter import Clock, describe
from mrengine.progress.watching import Watching

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Bar"]

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
