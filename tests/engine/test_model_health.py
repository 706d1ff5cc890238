"""When "wrong key" is about the key."""

from __future__ import annotations

from mrengine.engine.model_health import Doubts


def test_a_model_that_never_answered_is_given_up() -> None:
    """At once, where nobody else can say more."""
    assert Doubts().refused(0, 7, others=False) == "model"
    assert Doubts().refused(0, 7, others=True) == "again"


def test_after_answers_one_refusal_is_a_mood() -> None:
    """Whoever is told so again and again, while others are answered, has a text that is refused."""
    doubts = Doubts()
    doubts.answered(0, 1)
    judged = []
    for other in range(10, 13):
        judged.append(doubts.refused(0, 7, others=True))
        doubts.answered(0, other)
    assert judged == ["again", "again", "chunk"]


def test_several_chunks_in_a_row_speak_for_all() -> None:
    """An answer in between begins a new row; another model is another matter."""
    doubts = Doubts()
    doubts.answered(0, 1)
    assert doubts.refused(0, 2, others=True) == "again"
    assert doubts.refused(0, 3, others=True) == "again"
    doubts.answered(0, 4)
    assert doubts.refused(0, 5, others=True) == "again"
    assert doubts.refused(0, 6, others=True) == "again"
    assert doubts.refused(1, 6, others=True) == "again"
    assert doubts.refused(0, 7, others=True) == "model"
