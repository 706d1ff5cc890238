"""HL7 version 2: messages, then groups of segments, then segments; lines end with CR, LF or both."""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import DOCUMENT, RECORD, WHOLE, Boundary, Stateless
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters.forms import NOTHING

__all__ = ["Hl7", "looks"]

_SEGMENT = re.compile(r"[\r\n][\x0b\x1c]?([A-Z][A-Z0-9]{2})(?=\|)")
# How far out a group lies that a segment begins; what is not named lies inside of the group before it.
_LEVELS = {
    "FHS": DOCUMENT, "BHS": DOCUMENT, "MSH": DOCUMENT + 1, "BTS": DOCUMENT + 2, "FTS": DOCUMENT + 2,
    "PID": RECORD, "PV1": RECORD + 2, "ORC": RECORD + 1, "OBR": RECORD + 2, "RXA": RECORD + 2, "IN1": RECORD + 2,
    "SCH": RECORD + 2, "TXA": RECORD + 2, "OBX": RECORD + 4, "SPM": RECORD + 3, "NTE": RECORD + 6,
}  # fmt: skip
_HEADS = ("FHS", "BHS", "ORC")  # what follows belongs to them


class Hl7(Stateless):
    """Messages and segments."""

    name = "hl7"
    opens = NOTHING
    open_ends = ()

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Segments by what they begin."""
        found: list[Boundary] = []
        above = ""
        for match in _SEGMENT.finditer(text, max(low, 0), high + 8):
            place = match.start(1)
            if place > high:
                break
            name = match.group(1)
            if above not in _HEADS:
                found.append((match.start() + 1, _LEVELS.get(name, RECORD + 5), WHOLE))
            above = name
        return found


_LINE = re.compile(r"[\x0b\x1c]?(?:[A-Z][A-Z0-9]{2}\||[\x1c\x0b]*$)")


def looks(sample: Sample) -> float:
    """How much a text looks like HL7: a message's head, and segments."""
    head = sample.head.lstrip("\x0b")
    if not head.startswith(("MSH|", "FHS|", "BHS|")) and "\nMSH|^~" not in sample.head:
        return 0.0
    return 0.98 if sample.share(_LINE.match) > 0.6 else 0.0
