"""Subtitles, SRT and WebVTT: a cue is its number or name, its times, and its lines."""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import RECORD, WHOLE, Boundary, Stateless
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters.forms import NOTHING

__all__ = ["Subtitles", "looks"]

_TIME = r"(?:\d{1,3}:)?\d{1,2}:\d\d[.,]\d{1,3}"
_TIMES = re.compile(rf"[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}")
_LONG = 200  # characters of a cue's name


class Subtitles(Stateless):
    """Cues."""

    name = "subtitles"
    outermost = RECORD
    opens = NOTHING
    open_ends = ()

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Where cues begin."""
        found: list[Boundary] = []
        place = text.find("-->", max(low, 0), high + 2 * _LONG)
        while place >= 0:
            begin = _cue(text, place)
            if low < begin <= high:
                found.append((begin, RECORD, WHOLE))
            if begin > high:
                break
            place = text.find("-->", place + 3, high + 2 * _LONG)
        return found

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next cue."""
        place = text.find("-->", max(low, 0), high + 2 * _LONG)
        while place >= 0:
            begin = _cue(text, place)
            if begin > low:
                return begin if begin <= high else 0
            place = text.find("-->", place + 3, high + 2 * _LONG)
        return 0


def _cue(text: str, arrow: int) -> int:
    """Where the cue begins whose times have an arrow there; 0 if these are no times."""
    low = max(0, arrow - _LONG)
    begin = max(text.rfind("\n", low, arrow), text.rfind("\r", low, arrow)) + 1
    if not _TIMES.match(text, begin):
        return 0
    above = text[max(0, begin - _LONG) : begin]
    body = above.rstrip("\r\n")
    gap = above[len(body) :]
    if not body or max(gap.count("\n"), gap.count("\r")) > 1:
        return begin  # behind a blank line: it has no name
    name = max(body.rfind("\n"), body.rfind("\r")) + 1
    if name == 0 and begin > _LONG:
        return begin
    return begin - len(above) + name if body[name:].strip() else begin


def looks(sample: Sample) -> float:
    """How much a text looks like subtitles."""
    if "-->" not in sample.text[:20_000]:
        return 0.0
    cues = sample.share(_TIMES.match)
    return 0.97 if cues > 0.15 or (cues and sample.head.startswith("WEBVTT")) else 0.0
