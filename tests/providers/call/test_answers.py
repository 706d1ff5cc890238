"""An answer in the making: pieces with their places."""

from __future__ import annotations

from dataclasses import replace

from mrengine.providers.call.answers import MAX_REPEAT, ShownAnswer
from mrengine.records import Request

REQUEST = Request("m", "tell me")


def shown() -> tuple[ShownAnswer, list[tuple[int, str]]]:
    told: list[tuple[int, str]] = []
    return ShownAnswer(lambda at, text: told.append((at, text))), told


def test_pieces_follow_one_another_and_a_second_try_begins_anew() -> None:
    """An empty piece is none."""
    answer, told = shown()
    for _ in range(2):
        answer.begin(REQUEST)
        for piece in ("one ", "", "two"):
            answer(piece)
    assert told == [(0, "one "), (4, "two")] * 2


def test_a_continuation_begins_where_the_first_part_ended_without_what_it_repeats() -> None:
    """Models say their last words again; a reader sees them once."""
    before = "It rained all day, and in the evening the river rose above the bridge of the town"
    going_on = " and took the mill along with it." + " On it went." * (MAX_REPEAT // 10)
    answer, told = shown()
    answer.begin(replace(REQUEST, turns=(("assistant", before), ("user", _continue()))))
    repeated = before[-60:] + going_on
    for at in range(0, len(repeated), 7):
        answer(repeated[at : at + 7])
    assert told[0][0] == len(before)
    text = before
    for at, piece in told:
        assert at == len(text)
        text += piece
    assert text == before + going_on


def _continue() -> str:
    from mrengine.providers.call import answers

    return answers._CONTINUE
