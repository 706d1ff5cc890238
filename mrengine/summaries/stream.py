"""A summary while it is made: progress, then the text as the model writes it. A thread does the work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import regex

from mrengine.summaries.markers import cited_in, renumbered
from mrengine.summaries.summary import Summary, SummaryProgress

__all__ = ["SummaryStream", "Writing", "part_text"]

_JOIN_S = 0.5
_OPEN = regex.compile(r"[\s,;]*(?:[\[【［][^\[\]【】［］\n]{0,80}[\]】］]?[\s,;]*)*\Z")  # marks that may go on


class SummaryStream(Iterator["SummaryProgress | str"]):
    """Iterate over it: ``SummaryProgress``, then pieces of the text; afterwards ``summary`` is the whole.

    The pieces make the text, ``"".join(pieces) == summary.text``. If a call had to be repeated, or the final text
    differs from what was shown, a SummaryProgress of the stage "again" comes, and then the text from its beginning.
    Leaving the loop, or ``close()``, stops the job; it can be resumed. Raises what ``summarize()`` raises.
    """

    def __init__(self, work: Callable[[Callable[[Any], None]], Summary], stop: Callable[[], None]) -> None:
        """``work(report)``: makes the summary; ``stop()``: makes it end soon."""
        self._work, self._stop = work, stop
        self._updates: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._summary: Summary | None = None

    @property
    def summary(self) -> Summary:
        """The whole summary; iterates to the end first."""
        if self._summary is None:
            for _ in self:
                pass
        if self._summary is None:
            raise RuntimeError("the stream was closed before its summary was made")
        return self._summary

    def __iter__(self) -> SummaryStream:
        return self

    def __next__(self) -> SummaryProgress | str:
        if self._ended:
            raise StopIteration
        if self._thread is None:
            # A daemon: a program that leaves the loop and ends must not hang on a job of hours.
            self._thread = threading.Thread(target=self._run, name="mrengine-summary", daemon=True)
            self._thread.start()
        try:
            update = self._updates.get()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if isinstance(update, (SummaryProgress, str)):
            return update
        self._ended = True
        self._thread.join()
        if isinstance(update, BaseException):
            raise update
        self._summary = update
        raise StopIteration

    def close(self) -> None:
        """Stop the job, and wait until it has."""
        if self._thread is not None and not self._ended:
            self._ended = True
            while self._thread.is_alive():
                self._stop()  # again: it may not have begun the first time
                self._thread.join(_JOIN_S)

    def __enter__(self) -> SummaryStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:  # a loop that was left with break, without a with block
        if self._thread is not None and not self._ended:
            self._stop()

    def _run(self) -> None:
        try:
            self._updates.put(self._work(self._updates.put))
        except BaseException as error:  # noqa: BLE001  # __next__ raises it in the reader's thread
            self._updates.put(error)


def part_text(value: Any) -> str:
    """The text of one result of a map or reduce call, without marks: their numbers are not final yet."""
    if isinstance(value, Mapping):
        claims = value.get("claims") or ()
        return " ".join(claim["text"] for claim in claims if claim["verified"])
    text = getattr(value, "text", value)
    return renumbered(text, {}).strip() if isinstance(text, str) else ""


class Writing:
    """Turns the pieces that a model writes into the text so far, as it will be in the summary.

    ``cited``: marks are numbered in order of appearance, as in the end, and held back until they are complete.
    """

    def __init__(self, report: Callable[[Any], None], *, cited: bool) -> None:
        self._report, self._cited = report, cited
        self._raw = self._shown = ""

    def piece(self, at: int, piece: str) -> None:
        """Take a piece of the answer, which begins at the character ``at``: a repeated call begins at 0 again."""
        self._raw = self._raw[:at] + piece
        self._show(self._safe())

    def end(self, text: str) -> None:
        """Show the rest of the final text."""
        self._show(text)

    def _safe(self) -> str:
        raw = self._raw.lstrip()
        if not self._cited:
            return raw.rstrip()
        opened = _OPEN.search(raw)
        raw = raw[: opened.start()] if opened else raw
        return renumbered(raw, {number: place for place, number in enumerate(cited_in(raw), 1)})

    def _show(self, text: str) -> None:
        if not text.startswith(self._shown):
            if self._shown.startswith(text):
                return  # a repeated call has not come as far yet
            self._report(SummaryProgress("again", 0, 1, 0.0))
            self._shown = ""
        if new := text[len(self._shown) :]:
            self._report(new)
            self._shown = text
