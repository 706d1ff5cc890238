"""The values that users get: a summary, its claims, and its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mrengine.outputs.run_result import RunResult

__all__ = ["Claim", "Summary", "SummaryProgress", "claims_of"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement, and the passage that it rests on.

    ``verified``: code has found the quote in its chunk. Then ``quote`` is ``document[start:end]``, verbatim
    (characters), and ``page`` is where it begins, if the document has pages. Otherwise ``quote`` is what the model
    returned as one, and the places are None.
    """

    text: str = field(repr=False)
    quote: str = field(repr=False)
    document_id: str
    chunk_id: int
    start: int | None = None
    end: int | None = None
    page: int | None = None
    verified: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """``str()`` is the text. ``texts``: the summary of each document, by its id; ``run``: results, failures, usage.

    ``claims``: all claims, beginning with those that the text cites: ``[n]`` in it is ``claims[n - 1]``. ``citations``:
    the cited ones, all of them verified. ``unsupported``: sentences of the text without a verified claim.
    ``uncovered``: ids of the chunks without a cited claim. ``contradictions``: pairs of verified claims that contradict
    each other. ``left_out``: ids of the chunks that ``top_k`` left out.
    """

    text: str
    job_id: str
    run: RunResult = field(repr=False)
    texts: dict[str, str] = field(default_factory=dict, repr=False)
    claims: tuple[Claim, ...] = field(default=(), repr=False)
    citations: tuple[Claim, ...] = field(default=(), repr=False)
    unsupported: tuple[str, ...] = field(default=(), repr=False)
    uncovered: tuple[int, ...] = field(default=(), repr=False)
    left_out: tuple[int, ...] = field(default=(), repr=False)
    contradictions: tuple[tuple[Claim, Claim], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.text

    def evidence(self) -> dict[str, Any]:
        """What the text rests on, as plain values for JSON."""
        return {
            **{name: [asdict(claim) for claim in getattr(self, name)] for name in ("claims", "citations")},
            **{name: list(getattr(self, name)) for name in ("unsupported", "uncovered", "left_out")},
            "contradictions": [[asdict(a), asdict(b)] for a, b in self.contradictions],
        }

    def to_dict(self) -> dict[str, Any]:
        """All but the run, as plain values for JSON."""
        return {"text": self.text, "job_id": self.job_id, "texts": dict(self.texts), **self.evidence()}


@dataclass(frozen=True, slots=True)
class SummaryProgress:
    """The progress of a summary. ``stage``: "map", a chunk is done; "reduce", a merge is done (``done`` 0: merging
    ``total`` results begins); "document", with ``together=False``, a document's summary is done; "again", the text
    begins anew.

    ``done`` of ``total`` in this stage or level, also as ``progress`` from 0 to 1. ``text``: the summary of the part
    or document that was just finished, without marks.
    """

    stage: str
    done: int
    total: int
    progress: float
    document_id: str = ""
    chunk_id: int | None = None
    text: str = field(default="", repr=False)


def claims_of(result: Any, document_id: str, chunk_id: int) -> list[Claim]:
    """The claims in one chunk's result, as ``ClaimMap`` made it."""
    claims = result.get("claims") if isinstance(result, Mapping) else None
    return [Claim(document_id=document_id, chunk_id=chunk_id, **fields) for fields in claims or ()]
