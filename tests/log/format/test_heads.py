"""Where titles and table headers stand, as CHUNKS records have it; what is malformed is a LogError."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.errors import LogError
from mrengine.log.format.heads import IN_MARKUP, Head, HeadPlaces, digest_of, pack_heads, read_heads, unpack_heads
from mrengine.log.format.packing import pack

SPOOL = b"<h1>The <b>ward</b></h1>\n| a | b |\nrow"
HEADS: Any = (("The ward",), "| a | b |")
PLACES = HeadPlaces(digest_of(HEADS), (Head(0, 19, IN_MARKUP),), (Head(25, 34),))


def read(start: int, stop: int) -> bytes:
    return SPOOL[start:stop]


def test_heads_are_read_from_the_text_and_held_against_their_digest() -> None:
    (places,) = unpack_heads(pack_heads([PLACES]))
    assert read_heads(places, read) == HEADS
    assert read_heads(places._replace(header=(Head(24, 34),)), read) is None
    assert read_heads(places, lambda start, stop: None) is None


@pytest.mark.parametrize(
    "malformed",
    [
        pytest.param([[10**12, [], []]], id="a number for a digest, of which bytes() makes as many zeros"),
        pytest.param([[b"short", [], []]], id="a digest too short"),
        pytest.param([[bytes(16), [[0, 1, 9]], []]], id="a form of another version"),
        pytest.param([[bytes(16), [[0, 1, -1]], []]], id="a form of none"),
        pytest.param([[bytes(16), [[0]], []]], id="a place without an end"),
        pytest.param([[bytes(16), []]], id="no header"),
        pytest.param(7, id="no list"),
    ],
)
def test_what_is_malformed_is_damage(malformed: Any) -> None:
    with pytest.raises(LogError) as caught:
        unpack_heads(pack(malformed))
    assert caught.value.reason == "damaged"
