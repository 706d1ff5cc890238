"""Finds claims that contradict each other, as far as code can tell: the same words, but for one number or a "not"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import regex

from mrengine.selection import words_of
from mrengine.summaries.quotes import number_places, numbers_in
from mrengine.summaries.words import SMALL, is_negated, negations, stem, without_negations

__all__ = ["contradictions"]

_ALIKE = 0.75  # of the words of both that two claims share
_LEAST = 2  # words that two claims share
_KEPT = 4096  # claims whose parts are cached: each level of merges compares them again
_BUCKET = 200  # claims with a word in common that are compared pair by pair
_NAMED = (
    "no number nr room section patient case item part chapter page table figure fig step day week month year grade "
    "type version phase level building unit line article visit box bed group site study sample test question row "
    "column fact zimmer seite kapitel abschnitt fall tag woche nummer artikel chambre chapitre jour semaine numéro"
)
_LABELS = frozenset(_NAMED.split())
_FIRST_LETTERS = "jan feb mar apr may jun jul aug sep oct nov dec mär mai okt dez fév avr jui aoû déc ene abr ago dic"
_MONTHS = frozenset(_FIRST_LETTERS.split())
_NUMBER = regex.compile(r"\p{N}+(?:[.,]\p{N}+)*")


@dataclass(frozen=True, slots=True)
class _Statement:
    words: frozenset[str]
    numbers: tuple[tuple[str, str, str], ...]
    negated: bool


def contradictions(texts: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of texts, by index, that say different things of the same."""
    statements = [_statement(text) for text in texts]
    # Contradictory claims share most of their words, so only those with a word in common are compared.
    by_word: dict[str, list[int]] = defaultdict(list)
    for place, statement in enumerate(statements):
        for word in statement.words:
            by_word[word].append(place)
    groups = [small for group in by_word.values() for small in _compared(group, statements)]
    pairs = {pair for group in groups for pair in combinations(group, 2)}
    return sorted((a, b) for a, b in pairs if _contradict(statements[a], statements[b]))


def _compared(group: list[int], statements: Sequence[_Statement]) -> list[list[int]]:
    """A group of claims with a word in common, in groups small enough to be compared pair by pair.

    A long list of similar entries makes a large one. Of that only those that have all numbers but one in common need
    be compared: others do not contradict each other.
    """
    if len(group) <= _BUCKET:
        return [group]
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place in group:
        forms: tuple[str | None, ...] = tuple(number[0] for number in statements[place].numbers)
        for at in range(len(forms)):
            others = (at, *forms[:at], None, *forms[at + 1 :])
            alike[others].append(place)
        alike[forms].append(place)
    return [small for small in alike.values() if 1 < len(small) <= _BUCKET]


@lru_cache(maxsize=_KEPT)
def _statement(text: str) -> _Statement:
    numbers = number_places(text)
    plain = _NUMBER.sub(" ", text).lower()
    tokens = [word for word in words_of(without_negations(plain)) if word not in SMALL]
    words = frozenset(stem(word) for word in tokens if not is_negated(word) and not numbers_in(word))
    return _Statement(words, tuple(numbers), negations(plain) % 2 == 1)  # "not without" says yes


def _contradict(a: _Statement, b: _Statement) -> bool:
    shared = len(a.words & b.words)
    if shared < _LEAST or shared < _ALIKE * len(a.words | b.words):
        return False
    differ = [(x, y) for x, y in zip(a.numbers, b.numbers, strict=False) if x[0] != y[0]]
    if len(a.numbers) != len(b.numbers) or len(differ) > 1:
        return False  # if two differ, as a date and a value, they are about two things
    if not differ:
        return a.negated != b.negated
    return (
        a.negated == b.negated
        and any(x.lower() == y.lower() for x, y in zip(differ[0][0][1:], differ[0][1][1:], strict=True))  # one place
        and not any(_names_a_thing(number, alone=len(a.numbers) == 1) for number in differ[0])
    )


def _names_a_thing(number: tuple[str, str, str], *, alone: bool) -> bool:
    """Whether a number identifies a thing instead of counting: "room 4", "Table 2", "3 May", "2021"."""
    form, before, behind = number
    date = (len(form) == 4 and form[:2] in ("19", "20")) or behind.lower()[:3] in _MONTHS
    if date:
        return not alone or before[:1].isupper()  # "In 2021 …"; but not "founded in 1987"
    return before.lower() in _LABELS or (before[:1].isupper() and before[1:].islower() and not behind)
