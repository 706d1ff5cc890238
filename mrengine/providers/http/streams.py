"""Server-sent events that nobody asked for: some servers stream whatever a request says. Read whole, as one answer.

https://html.spec.whatwg.org/multipage/server-sent-events.html: lines of ``data:`` up to an empty line are one event.
Others send the events as lines of JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["events_in", "is_stream", "without_comments"]

_FIRST_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_COMMENTS = re.compile(rb"(?:\s*:[^\n]*\n)+\s*(?=[{\[])")
_LINES = re.compile(rb"\s*\{.*\}[ \t]*\r?\n\s*\{")  # the first line is an object, and so is the next


def without_comments(body: bytes) -> bytes:
    """A body of JSON without the comments that keep its connection alive; others as they are."""
    comments = _COMMENTS.match(body)
    return body if comments is None else body[comments.end() :]


def is_stream(body: bytes) -> bool:
    """Whether a body is a stream of events, by its first lines: its media type is not always right."""
    return _FIRST_LINE.match(body) is not None or _LINES.match(body) is not None


def events_in(body: bytes) -> list[Any]:
    """The JSON values of the events, in order. ValueError: one is no JSON, or there is none."""
    found = [json.loads(data) for data in _data(body) if data != "[DONE]"]
    if not found:
        raise ValueError("no events")
    return found


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
