"""The markers of claims in a summary: ``[1]``, ``[2, 3]``. Variants are understood; unknown numbers are removed."""

from __future__ import annotations

from collections.abc import Mapping

import regex

from mrengine.summaries.sentence_spans import sentences

__all__ = ["cited_in", "each_sentence", "renumbered", "without_brackets"]

_NUMBERS = r"\d{1,9}(?:\s*(?:,|;|、|，|-|–|and|und|et|y|&)\s*(?:\#|claims?\s+)?\d{1,9})*"
_MARK = regex.compile(rf"[\[【［]\s*(?:\^|\#|(?:claims?|evidence|sources?)[\s:\#]*)?({_NUMBERS})\s*[\]】］]", regex.I)
_RUN = regex.compile(rf"(\s*)({_MARK.pattern}(?:\s*[,;]?\s*{_MARK.pattern})*)", regex.I)
_PART = regex.compile(r"(\d+)(?:\s*[-–]\s*(\d+))?")
_WIDEST = 50  # claims of a range "[3-9]"; a longer one is taken for its two ends
_MINE = regex.compile(r"\[(\d+(?:, \d+)*)\]")  # as renumbered() writes them


def cited_in(text: str) -> list[int]:
    """The numbers that a text names, each once, in order of appearance."""
    return list(dict.fromkeys(number for mark in _MARK.finditer(text) for number in _numbers(mark[1])))


def renumbered(text: str, numbers: Mapping[int, int]) -> str:
    """The text with each mark as ``[1]`` or ``[2, 3]``, by new numbers. Numbers without a new one are removed: the
    model invented them.
    """

    def mark(run: regex.Match[str]) -> str:
        new = [numbers.get(number) for one in _MARK.finditer(run[2]) for number in _numbers(one[1])]
        kept = sorted({number for number in new if number is not None})
        return f"{run[1]}[{', '.join(map(str, kept))}]" if kept else ""

    return _RUN.sub(mark, text)


def each_sentence(text: str) -> list[tuple[str, list[int]]]:
    """The sentences of a renumbered text, without headings, each with the numbers that it names."""
    cited = []
    for start, end in sentences(text):
        sentence = text[start:end].strip()
        if _says_something(sentence):
            named = [int(one) for mark in _MINE.finditer(sentence) for one in mark[1].split(", ")]
            cited.append((sentence, named))
    return cited


def without_brackets(text: str) -> str:
    """A text with round brackets where it looks like a mark, so that a model cannot take it for a claim's number."""
    return _MARK.sub(lambda mark: f"({mark[1]})", text)


def _says_something(sentence: str) -> bool:
    bare = _MINE.sub("", sentence).strip()
    return not bare.startswith("#") and not bare.endswith((":", "：")) and any(char.isalnum() for char in bare)


def _numbers(inside: str) -> list[int]:
    numbers: list[int] = []
    for part in _PART.finditer(inside):
        first, last = int(part[1]), int(part[2] or part[1])
        numbers += range(first, last + 1) if first <= last <= first + _WIDEST else [first, last]
    return numbers
