"""Records that no kind knows, told by blank lines and margins: changelogs, questions, tables, calendars."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import detect

_WORDS = ["river", "patient", "letter", "garden", "measure", "supplier", "notice", "treatment", "account", "window"]


def _say(chance: random.Random, least: int, most: int) -> str:
    return " ".join(chance.choices(_WORDS, k=chance.randint(least, most)))


def _changelog(chance: random.Random, number: int) -> str:
    points = "".join(f"  * {_say(chance, 4, 9)}\n    {_say(chance, 3, 6)}.\n" for _ in range(chance.randint(1, 4)))
    return (
        f"tool (1.{number}-1) unstable; urgency=medium\n\n{points}\n -- Jo Doe <jo@example.org>  Mon, 05 Jan 2026\n\n"
    )


def _question(chance: random.Random, number: int) -> str:
    return f"Q: {_say(chance, 5, 12)}?\nA: {_say(chance, 5, 25)}.\n\n"


def _printed_table(chance: random.Random, number: int) -> str:
    rows = "".join(
        f" {row:2d} | {_say(chance, 1, 1):14} | {_say(chance, 2, 6)}\n" for row in range(chance.randint(3, 8))
    )
    return f" id | name           | note\n----+----------------+------\n{rows}(3 rows)\n\n"


def _event(chance: random.Random, number: int) -> str:
    return (
        f"BEGIN:VEVENT\nUID:{number}@x\nSUMMARY:{_say(chance, 2, 6)}\nDESCRIPTION:{_say(chance, 5, 20)}\nEND:VEVENT\n"
    )


def _caption(chance: random.Random, number: int) -> str:
    times = f"0:{number // 60:02d}:{number % 60:02d}.000,0:{number // 60:02d}:{number % 60:02d}.900"
    return f"{times}\n{_say(chance, 3, 8)}\n{_say(chance, 3, 8)}\n\n"


@pytest.mark.parametrize("target", [512, 1000])
@pytest.mark.parametrize("record", [_changelog, _question, _printed_table, _event, _caption])
def test_no_record_is_torn_that_is_small(record: Callable[[random.Random, int], str], target: int) -> None:
    chance = random.Random(5)
    records = [record(chance, number) for number in range(150)]
    begins = {0}
    for one in records:
        begins.add(max(begins) + len(one))
    chunks = list(safe_chunk("".join(records), target_tokens=target, overlap_tokens=0))
    torn = [chunk.start for chunk in chunks if chunk.start not in begins]
    assert len(torn) <= 0.05 * len(chunks)
    assert sum(chunk.tokens for chunk in chunks[:-1]) > 0.78 * target * (len(chunks) - 1)


def test_an_overlap_begins_with_a_whole_record() -> None:
    chance = random.Random(6)
    text = "".join(_changelog(chance, number) for number in range(200))
    chunks = list(safe_chunk(text, target_tokens=2000, overlap_tokens=350))
    begins = {match.start() for match in re.finditer("^tool ", text, re.MULTILINE)}
    assert {chunk.start - chunk.overlap for chunk in chunks} <= begins


def test_tables_of_toml_are_no_json() -> None:
    text = "".join(f'[[package]]\nname = "a{number}"\nversion = "{number}.0"\n\n' for number in range(40))
    assert detect(text) == "code"
    assert detect("[[1, 2], [3, 4]]\n") == detect("[[true], [null]]\n") == detect('[["a"]]') == "json"
