"""The titles and the table header above a chunk, as the log keeps them: places in the spool, and a digest."""

# Not their text: that belongs to the document, and must be gone when the spool is.

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

from mrengine.errors import LogError
from mrengine.log.format.packing import bad_record, pack, unpack
from mrengine.records import title_of

__all__ = [
    "AS_IT_STANDS", "IN_MARKUP", "IN_WORDS", "NO_HEADS", "WITH_NEWLINE", "Head", "HeadPlaces", "Heads", "digest_of",
    "pack_heads", "read_heads", "text_of", "unpack_heads",
]  # fmt: skip

_DIGEST_BYTES = 16
Heads = tuple[tuple[str, ...], str]  # a chunk's headings, and its table header
# How the text of a head is made from its bytes in the spool. These numbers are in logs: only append.
AS_IT_STANDS, WITH_NEWLINE, IN_WORDS, IN_MARKUP = range(4)


class Head(NamedTuple):
    """A title or table header: bytes ``start:stop`` of the spool, and the ``form`` by which they give its text."""

    start: int
    stop: int
    form: int = AS_IT_STANDS


class HeadPlaces(NamedTuple):
    """The places of the titles and the table header (none or one) above a chunk. ``digest``: of their texts."""

    # By the digest, chunks are compared when the spool is gone, and what is read from the spool is checked.

    digest: bytes = b""
    titles: tuple[Head, ...] = ()
    header: tuple[Head, ...] = ()


NO_HEADS = HeadPlaces()


def digest_of(heads: Heads) -> bytes:
    """The digest of headings and a table header."""
    return blake2b(pack(heads), digest_size=_DIGEST_BYTES).digest()


def text_of(data: bytes, form: int) -> str:
    """The text of a head, from its bytes in the spool and its form. UnicodeDecodeError: the bytes are no UTF-8."""
    text = data.decode("utf-8", "surrogatepass")
    if form == IN_MARKUP:
        return title_of(text)
    if form == IN_WORDS:
        return " ".join(text.split())
    return f"{text}\n" if form == WITH_NEWLINE else text


def read_heads(places: HeadPlaces, read: Callable[[int, int], bytes | None]) -> Heads | None:
    """The headings and the table header. ``read(start, stop)``: bytes of the spool. None: the spool has lost them."""
    if places == NO_HEADS:
        return (), ""
    with suppress(UnicodeDecodeError):
        titles, header = ([_text(head, read) for head in heads] for heads in places[1:])
        found = tuple(titles), "".join(header)
        return found if digest_of(found) == places.digest else None
    return None


def _text(head: Head, read: Callable[[int, int], bytes | None]) -> str:
    data = read(head.start, head.stop)
    return "" if data is None else text_of(data, head.form)


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
    # Checked by type: ``bytes`` of a number that stands here by damage would ask for as many bytes of memory.
    if not isinstance(value, bytes) or len(value) != _DIGEST_BYTES:
        raise bad_record("CHUNKS")
    return value


def _heads(values: Any) -> tuple[Head, ...]:
    heads = tuple(Head(*map(int, value)) for value in values)
    if any(not AS_IT_STANDS <= head.form <= IN_MARKUP for head in heads):
        raise LogError("a CHUNKS record has titles in a form that this mrengine does not know", reason="damaged")
    return heads
