"""Reads server-sent events: of answers that are shown while they come, and of servers that stream whatever is asked.

https://html.spec.whatwg.org/multipage/server-sent-events.html: lines of ``data:`` up to an empty line are one event.
Other servers send the events as lines of JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Shown", "events_in", "is_stream", "without_comments"]

_FIRST_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_COMMENTS = re.compile(rb"(?:\s*:[^\n]*\n)+\s*(?=[{\[])")
_THINK = "<think>"
_LINES = re.compile(rb"\s*\{.*\}[ \t]*\r?\n\s*\{")  # the first line is an object, and so is the next


def without_comments(body: bytes) -> bytes:
    """A body without the comments before its JSON, which some servers send to keep the connection alive."""
    comments = _COMMENTS.match(body)
    return body if comments is None else body[comments.end() :]


def is_stream(body: bytes) -> bool:
    """Whether a body is a stream of events, by its first lines, as its media type is not always right."""
    return _FIRST_LINE.match(body) is not None or _LINES.match(body) is not None


def events_in(body: bytes) -> list[Any]:
    """The JSON values of the events, in order. ValueError: one is no JSON, or there is none."""
    events = [json.loads(data) for data in _data(body) if data != "[DONE]"]
    if not events:
        raise ValueError("no events")
    return events


def _data(body: bytes) -> Iterator[str]:
    if _LINES.match(body):
        yield from (line for line in body.decode("utf-8", "replace").splitlines() if line.strip())
        return
    lines: list[str] = []
    for line in [*re.split("\r\n|\r|\n", body.decode("utf-8-sig", "replace")), ""]:
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines).strip()
            lines = []


class Shown:
    """Shows an answer while it streams: bytes in, pieces of text out. ``piece_of(event)``: the text in an event.

    It skips what it cannot read: the answer itself is read from the whole body.
    """

    def __init__(self, piece_of: Callable[[Any], str], show: Callable[[str], None]) -> None:
        self._piece_of, self._show = piece_of, show
        self._rest = b""
        self._thoughts = _Thoughts()

    def __call__(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            try:
                piece = self._piece_of(json.loads(line[5:]))
            except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
                continue
            if piece := self._thoughts.without(piece):
                self._show(piece)


class _Thoughts:
    """Leaves out the thoughts that models of open weights put before their answers, in tags."""

    def __init__(self) -> None:
        self._held: str | None = ""  # possibly the beginning of thoughts; None: the answer has begun

    def without(self, piece: str) -> str:
        """The new part of the answer, if any."""
        if self._held is None:
            return piece
        self._held = held = self._held + piece
        begun = held.lstrip()
        if _THINK.startswith(begun) and begun != _THINK:
            return ""
        if not begun.startswith(_THINK):
            self._held = None
            return held
        _, end, answer = begun.partition("</think>")
        if not end:
            return ""
        self._held = None
        return answer.lstrip()
