"""Holds a statement against what it rests on, by rules that code can follow: numbers, units, names, "not", opposites.

Nothing here understands a text. What passes may still be wrong; what does not pass has something that its evidence
lacks, or says of one what its evidence says of another.
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
from mrengine.summaries.values import Claim
from mrengine.summaries.words import content_words, negations, opposed, stems

__all__ = ["differs_from_quote", "stands"]

_OF_WORDS = 5  # of so many words of a sentence, one is in its evidence: a paraphrase has others
_CLAUSE = regex.compile(r"\s*(?:[,;:，；、]|\b(?:and|while|whereas|but|und|während|aber|et|mais|y|pero|e|ma)\b)\s*")
_SPELLINGS = (
    "mg milligram milligramm,g gram gramm,kg kilogram kilogramm kilo,µg μg mcg microgram,ng,ml milliliter,dl,l liter "
    "litre,mm,cm,m meter metre,km kilometer kilometre,mile,second sec sekunde seconde,min minute,h hour hr stunde "
    "heure hora,day tag jour día giorno tage jours,week woche semaine semana wochen,month monat mois mes monate,year "
    "jahr an año anno jahre ans,percent prozent,thousand tausend,million millionen mio,billion milliarde milliarden "
    "mrd,dollar usd,euro eur,pound gbp,yen,yuan rmb"
)
_UNITS = {form: forms.split()[0] for forms in _SPELLINGS.split(",") for form in forms.split()}
_HAN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_ALIKE = 0.7  # of the characters of two statements of which one has another name than the other
_SAME = 0.6  # of the words of a statement that says "not" where its quote does not, or the other way round
_LEAST_SAME = 3  # words of a statement that differs from its quote in one
_BEFORE_THINGS = "of in on at to by for from with into of von mit bei in aus nach für de du des en à con por para di da"
_PREPOSITIONS = frozenset(_BEFORE_THINGS.split())
_TOKEN = regex.compile(r"[\p{L}\p{N}]+")
_LONGEST_NAME = 4  # characters, in such a script


def stands(sentence: str, claims: Sequence[Claim], others: Sequence[Claim], words: Vocabulary) -> bool:
    """Whether the claims can say this sentence. ``others``: all claims; ``words``: what these tell of words.

    They have its numbers (in its units), its names and some of its words; no number is said of another name than in
    them; and none of them says the same with another number or without its "not", unless another one says it as it is.
    """
    bare = renumbered(sentence, {})
    evidence = " \n".join(f"{claim.text} \n{claim.quote}" for claim in claims)
    if not numbers_in(bare) <= numbers_in(evidence) or _other_unit(bare, evidence) or opposed(bare, evidence):
        return False
    said = stems(bare)
    if len(said & stems(evidence)) < min(len(said) // _OF_WORDS + 1, len(said)):
        return False
    if not _has_names(bare, claims, words) or _is_of_another(bare, claims, words):
        return False
    if _is_turned(bare, claims, words) or _is_swapped(bare, claims, others) or _is_exchanged(bare, claims, others):
        return False
    against = [claim for claim in claims if contradictions([bare, claim.text])]
    return not against or any(numbers_in(bare) <= numbers_in(one.text) for one in claims if one not in against)


def differs_from_quote(text: str, quote: str, whole: str) -> bool:
    """Whether a model's statement says something that its quote does not say: then the quote is what is said.

    ``whole``: the text that the quote is from; a name of it may stand for the "she" of a quote that has no name.
    """
    if not numbers_in(text) <= numbers_in(quote) or _other_unit(text, quote) or opposed(text, quote):
        return True
    if negations(text) % 2 != negations(quote) % 2 and len(stems(text) & stems(quote)) > _SAME * len(stems(text)):
        return True
    lost, gone = stems(text) - stems(quote), stems(quote) - stems(text)
    if len(lost) == len(gone) == 1 and len(stems(text)) > _LEAST_SAME:
        return True  # one word stands for another one: a synonym, or another thing
    known, here, nouns = plain_words(whole), plain_words(quote), has_nouns(whole)
    names = names_in(text, nouns=nouns)
    if not all(has_name(known, name) for name in names):
        return True
    missing = [name for name in (*names, *_first_alone(text, quote)) if not has_name(here, name)]
    own, others = plain_words(text), (*names_in(quote, nouns=nouns), *_first_alone(quote, text))
    return bool(missing) and any(not has_name(own, name) for name in others)


def _first_alone(text: str, other: str) -> list[str]:
    """The first word, where nothing else is not in the other text: "Anna" of two that differ in it alone."""
    rest = content_words(text) - content_words(other)
    return [word for word in Vocabulary.of([text]).first if rest and rest <= plain_words(word)]


def _other_unit(text: str, evidence: str) -> bool:
    """Whether a number has a unit that it has nowhere in the evidence, where it has another."""
    known: dict[str, set[str]] = {}
    for number, _, behind in number_places(evidence):
        known.setdefault(number, set()).add(_unit(behind))
    return any(
        (unit := _unit(behind)) and unit not in (units := known.get(number, set())) and units - {""} and "" not in units
        for number, _, behind in number_places(text)
    )


def _unit(word: str) -> str:
    lower = word if word in ("M", "G") else word.lower()
    return _UNITS.get(lower) or _UNITS.get(lower.removesuffix("s"), "")


def _has_names(bare: str, claims: Sequence[Claim], words: Vocabulary) -> bool:
    """Whether the claims have the sentence's names; of its first word nobody knows whether it is one, unless it alone
    makes the sentence differ, and stands for the first word of a claim.
    """
    evidence = " \n".join(f"{claim.text} \n{claim.quote}" for claim in claims)
    known, own = plain_words(evidence), plain_words(bare)
    if not all(has_name(known, name) for name in words.certain(bare)):
        return False
    lost = [one for one in _first_alone(bare, evidence) if not has_name(known, one)]
    return not lost or all(has_name(own, word) for claim in claims for word in Vocabulary.of([claim.text]).first)


def _is_turned(bare: str, claims: Sequence[Claim], words: Vocabulary) -> bool:
    """Whether a sentence has the words of a claim, and its names in another order: who did it, and to whom."""
    said, names = sorted(_TOKEN.findall(bare.casefold())), words.likely(bare)
    for claim in claims:
        if len(names) > 1 and sorted(_TOKEN.findall(claim.text.casefold())) == said:
            order = words.likely(claim.text)
            moved = [name for name, other in zip(names, order, strict=False) if name != other]
            if moved and sorted(order) == sorted(names) and not _is_list(bare, moved):
                return True
    return False


def _is_list(bare: str, names: Sequence[str]) -> bool:
    """Whether nothing but commas and an "and" stands between the names."""
    between = regex.escape(names[0]) + "(.*)" + regex.escape(names[-1])
    found = regex.search(between, bare.casefold())
    return found is not None and set(_TOKEN.findall(found[1])) <= {*names, "and", "or", "und", "et", "y", "e", "и"}


def _is_of_another(bare: str, claims: Sequence[Claim], words: Vocabulary) -> bool:
    """Whether a number is said of a name, and all claims that have it are about others.

    Only where each part of the sentence has names and numbers: of "Anna and Berta took 20 and 30" nobody can tell.
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
            having = [(known, own) for named, known, own in about if number in named]
            if having and all(own and not any(has_name(known, name) for name in names) for known, own in having):
                return True
    return False


