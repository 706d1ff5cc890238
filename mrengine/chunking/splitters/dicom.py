"""DICOM metadata: the text dump of a data set, cut group by group and sequence item by item."""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import RECORD, SOFT, Boundary, Stateless
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters.lines import lines_between

__all__ = ["Dicom", "looks"]

_NONE = 1 << 30  # no unit is kept whole at the cost of fill


class Dicom(Stateless):
    """A data set's dump. It keeps nothing from one call to the next.

    pydicom prints an element a line: ``(gggg,eeee) name VR: value``, indented by three blanks for each sequence it
    lies in, and a rule of hyphens behind each item of a sequence.
    """

    name = "dicom"
    outermost = _NONE
    opens = re.compile(r"(?!)")  # a rule ends an item
    open_ends = ()

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Groups, sequence items and elements, by how deep they lie."""
        found: list[Boundary] = []
        group = above = ""
        for begin, line, after_blank in lines_between(text, low - 200, high):
            body = line.lstrip()
            indent = len(line) - len(body)
            title = body[0] != "("
            changed = title or (not indent and body[1:5] != group)
            level = RECORD + 4 * (indent // 3) + (0 if changed or above.startswith("-----") or after_blank else 2)
            if not indent:
                group = body[1:5]
            if low < begin and not body.startswith("---"):
                found.append((begin, level, SOFT))
            above = body
        return found


_TAG = re.compile(r"(?:.*\n){0,12}?[ \t]*\([0-9A-Fa-f]{4},[ ]?[0-9A-Fa-f]{4}\) ")


def looks(sample: Sample) -> float:
    """How much a text looks like a data set's dump."""
    return 1.0 if "(" in sample.head and _TAG.match(sample.head) else 0.0
