"""Finds claims that contradict each other, as far as code can tell: the same words, but for one number or a "not"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import regex

from mrengine.selection import words_of
from mrengine.summaries.quotes import number_places, numbers_in

__all__ = ["content_words", "contradictions"]

_ALIKE = 0.75  # of the words of both
_LEAST = 2  # words that two claims share
_BUCKET = 200  # claims with one word in common that are still compared
_NEGATIONS = (
    "not no never without none neither nor cannot isn't wasn't doesn't didn't denies denied nicht kein keine keinen "
    "keiner ohne nie ne pas sans jamais aucun aucune sin nunca não nao sem non senza mai geen niet не нет без"
)
_NOT = frozenset(_NEGATIONS.split())
_NOT_UNSPACED = regex.compile(r"[不没沒無无非未否]|ない|なし|ません|ไม่")
_ARTICLES = "a an the of in on at to by for and or is was are were be been has have had it its this that with"
_SMALL = frozenset(_ARTICLES.split())
_OTHERS = (
    "as from but he she they we you i his her their there then than also all not no had do did does will would can may "
    "der die das den dem des ein eine einen einem einer und oder in im am an auf aus bei mit nach von vor zu zum zur "
    "für ist sind war waren wird wurde hat haben es er sie sich als auch nicht dass le la les un une des du de et ou "
    "en dans sur par pour avec est sont était a ont il elle ils ce se que qui au aux el los las una y o del al con por "
    "para es son fue ha han lo su que se i gli di e da che è sono era non per het een van en op met te dat o os as um "
    "uma e do da em no na и в на с по из не что он она они это был была"
)
_FUNCTION_WORDS = _SMALL | frozenset(_OTHERS.split())
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
class _Said:
    place: int
    words: frozenset[str]
    numbers: tuple[tuple[str, str, str], ...]
    negated: bool


def contradictions(texts: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of texts, by index, that say the same of something and not the same."""
    said = [_said(place, text) for place, text in enumerate(texts)]
    by_word: dict[str, list[_Said]] = defaultdict(list)
    for one in said:
        for word in one.words:
            by_word[word].append(one)
    groups = [[one.place for one in group] for group in by_word.values() if len(group) <= _BUCKET]
    pairs = {pair for group in groups for pair in combinations(group, 2)}
    return sorted((a, b) for a, b in pairs if _contradict(said[a], said[b]))


def content_words(text: str) -> set[str]:
    """The words of a text that name something: not "the", nor numbers, which are compared by themselves."""
    plain = _NUMBER.sub(" ", text)
    return {word for word in words_of(plain) if word not in _FUNCTION_WORDS and not numbers_in(word)}


def _said(place: int, text: str) -> _Said:
    numbers = number_places(text)
    plain = _NUMBER.sub(" ", text).lower()
    tokens = [word for word in words_of(_NOT_UNSPACED.sub("", plain)) if word not in _SMALL]
    words = frozenset(word for word in tokens if word not in _NOT and not numbers_in(word))
    negated = sum(word in _NOT for word in regex.findall(r"[\p{L}']+", plain)) + len(_NOT_UNSPACED.findall(plain))
    return _Said(place, words, tuple(numbers), negated % 2 == 1)


def _contradict(a: _Said, b: _Said) -> bool:
    shared = len(a.words & b.words)
    if shared < _LEAST or shared < _ALIKE * len(a.words | b.words):
        return False
    differ = [(x, y) for x, y in zip(a.numbers, b.numbers, strict=False) if x[0] != y[0]]
    if len(a.numbers) != len(b.numbers) or len(differ) > 1:
        return False  # where two differ, as a date and a value, they speak of two things
    if not differ:
        return a.negated != b.negated
    return (
        a.negated == b.negated
        and any(x.lower() == y.lower() for x, y in zip(differ[0][0][1:], differ[0][1][1:], strict=True))  # one place
        and not any(_names_a_thing(number, alone=len(a.numbers) == 1) for number in differ[0])
    )


def _names_a_thing(number: tuple[str, str, str], *, alone: bool) -> bool:
    """Whether this number tells one thing from another, and is no amount: "room 4", "Table 2", "3 May", "2021"."""
    form, before, behind = number
    date = (len(form) == 4 and form[:2] in ("19", "20")) or behind.lower()[:3] in _MONTHS
    if date:
        return not alone or before[:1].isupper()  # "In 2021 …"; but not "founded in 1987"
    return before.lower() in _LABELS or (before[:1].isupper() and before[1:].islower() and not behind)