def _is_exchanged(bare: str, claims: Sequence[Claim], others: Sequence[Claim]) -> bool:
    """Whether a sentence is one of its claims, but for a word behind a preposition, which another claim has there."""
    said = _TOKEN.findall(bare.casefold())
    known = {word for claim in claims for word in _TOKEN.findall(f"{claim.text} {claim.quote}".casefold())}
    foreign = (
        {pair for one in others if one not in claims for pair in pairwise(_TOKEN.findall(one.text.casefold()))}
        if _PREPOSITIONS & set(said)
        else set()
    )
    for claim in claims if foreign else ():
        words = _TOKEN.findall(claim.text.casefold())
        matcher = SequenceMatcher(None, words, said, autojunk=False)
        if matcher.ratio() < _ALIKE:
            continue
        for kind, first, last, start, end in matcher.get_opcodes():
            if (
                kind == "replace"
                and last - first == end - start == 1
                and start > 0
                and said[start - 1] in _PREPOSITIONS
            ):
                word = said[start]
                if word not in known and (said[start - 1], word) in foreign:
                    return True
    return False


def _is_swapped(bare: str, claims: Sequence[Claim], others: Sequence[Claim]) -> bool:
    """Of scripts without capitals: whether a sentence is one of its claims, but for characters of another one."""
    if not _HAN.search(bare):
        return False
    evidence = "".join(claim.text + claim.quote for claim in claims)
    foreign = [one.text for one in others if one not in claims]
    for claim in claims:
        said = bare.strip(" 。.")
        matcher = SequenceMatcher(None, claim.text.strip(" 。."), said, autojunk=False)
        if matcher.ratio() < _ALIKE:
            continue
        for kind, _, _, start, end in matcher.get_opcodes():
            run = said[start:end]
            if kind == "replace" and len(run) <= _LONGEST_NAME and _HAN.match(run) and run not in evidence:
                wider = said[max(0, start - 1) : end + 1] if len(run) == 1 else run
                if any(wider in one for one in foreign):
                    return True
    return False
