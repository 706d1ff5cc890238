"""Recognizes msgpack payloads that differ from one that was checked only in bits that no check of types looks at."""

from __future__ import annotations

__all__ = ["Shapes", "fixed_bits"]

MOST_BYTES = 256  # a longer record is dominated by its text, whose length differs from one to the next
LEARN_EVERY = 64
_NUMBERS = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SINGLE = frozenset({0xC0, 0xC2, 0xC3})  # nil, false, true
_BIN8, _STR8, _ARRAY16 = 0xC4, 0xD9, 0xDC


class Shapes:
    """The shapes of payloads that passed a check, one for each length. Several threads may use it at once."""

    # Most outcomes of a job are alike but for ids, times and names, and a replay checks a million of them: unpacking
    # each and looking at the types of its values takes five times as long as to compare the bits that decide on these.

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}  # by length: which bits are fixed, and what they are
        self._missed = 0

    def match(self, payload: bytes) -> bool:
        """Whether a payload holds values of the same types as one that was learned."""
        known = self._known.get(len(payload))
        return known is not None and int.from_bytes(payload, "little") & known[0] == known[1]

    def learn(self, payload: bytes) -> None:
        """Learn from a payload that passed its check and is not among the known ones: from one of 64."""
        # Now and then the newest shape of a length replaces the one before: learning costs ten checks.
        if len(payload) <= MOST_BYTES:
            if self._missed % LEARN_EVERY == 0 and (fixed := fixed_bits(payload)) is not None:
                self._known[len(payload)] = fixed, int.from_bytes(payload, "little") & fixed
            self._missed += 1


def fixed_bits(payload: bytes) -> int | None:
    """The bits of a valid payload, as a little-endian number, that decide where its values stand and what types they
    have. None: it has kinds of values that are not looked at.
    """
    fixed, at, left = bytearray(b"\xff" * len(payload)), 0, 1
    while left:
        tag, here = payload[at], at
        left, at = left - 1, at + 1
        if tag < 0x80:
            fixed[here] = 0x80  # a number below 128 may be any other
        elif tag < 0x90:
            left += 2 * (tag & 0x0F)
        elif tag < 0xA0:
            left += tag & 0x0F
        elif tag < 0xC0:
            at = _free_text(payload, fixed, at, tag & 0x1F)
        elif tag == _STR8:
            at = _free_text(payload, fixed, at + 1, payload[at])
        elif tag == _BIN8:
            start, at = at + 1, at + 1 + payload[at]
            fixed[start:at] = bytes(at - start)
        elif tag in _NUMBERS:
            start, at = at, at + _NUMBERS[tag]
            fixed[start:at] = bytes(at - start)
        elif tag == _ARRAY16:
            left, at = left + int.from_bytes(payload[at : at + 2], "big"), at + 2
        elif tag < 0xE0 and tag not in _SINGLE:
            return None
    return int.from_bytes(fixed, "little")


def _free_text(payload: bytes, fixed: bytearray, start: int, size: int) -> int:
    """Free the bits of a text that make no difference; returns where it ends."""
    # ASCII characters may be any others. Where there are more bytes to a character, all of them stay fixed.
    stop = start + size
    if payload[start:stop].isascii():
        fixed[start:stop] = b"\x80" * size
    return stop
