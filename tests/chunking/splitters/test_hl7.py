"""HL7 version 2: messages, groups and segments stay whole."""

from __future__ import annotations

import random

import pytest

from bench.chunking_wild_records import hl7_even
from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import detect
from tests.chunking.records import assert_cut_well, assert_same_in_pieces, assert_survives

_MESSAGE = "MSH|^~\\&|A|B|C|D|2024||ADT^A01|1|P|2.5{0}EVN|A01|2024{0}PID|1||7^^^H||Doe^Jane{0}PV1|1|I{0}"


def test_segments_stay_whole() -> None:
    """Groups, too."""
    assert_cut_well("hl7", "hl7")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_lines_may_end_in_any_way(end: str) -> None:
    """A message that fits is not torn."""
    text = _MESSAGE.format(end) * 60
    assert detect(text) == "hl7"
    chunks = list(safe_chunk(text, target_tokens=200, overlap_tokens=0))
    assert all(chunk.text.startswith("MSH|") for chunk in chunks)


def test_of_messages_that_are_a_third_of_a_chunk_most_stay_whole() -> None:
    """What a group inside one would cost is saved for the next message."""
    torn, fills = [], []
    for seed in range(8):
        chunks = list(safe_chunk(hl7_even(random.Random(seed), 24_000).text, target_tokens=512, overlap_tokens=0))
        torn += [not chunk.text.startswith("MSH|") for chunk in chunks[1:]]
        fills += [chunk.tokens / 512 for chunk in chunks[:-1]]
    assert sum(torn) < 0.35 * len(torn)
    assert sum(fills) >= 0.8 * len(fills)


def test_any_pieces_and_hostile_texts() -> None:
    """The promises hold."""
    assert_same_in_pieces("hl7")
    for text in ("MSH|^~\\&\r" * 300, "OBX|1|TX|" + "AAAA" * 2000, "|" * 3000, "\r" * 3000, "OBX|\n" * 600):
        assert_survives(text, "hl7")
