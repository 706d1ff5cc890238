"""Shows a cited summary: each text with its own numbers, and footnotes that say where to look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mrengine.summaries.markers import cited_in, renumbered
from mrengine.summaries.summary import Claim, Summary

__all__ = ["footnotes", "in_markdown", "of_document"]

_ACTIVE = re.compile(r"!(?=\[)|<(?=[A-Za-z/!?])|(?<=\])(?=\()")  # an image, a tag, a link


def of_document(summary: Summary, name: str) -> Summary:
    """The part of a summary that is about one document, with claims numbered from 1."""
    text = summary.texts[name]
    numbers = {number: place for place, number in enumerate(cited_in(text), 1)}
    citations = tuple(summary.citations[number - 1] for number in numbers)
    # A text of one document cites its own claims alone; those that it does not cite follow.
    own = [claim for claim in summary.claims if claim.document_id == name and claim not in citations]
    chunks = {result.chunk_id for result in summary.run.results if result.document_id == name}
    chunks |= {failure.chunk_id for failure in summary.run.failures if failure.document_id == name}
    return replace(
        summary,
        text=renumbered(text, numbers),
        texts={},
        claims=(*citations, *own),
        citations=citations,
        unsupported=tuple(renumbered(one, numbers) for one in summary.unsupported if one in text),
        uncovered=tuple(chunk for chunk in summary.uncovered if chunk in chunks),
        left_out=tuple(chunk for chunk in summary.left_out if chunk in chunks),
        contradictions=tuple(pair for pair in summary.contradictions if pair[0].document_id == name),
    )


def footnotes(summary: Summary) -> str:
    """A line for each number of the text: document, page, characters and quote. Then the claims that contradict each
    other, and the sentences that no claim supports: a reader of a file does not see ``--json``.
    """
    cited = summary.citations
    if not cited:
        return ""
    lines = [f"[{number}] {_place(claim)}" for number, claim in enumerate(cited, 1)]
    lines += [f"\nContradiction: {_name(one, cited)}; {_name(other, cited)}" for one, other in summary.contradictions]
    lines += [f"\nWithout support: {' '.join(sentence.split())}" for sentence in summary.unsupported]
    return "\n".join(lines)


def _name(claim: Claim, cited: Sequence[Claim]) -> str:
    return f"[{cited.index(claim) + 1}]" if claim in cited else _place(claim)


def _place(claim: Claim) -> str:
    page = f", page {claim.page}" if claim.page is not None else ""
    return f'{claim.document_id}{page}, characters {claim.start}-{claim.end}: "{" ".join(claim.quote.split())}"'


def in_markdown(text: str) -> str:
    """Escape a text for a Markdown file, so that nothing that a model or a document put there is active.

    No image is loaded, no tag is run, and nothing links elsewhere.
    """
    return _ACTIVE.sub(lambda match: {"!": "\\!", "<": "&lt;", "": " "}[match[0]], text)
