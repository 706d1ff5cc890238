"""Holds a statement against its evidence, by rules that code can follow: numbers, units, names, "not", opposites.

Nothing here understands a text. What passes may still be wrong. What fails contains something that its evidence lacks,
or says of one thing what its evidence says of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

import regex

from mrengine.summaries.contradictions import contradictions
from mrengine.summaries.markers import renumbered
from mrengine.summaries.names import Vocabulary, has_name, has_nouns, names_in, plain_words
from mrengine.summaries.quotes import number_places, numbers_in
from mrengine.summaries.summary import Claim
from mrengine.summaries.words import content_words, negations, opposed, stems

__all__ = ["differs_from_quote", "stands"]

_OF_WORDS = 5  # of so many words of a sentence, one must be in its evidence; a paraphrase has other words
_CLAUSE = regex.compile(r"\s*(?:[,;:，；、]|\b(?:and|while|whereas|but|und|während|aber|et|mais|y|pero|e|ma)\b)\s*")
_SPELLINGS = (
    "mg milligram milligramm,g gram gramm,kg kilogram kilogramm kilo,µg μg mcg microgram,ng,ml milliliter,dl,l liter "
    "litre,mm,cm,m meter metre,km kilometer kilometre,mile,second sec sekunde seconde,min minute,h hour hr stunde "
    "heure hora,day tag jour día giorno tage jours,week woche semaine semana wochen,month monat mois mes monate,year "
    "jahr an año anno jahre ans,percent prozent,thousand tausend,million millionen mio,billion milliarde milliarden "
    "mrd,dollar usd,euro eur,pound gbp,yen,yuan rmb"
)
# Each form of a unit to the first of its group: "milligram" and "mg" are one.
_UNITS = {form: forms.split()[0] for forms in _SPELLINGS.split(",") for form in forms.split()}
_HAN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_ALIKE = 0.7  # of the characters of two statements that differ in a name alone
_SAME = 0.6  # of the words that a statement shares with its quote, where only one of them says "not"
_LEAST_SAME = 3  # words of a statement, more than which it must have to differ from its quote in one alone
_BEFORE_THINGS = "of in on at to by for from with into of von mit bei in aus nach für de du des en à con por para di da"
_PREPOSITIONS = frozenset(_BEFORE_THINGS.split())
_TOKEN = regex.compile(r"[\p{L}\p{N}]+")
_LONGEST_NAME = 4  # characters, in such a script


def stands(sentence: str, claims: Sequence[Claim], others: Sequence[Claim], words: Vocabulary) -> bool:
    """Whether a sentence can rest on these claims. ``others``: all claims; ``words``: their vocabulary.

    They must have its numbers (in its units), its names and some of its words; no number may stand with another name
    than in them; and none may say the same with another number or without its "not", unless another claim agrees.
    """
    bare = renumbered(sentence, {})
    evidence = " \n".join(f"{claim.text} \n{claim.quote}" for claim in claims)
    if not numbers_in(bare) <= numbers_in(evidence) or _other_unit(bare, evidence) or opposed(bare, evidence):
        return False
    own = stems(bare)
    if len(own & stems(evidence)) < min(len(own) // _OF_WORDS + 1, len(own)):
        return False
    if not _has_names(bare, claims, words) or _moves_number(bare, claims, words):
        return False
    if (
        _swaps_names(bare, claims, words)
        or _borrows_characters(bare, claims, others)
        or _borrows_word(bare, claims, others)
    ):
        return False
    against = [claim for claim in claims if contradictions([bare, claim.text])]
    return not against or any(numbers_in(bare) <= numbers_in(one.text) for one in claims if one not in against)


def differs_from_quote(text: str, quote: str, whole: str) -> bool:
    """Whether a model's statement says something that its quote does not.

    ``whole``: the text around the quote; a name from it may stand for the "she" of a quote without a name.
    """
    if not numbers_in(text) <= numbers_in(quote) or _other_unit(text, quote) or opposed(text, quote):
        return True
    if negations(text) % 2 != negations(quote) % 2 and len(stems(text) & stems(quote)) > _SAME * len(stems(text)):
        return True
    lost, gone = stems(text) - stems(quote), stems(quote) - stems(text)
    if len(lost) == len(gone) == 1 and len(stems(text)) > _LEAST_SAME:
        return True  # one word replaces another: a synonym, or another thing, which code cannot tell apart
    around, here, nouns = plain_words(whole), plain_words(quote), has_nouns(whole)
    names = names_in(text, nouns=nouns)
    if not all(has_name(around, name) for name in names):
        return True
    missing = [name for name in (*names, *_first_alone(text, quote)) if not has_name(here, name)]
    own, others = plain_words(text), (*names_in(quote, nouns=nouns), *_first_alone(quote, text))
    return bool(missing) and any(not has_name(own, name) for name in others)


def _first_alone(text: str, other: str) -> list[str]:
    """The first word of a text, if the other text has all its other words: "Anna" of two that differ in it alone."""
    rest = content_words(text) - content_words(other)
    return [word for word in Vocabulary.of([text]).first if rest and rest <= plain_words(word)]


def _other_unit(text: str, evidence: str) -> bool:
    """Whether a number has a unit with which the evidence never has that number."""
    units_of: dict[str, set[str]] = {}
    for number, _, behind in number_places(evidence):
        units_of.setdefault(number, set()).add(_unit(behind))
    return any(
        (unit := _unit(behind))
        and unit not in (units := units_of.get(number, set()))
        and units - {""}
        and "" not in units
        for number, _, behind in number_places(text)
    )


def _unit(word: str) -> str:
    lower = word if word in ("M", "G") else word.lower()  # million, billion; not metre and gram
    return _UNITS.get(lower) or _UNITS.get(lower.removesuffix("s"), "")


def _has_names(bare: str, claims: Sequence[Claim], words: Vocabulary) -> bool:
    """Whether the claims have the names of a sentence.

    Its first word has a capital anyway. It is taken for a name only if it alone makes the sentence differ from a claim
    and replaces that claim's first word.
    """
    evidence = " \n".join(f"{claim.text} \n{claim.quote}" for claim in claims)
    theirs, own = plain_words(evidence), plain_words(bare)
    if not all(has_name(theirs, name) for name in words.certain(bare)):
        return False
    lost = [one for one in _first_alone(bare, evidence) if not has_name(theirs, one)]
    return not lost or all(has_name(own, word) for claim in claims for word in Vocabulary.of([claim.text]).first)


def _swaps_names(bare: str, claims: Sequence[Claim], words: Vocabulary) -> bool:
    """Whether a sentence has the words of a claim with its names exchanged: who did it, and to whom."""
    tokens, names = sorted(_TOKEN.findall(bare.casefold())), words.likely(bare)
    for claim in claims:
        if len(names) > 1 and sorted(_TOKEN.findall(claim.text.casefold())) == tokens:
            order = words.likely(claim.text)
            moved = [name for name, other in zip(names, order, strict=False) if name != other]
            if moved and sorted(order) == sorted(names) and not _is_list(bare, moved):
                return True
    return False


def _is_list(bare: str, names: Sequence[str]) -> bool:
    """Whether only commas and an "and" stand between the names: the order of a list says nothing."""
    between = regex.escape(names[0]) + "(.*)" + regex.escape(names[-1])
    match = regex.search(between, bare.casefold())
    return match is not None and set(_TOKEN.findall(match[1])) <= {*names, "and", "or", "und", "et", "y", "e", "и"}


def _moves_number(bare: str, claims: Sequence[Claim], words: Vocabulary) -> bool:
    """Whether a number stands with a name, while all claims with this number are about others.

    Only if each part of the sentence has names and numbers: "Anna and Berta took 20 and 30" can be read in two ways.
    """
    parts = [(set(words.likely(part)), numbers_in(part)) for part in _CLAUSE.split(bare)]
    parts = [part for part in parts if part[0] or part[1]]
    if not parts or not all(names and numbers for names, numbers in parts):
        return False
    about = []
    for one in claims:
        whole = f"{one.text}\n{one.quote}"
        about.append((numbers_in(whole), plain_words(whole), words.likely(whole)))
    for names, numbers in parts:
        for number in numbers:
            having = [(theirs, own) for named, theirs, own in about if number in named]
            if having and all(own and not any(has_name(theirs, name) for name in names) for theirs, own in having):
                return True
    return False


def _borrows_word(bare: str, claims: Sequence[Claim], others: Sequence[Claim]) -> bool:
    """Whether a sentence is one of its claims but for a word behind a preposition, where another claim has that word:
    the drug of another patient.
    """
    tokens = _TOKEN.findall(bare.casefold())
    if not _PREPOSITIONS & set(tokens):
        return False
    own = {word for claim in claims for word in _TOKEN.findall(f"{claim.text} {claim.quote}".casefold())}
    foreign = {pair for one in others if one not in claims for pair in pairwise(_TOKEN.findall(one.text.casefold()))}
    for claim in claims if foreign else ():
        matcher = SequenceMatcher(None, _TOKEN.findall(claim.text.casefold()), tokens, autojunk=False)
        if matcher.ratio() < _ALIKE:
            continue
        for kind, first, last, start, end in matcher.get_opcodes():
            if kind == "replace" and last - first == end - start == 1 and start > 0:
                before, word = tokens[start - 1 : end]
                if before in _PREPOSITIONS and word not in own and (before, word) in foreign:
                    return True
    return False


def _borrows_characters(bare: str, claims: Sequence[Claim], others: Sequence[Claim]) -> bool:
    """In Chinese and Japanese, which have no capitals: whether a sentence is one of its claims, but for characters
    of another claim.
    """
    if not _HAN.search(bare):
        return False
    evidence = "".join(claim.text + claim.quote for claim in claims)
    foreign = [one.text for one in others if one not in claims]
    text = bare.strip(" 。.")
    for claim in claims:
        matcher = SequenceMatcher(None, claim.text.strip(" 。."), text, autojunk=False)
        if matcher.ratio() < _ALIKE:
            continue
        for kind, _, _, start, end in matcher.get_opcodes():
            run = text[start:end]
            if kind == "replace" and len(run) <= _LONGEST_NAME and _HAN.match(run) and run not in evidence:
                # A single character is in too many texts to say anything; its neighbours make it a word.
                wider = text[max(0, start - 1) : end + 1] if len(run) == 1 else run
                if any(wider in one for one in foreign):
                    return True
    return False
