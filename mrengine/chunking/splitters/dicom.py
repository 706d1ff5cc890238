"""DICOM metadata: the text dump of a data set, cut group by group and sequence item by item."""

from __future__ import annotations

import re
import warnings
from typing import Any

from mrengine.chunking.boundaries import RECORD, SOFT, Boundary, Stateless
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters.lines import lines_between
from mrengine.errors import MissingExtra, SourceError

__all__ = ["PREAMBLE", "Dicom", "dump", "is_dicom", "looks"]

_UNDEFINED = 0xFFFFFFFF  # the length of an element that ends with a mark of its own (PS3.5, 7.1)
_NONE = 1 << 30  # no unit is kept whole at the cost of fill
PREAMBLE = 132  # bytes a DICOM file begins with, the letters DICM last (PS3.10, 7.1)


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


def is_dicom(data: bytes) -> bool:
    """Whether these are the first bytes of a DICOM file: 128 bytes of preamble, then ``DICM`` (PS3.10, 7.1)."""
    return data[128:PREAMBLE] == b"DICM"


def dump(source: Any, name: str) -> str:
    """The text of a DICOM file's metadata, as pydicom prints it; pixel data is not read. ``source``: path or file.

    A value that breaks a rule of DICOM is printed as it stands: files of good use are full of them.
    Raises MissingExtra without pydicom, SourceError for a file that pydicom cannot read, that has nothing but a header,
    or that ends inside an element. Neither the error nor a warning quotes a value: it may be a patient's name.
    """
    try:
        import pydicom
    except ImportError:
        message = f"{name} is a DICOM file: pip install 'mrengine[dicom]'"
        raise MissingExtra(message, extra="dicom", source=name) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(source, stop_before_pixels=True)
            fault = _fault(data)
            text = "" if fault else str(data) + "\n"
    except Exception as error:  # noqa: BLE001 - pydicom raises whatever a damaged element leads to, quoting values
        raise _unreadable(name, getattr(error, "strerror", None) or type(error).__name__) from None
    if fault:
        raise _unreadable(name, fault)
    return text


def _unreadable(name: str, fault: str) -> SourceError:
    return SourceError(f"{name} is not a readable DICOM file ({fault})", source=name)


def _fault(data: Any) -> str:
    """What is wrong with a data set that pydicom has read without complaint; empty if nothing is."""
    if not len(data):
        return "it has no elements"
    for tag in list(data.keys()):
        raw = data.get_item(tag)
        length = getattr(raw, "length", None)  # of an element that is not decoded yet
        if length is not None and length != _UNDEFINED and length > len(raw.value or b""):
            return f"it ends inside element {raw.tag}"
    return ""
