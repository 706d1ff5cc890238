"""The reduce of a cited summary: calls see numbered claims with their quotes, and answer with these numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrengine.records import ChunkResult
from mrengine.summaries.contradictions import contradictions
from mrengine.summaries.evidence import stands
from mrengine.summaries.markers import cited_in, each_sentence, renumbered, without_brackets
from mrengine.summaries.names import Vocabulary
from mrengine.summaries.summary import Claim, claims_of

__all__ = ["CitedMerge", "CitedText", "Finished", "finished"]

_MOST_ADDED = 20  # contradictions that are added to a text
_STOPS = ".!?。！？"


@dataclass(frozen=True, slots=True)
class CitedText:
    """A text with marks, and the numbers of the claims that it rests on. ``text`` "": claims that no call has merged
    yet.
    """

    text: str
    numbers: tuple[int, ...]


class CitedMerge:
    """Numbers the verified claims of all results: [n] is ``claims[n - 1]``. A claim of two chunks has one number."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.unverified: list[Claim] = []
        self.chunks: list[set[int]] = []  # of each claim; the overlap of two chunks gives both the same claims

    def first(self, results: Sequence[ChunkResult]) -> list[Any]:
        """The claims of each chunk whose quotes were found; None for a chunk without any."""
        self.__init__()  # type: ignore[misc]  # a reduce that is run again begins anew
        places: dict[tuple[str, int | None, int | None, str], int] = {}
        texts: list[CitedText | None] = []
        for result in results:
            numbers = []
            for claim in claims_of(result.result, result.document_id, result.chunk_id):
                key = (claim.document_id, claim.start, claim.end, claim.text)
                if not claim.verified:
                    self.unverified.append(claim)
                elif key in places:
                    self.chunks[places[key]].add(claim.chunk_id)
                else:
                    places[key] = len(self.claims)
                    self.claims.append(claim)
                    self.chunks.append({claim.chunk_id})
                    numbers.append(len(self.claims))
            texts.append(CitedText("", tuple(numbers)) if numbers else None)
        return texts

    def text(self, values: Sequence[CitedText]) -> str:
        """The text that a merge is asked about: earlier summaries, claims with quotes, and their contradictions."""
        parts = [f"A summary of a part:\n{value.text}" for value in values if value.text]
        numbers = sorted({number for value in values for number in value.numbers})
        parts.append("\n".join(self._line(number) for number in numbers))
        pairs = self.contradictions(numbers)
        parts.append("\n".join(f"Contradiction: claims [{a}] and [{b}]." for a, b in pairs))
        return "\n\n".join(part for part in parts if part)

    def merged(self, answer: Any, values: Sequence[CitedText]) -> CitedText:
        """The answer, without numbers that the model invented."""
        allowed = {number for value in values for number in value.numbers}
        text = renumbered(str(answer).strip(), {number: number for number in allowed})
        # A model that names no number at all is given all of them: the next merge still sees the evidence.
        return CitedText(text, tuple(cited_in(text)) or tuple(sorted(allowed)))

    def contradictions(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """The pairs among these numbers whose claims contradict each other."""
        pairs = contradictions([self.claims[number - 1].text for number in numbers])
        return [(numbers[a], numbers[b]) for a, b in pairs]

    def _line(self, number: int) -> str:
        claim = self.claims[number - 1]
        # In one line each, and without marks of its own: a document may hold "[7]", or lines that look like ours.
        text, quote = (without_brackets(" ".join(part.split())) for part in (claim.text, claim.quote))
        return f'[{number}] "{quote}"' if text == quote else f'[{number}] {text}\n    "{quote}"'


@dataclass(frozen=True, slots=True)
class Finished:
    """The texts of a cited summary, by name, and their evidence; see ``Summary``. ``covered``: ids of chunks."""

    texts: dict[str, str]
    claims: tuple[Claim, ...]
    citations: tuple[Claim, ...]
    unsupported: tuple[str, ...]
    contradictions: tuple[tuple[Claim, Claim], ...]
    covered: frozenset[int] = field(default=frozenset())


def finished(merge: CitedMerge, answers: Mapping[str, Any], *, add_contradictions: bool = True) -> Finished:
    """Number the claims anew, in order of appearance, and hold each sentence against the claims that it names.

    ``answers``: a ``CitedText`` for each name, or None. Claims that no model has merged become a text here, a sentence
    each. ``add_contradictions``: append those of the documents that the text does not name.
    """
    whole = {name: _whole(merge, cited, add_contradictions) for name, cited in answers.items()}
    by_number: dict[int, int] = {}
    for text in whole.values():
        for number in cited_in(text):
            by_number.setdefault(number, len(by_number) + 1)
    texts = {name: renumbered(text, by_number) for name, text in whole.items()}
    citations = tuple(merge.claims[number - 1] for number in by_number)
    others = [claim for number, claim in enumerate(merge.claims, 1) if number not in by_number]
    pairs = merge.contradictions(range(1, len(merge.claims) + 1))
    return Finished(
        texts,
        (*citations, *others, *merge.unverified),
        citations,
        tuple(_unsupported(texts.values(), citations, merge.claims)),
        tuple((merge.claims[a - 1], merge.claims[b - 1]) for a, b in pairs),
        frozenset(chunk for number in by_number for chunk in merge.chunks[number - 1]),
    )


def _whole(merge: CitedMerge, cited: CitedText | None, add_contradictions: bool) -> str:
    if cited is None:
        return ""
    text = cited.text or " ".join(_sentence(merge.claims[n - 1].text, n) for n in cited.numbers)
    if not add_contradictions:
        return text
    named = [set(cited_in(sentence)) for sentence, _ in each_sentence(text)]
    own = {merge.claims[number - 1].document_id for number in cited.numbers}
    numbers = [n for n, claim in enumerate(merge.claims, 1) if claim.document_id in own]
    added: set[tuple[str, str]] = set()  # the same words twice in a document make the same pair twice
    for a, b in merge.contradictions(numbers):
        first, second = merge.claims[a - 1], merge.claims[b - 1]
        key = (first.text.casefold(), second.text.casefold())
        if key in added or len(added) == _MOST_ADDED or any({a, b} <= numbers_of for numbers_of in named):
            continue
        added.add(key)
        text += f" {_bare(first.text)} [{a}], but also: {_sentence(second.text, b)}"
    return text


def _sentence(text: str, number: int) -> str:
    text = without_brackets(text).strip()
    stop = text[-1:] if text[-1:] in _STOPS else "."
    return f"{_bare(text)} [{number}]{stop}"


def _bare(text: str) -> str:
    return without_brackets(text).strip().rstrip(_STOPS + " ")


def _unsupported(texts: Iterable[str], citations: Sequence[Claim], claims: Sequence[Claim]) -> Iterable[str]:
    words = Vocabulary.of(text for claim in claims for text in (claim.text, claim.quote))
    for text in texts:
        for sentence, numbers in each_sentence(text):
            named = [citations[number - 1] for number in numbers]
            if not named or not stands(sentence, named, claims, words):
                yield sentence
