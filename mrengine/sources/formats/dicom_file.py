"""DICOM files, by ``pydicom``: their metadata as text. Pixel data is never read."""

from __future__ import annotations

import warnings
from typing import Any

from mrengine.errors import MissingExtra, SourceError

__all__ = ["dump", "is_dicom"]

_UNDEFINED = 0xFFFFFFFF  # the length of an element that ends with a mark of its own (PS3.5, 7.1)


def is_dicom(data: bytes) -> bool:
    """Whether these are the first bytes of a DICOM file: 128 bytes of preamble, then ``DICM`` (PS3.10, 7.1)."""
    return data[128:132] == b"DICM"


def dump(source: Any, name: str) -> str:
    """The metadata of a DICOM file as pydicom prints it. ``source``: a path or file.

    Raises MissingExtra without pydicom; SourceError for a file that pydicom cannot read, that has nothing but a header,
    or that ends inside an element.
    """
    try:
        import pydicom
    except ImportError:
        message = f"{name} is a DICOM file: pip install 'mrengine[dicom]'"
        raise MissingExtra(message, extra="dicom", source=name) from None
    try:
        with warnings.catch_warnings():
            # Real files are full of values that break a rule; a warning would quote them, and may name a patient.
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
    """What is wrong with a data set that pydicom has read without complaint; "": nothing."""
    if not len(data):
        return "it has no elements"
    for tag in list(data.keys()):
        raw = data.get_item(tag)
        length = getattr(raw, "length", None)  # of an element that is not decoded yet
        if length is not None and length != _UNDEFINED and length > len(raw.value or b""):
            return f"it ends inside element {raw.tag}"
    return ""
