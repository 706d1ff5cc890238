"""Packs what a DOCUMENTS row says of a document beside its text: the caller's fields, and where its pages begin."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mrengine.errors import ConfigError
from mrengine.log.format.packing import bad_record, pack, unpack
from mrengine.log.format.values import Unstorable, normalise

__all__ = ["MAX_FIELDS_BYTES", "NO_FACTS", "Facts", "pack_facts", "pages_between", "unpack_facts", "without_pages"]

MAX_FIELDS_BYTES = 1 << 16  # when packed: anything longer is a text rather than a fact about one
Mark = tuple[int, int]  # the number of a page, and the offset of its first character in the document


class Facts(NamedTuple):
    """``fields``: plain values by name; ``pages``: the marks of its pages, in order."""

    fields: Mapping[str, Any]
    pages: tuple[Mark, ...]


NO_FACTS = Facts({}, ())


def pack_facts(document_id: str, fields: Mapping[str, Any] | None, pages: Sequence[Mark] = ()) -> bytes:
    """Pack the facts of a document; b"" if there are none. ConfigError: its fields are too large or not storable."""
    if not fields and not pages:
        return b""
    shown = repr(document_id) if len(document_id) <= 80 else repr(document_id[:80]) + "…"
    try:
        plain = normalise(dict(fields or {}), "fields")
    except (Unstorable, TypeError, ValueError) as error:
        message = f"the fields of document {shown} cannot be stored: {error}"
        raise ConfigError(message, setting="fields") from None
    packed = pack(plain)
    if len(packed) > MAX_FIELDS_BYTES:
        message = (
            f"the fields of document {shown} have {len(packed)} bytes, and at most {MAX_FIELDS_BYTES} are kept: leave "
            "long ones out (read_table has columns= for that)"
        )
        raise ConfigError(message, setting="fields")
    return pack([plain, [number for mark in pages for number in mark]])


def unpack_facts(data: bytes) -> Facts:
    """The reverse of ``pack_facts``. LogError: malformed."""
    if not data:
        return NO_FACTS
    try:
        fields, flat = unpack(data)[:2]
        return Facts(dict(fields), tuple(zip(map(int, flat[::2]), map(int, flat[1::2]), strict=True)))
    except (KeyError, TypeError, ValueError, OverflowError):  # KeyError: Python 3.12 looks in a map for the slice
        raise bad_record("DOCUMENTS") from None


def without_pages(data: bytes) -> bytes:
    """Pack the same facts without their pages."""
    return pack([dict(unpack_facts(data).fields), []])


def pages_between(pages: Sequence[Mark], start: int, end: int) -> tuple[Mark, ...]:
    """The marks of the pages that have text between two offsets."""
    # The page that holds ``start`` began before it, hence the one before the first mark behind it.
    first = max(0, bisect_right(pages, start, key=lambda mark: mark[1]) - 1)
    ends = [mark[1] for mark in pages[first + 1 :]] + [end]
    return tuple(
        mark for mark, stop in zip(pages[first:], ends, strict=False) if mark[1] < end and max(mark[1], start) < stop
    )
