"""Prepares texts for a very small model: plain prose in, and answers trimmed to whole sentences.

A model of 135 million parameters summarises prose soundly, but badges, code, tables and addresses lead it astray (it
invents addresses of its own), and after its answer it goes on to write more of the document.
"""

from __future__ import annotations

import re

__all__ = ["LEAST_WORDS", "prose", "sentences"]

LEAST_WORDS = 12  # a text with fewer words of prose has nothing to summarise: the model would invent something

# All repeats are bounded, so that the time is proportional to a text's length, whatever is in it.
_STEPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(`{3,20}|~{3,20})(?![`~])[^\n]*\n(?s:.*?)(?:^\1[ \t]*$|\Z)", re.MULTILINE), "\n"),  # fenced code
    (re.compile(r"^(?: {4}|\t)[^\n]*$", re.MULTILINE), ""),  # indented code
    (re.compile(r"^[ \t]*\|[^\n]*$", re.MULTILINE), ""),  # tables
    (re.compile(r"^ {0,3}\[[^\]\n]{1,200}\]:[^\n]*$", re.MULTILINE), ""),  # link definitions
    (re.compile(r"^ {0,3}#{1,6} [^\n]*$", re.MULTILINE), ""),  # headings
    (re.compile(r"<[A-Za-z/!][^<>]{0,400}>"), " "),  # HTML
    (re.compile(r"!\[[^\]\n]{0,200}\]\([^()\n]{0,400}\)"), ""),  # images, badges among them
    (re.compile(r"\[([^\[\]\n]{0,200})\](?:\([^()\n]{0,400}\)|\[[^\[\]\n]{0,100}\])"), r"\1"),  # a link's text stays
    (re.compile(r"\[\]\([^()\n]{0,400}\)"), ""),  # a link whose text was a badge
    (re.compile(r"\b[a-z]{2,8}://[^\s<>)\]]{1,2000}"), ""),  # addresses
    (re.compile(r"(\*\*|\*|`)(\S(?:[^*`\n]{0,200}\S)?)\1"), r"\2"),  # emphasis and code spans
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r"\n\s*\n"), "\n\n"),
)
_END = re.compile(r"[.!?][\"')\]]{0,2}(?=\s|$)")


def prose(text: str) -> str:
    """The prose of a text, without Markdown's code, tables, headings, images, addresses and marks.

    "" if it has fewer than ``LEAST_WORDS`` words.
    """
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text if len(text.split(None, LEAST_WORDS)) >= LEAST_WORDS else ""


def sentences(answer: str) -> str:
    """The first paragraph of an answer, up to its last whole sentence; all of the paragraph if none is whole."""
    paragraph = re.split(r"\n\s*\n", answer.strip(), maxsplit=1)[0]
    paragraph = " ".join(paragraph.split())
    ends = [match.end() for match in _END.finditer(paragraph)]
    return paragraph[: ends[-1]] if ends else paragraph
