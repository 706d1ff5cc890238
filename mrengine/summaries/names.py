"""Finds names by their capitals, in scripts that have capitals and languages that reserve them for names."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import regex

from mrengine.summaries.sentence_spans import sentences
from mrengine.summaries.words import FUNCTION_WORDS

__all__ = ["Vocabulary", "has_name", "has_nouns", "names_in", "plain_words"]

_TOKEN = regex.compile(r"\p{L}[\p{L}\p{M}\p{N}]*(?:['’.&-]?\p{L}[\p{L}\p{M}\p{N}]*|-\p{N}+)*")
_OPENS = regex.compile(r"[:\"“„«(\[•–—*|]\s*$")  # behind these a capital may only mean a beginning
_POSSESSIVE = regex.compile(r"['’]s?$")
_ACRONYM = regex.compile(r".*\p{Lu}.*\p{Lu}|\p{Lu}+-?\p{N}")
_SPACED = regex.compile(r"[\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}]")
_TITLED = regex.compile(r"\b(?:Frau|Herrn?|Dr\.|Prof\.|Familie)\s+(?:Dr\.\s+)?(\p{Lu}\p{L}+)")
_ARTICLES = "der die das dem den des und ist ein eine einen einem einer im am zum zur mit nicht wurde auf für bei von"
_GERMAN = frozenset(_ARTICLES.split())  # the language whose nouns have capitals, too
_OF_GERMAN = 0.08  # of the words of a text: more of the above, and it is German
_ADDRESSES = "mr mrs ms miss dr prof sir madam frau herr herrn familie mme mlle sr sra i"
_TITLES = frozenset(_ADDRESSES.split())
_LEAST_TITLE = 3  # words of more letters than that, all with a capital, make a title of a line
_LEAST_STEM = 4


def plain_words(text: str) -> set[str]:
    """All words of a text in the form in which names are compared: without case and possessive, compounds and their
    parts.
    """
    words: set[str] = set()
    for token in _TOKEN.findall(text):
        whole = _plain(token)
        words |= {whole, *regex.split(r"['’.&-]", whole)}
    return words - {""}


def has_nouns(text: str) -> bool:
    """Whether a text is in a language whose nouns have capitals."""
    tokens = [token.lower() for token in _TOKEN.findall(text)]
    return sum(token in _GERMAN for token in tokens) > _OF_GERMAN * len(tokens)


def names_in(text: str, known: Collection[str] = (), *, nouns: bool) -> list[str]:
    """The names of a text, in order. A sentence's first word is one if it is ``known`` or has more than one capital.
    ``nouns``: nouns have capitals, too.
    """
    names: list[str] = []
    for start, end in sentences(text):
        sentence = text[start:end]
        tokens = list(_TOKEN.finditer(sentence))
        title = _is_title([token[0] for token in tokens])
        for place, token in enumerate(tokens):
            name = _plain(token[0])
            if name in FUNCTION_WORDS or name in _TITLES or not token[0][0].isupper():
                continue
            begins = place == 0 or _OPENS.search(sentence, 0, token.start()) is not None
            certain = _ACRONYM.match(token[0]) is not None if begins or nouns else True
            if (certain and not title) or name in known:  # in a title all words have capitals
                names.append(name)
        names += [_plain(name) for name in _TITLED.findall(sentence)]
    return list(dict.fromkeys(names))


def _is_title(tokens: list[str]) -> bool:
    longer = [token for token in tokens if len(token) > _LEAST_TITLE]
    return len(longer) >= _LEAST_TITLE and all(token[0].isupper() for token in longer)


def _plain(token: str) -> str:
    return _POSSESSIVE.sub("", token).casefold()


def has_name(words: Collection[str], name: str) -> bool:
    """Whether these words contain the name or another form of it: "Germany" and "German", "Анна" and "Анну"."""
    if name in words:
        return True
    # Names decline: in Russian or Greek by up to two letters at the end, in Latin scripts by adding some.
    stem = name[: max(3, len(name) - 2)] if not name.isascii() and not _latin(name) else ""
    return any(
        (stem and word.startswith(stem))
        or (min(len(word), len(name)) >= _LEAST_STEM and abs(len(word) - len(name)) <= 3 and _begins(word, name))
        for word in words
    )


def _latin(name: str) -> bool:
    return regex.match(r"\p{Latin}", name) is not None


def _begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names in all claims. ``nouns``: nouns have capitals, too; ``names``: words with a capital within a sentence;
    ``first``: words that begin a sentence and never stand without a capital, so that they may be names as well.
    """

    nouns: bool = False
    names: frozenset[str] = field(default=frozenset(), repr=False)
    first: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """The vocabulary of claims, from their texts and quotes."""
        texts = list(texts)
        nouns = has_nouns(" ".join(texts))
        names: set[str] = set()
        first: set[str] = set()
        lower: set[str] = set()
        for text in texts:
            names.update(names_in(text, nouns=nouns))
            lower.update(_plain(token) for token in _TOKEN.findall(text) if token[0].islower())
            for start, end in sentences(text):
                match = _TOKEN.search(text, start, end)
                if match and _SPACED.match(match[0]) and match[0][0].isupper():
                    first.add(_plain(match[0]))
        return cls(nouns, frozenset(names), frozenset(first - lower - FUNCTION_WORDS - _TITLES))

    def certain(self, text: str) -> list[str]:
        """The names of a text, including first words that are names in other texts."""
        return names_in(text, self.names, nouns=self.nouns or has_nouns(text))

    def likely(self, text: str) -> list[str]:
        """The names of a text, including first words that may be names."""
        nouns = self.nouns or has_nouns(text)
        return names_in(text, self.names if nouns else self.names | self.first, nouns=nouns)
