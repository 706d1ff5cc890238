"""The titles and the table header above a chunk, as the log has them: their places in the spool, and a digest.

Their text belongs to the document, and goes with it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

from mrengine.errors import LogError
from mrengine.log.format.packing import bad_record, pack, unpack
from mrengine.records import title_of

__all__ = [
    "AS_IT_STANDS",
    "IN_MARKUP",
    "IN_WORDS",
    "NO_HEADS",
    "WITH_NEWLINE",
    "Head",
    "HeadPlaces",
    "Heads",
    "digest_of",
    "pack_heads",
    "read_heads",
    "said",
    "unpack_heads",
]

_DIGEST_BYTES = 16
Heads = tuple[tuple[str, ...], str]  # a chunk's headings, and its table header
# How a head is made of the bytes that stand for it. Numbers are in logs: only append.
AS_IT_STANDS, WITH_NEWLINE, IN_WORDS, IN_MARKUP = range(4)


class Head(NamedTuple):
    """A title or table header: bytes ``start:stop`` of the spool, and how it is made of them."""

    start: int
    stop: int
    form: int = AS_IT_STANDS


class HeadPlaces(NamedTuple):
    """Titles and header above a chunk. ``header``: none or one.

    ``digest``: of the texts. It tells them apart when the spool is gone, and checks what is read from it.
    """

    digest: bytes = b""
    titles: tuple[Head, ...] = ()
    header: tuple[Head, ...] = ()


NO_HEADS = HeadPlaces()


def digest_of(heads: Heads) -> bytes:
    """The digest that stands for headings and a table header."""
    return blake2b(pack(heads), digest_size=_DIGEST_BYTES).digest()


def said(data: bytes, form: int) -> str:
    """The head that these bytes of a spool give in this form. UnicodeDecodeError: they are no text."""
    text = data.decode("utf-8", "surrogatepass")
    if form == IN_MARKUP:
        return title_of(text)
    if form == IN_WORDS:
        return " ".join(text.split())
    return f"{text}\n" if form == WITH_NEWLINE else text


def read_heads(places: HeadPlaces, read: Callable[[int, int], bytes | None]) -> Heads | None:
    """The headings and the table header. ``read(start, stop)``: bytes of the spool. None: they are not there."""
    if places == NO_HEADS:
        return (), ""
    with suppress(UnicodeDecodeError):
        titles, header = ([_text(head, read) for head in heads] for heads in places[1:])
        found = tuple(titles), "".join(header)
        return found if digest_of(found) == places.digest else None
    return None


def _text(head: Head, read: Callable[[int, int], bytes | None]) -> str:
    data = read(head.start, head.stop)
    return "" if data is None else said(data, head.form)


def pack_heads(heads: list[HeadPlaces]) -> bytes:
    """The bytes behind the rows of a CHUNKS record."""
    return pack([[places.digest, [list(head) for head in places.titles], [*places.header]] for places in heads])


def unpack_heads(data: bytes) -> list[HeadPlaces]:
    """The reverse of ``pack_heads``. LogError: malformed."""
    try:
        return [HeadPlaces(_digest(digest), _heads(titles), _heads(header)) for digest, titles, header in unpack(data)]
    except (TypeError, ValueError, OverflowError):
        raise bad_record("CHUNKS") from None


def _digest(value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) != _DIGEST_BYTES:  # bytes() of a number is as many zeros
        raise bad_record("CHUNKS")
    return value


def _heads(values: Any) -> tuple[Head, ...]:
    heads = tuple(Head(*map(int, value)) for value in values)
    if any(head.form > IN_MARKUP for head in heads):
        raise LogError("a CHUNKS record has titles in a form that this mrengine does not know", reason="damaged")
    return heads
