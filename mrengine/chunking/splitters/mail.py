"""E-mail threads: a message begins with its header, or with the line that says who wrote the quotation below."""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import PARAGRAPH, RECORD, SOFT, WHOLE, Boundary
from mrengine.chunking.sample import Sample

__all__ = ["boundaries", "has_mails", "mails", "messages"]

_QUOTES = "> \t\r"
_FROM = ("From", "Von", "De", "Da", "Van", "On ", "Am ", "Le ", "El ", "Il ", "Op ", "--", "__")
_BEGIN = re.compile(rf"\n[> ]{{0,9}}(?={'|'.join(_FROM)})")
_MAIL = re.compile(
    r"(?:From|Von|De|Da|Van)[ ]?:[ ]\S|From[ ]\S+@\S+[ ]+\w{3}[ ]"
    r"|[-_]{3,}[ ]?(?:Original|Forwarded|Urspr|Message|Mensaje)"
    r"|((?:On|Am|Le|El|Il|Op)[ ]).{10,120}:[ \t\r]*(?:\n|$)"
)
_FIELD = re.compile(
    r"(?:Subject|Sent|To|Date|Cc|Betreff|Gesendet|An|Objet|Envoyé|À|Asunto|Para|Oggetto|Onderwerp):\s", re.IGNORECASE
)
_HEADER = re.compile(
    rf"\n[> ]{{0,9}}(?:{'|'.join(_FROM[:5])})[ ]?:[ ][^\n]*\n[> ]{{0,9}}{_FIELD.pattern}", re.IGNORECASE
)
_LONG = 1500  # characters of a header


def has_mails(text: str) -> bool:
    """Whether a header begins in the text."""
    return (
        any(mark in text for mark in ("From:", "Von:", "De:", "Da:", "Van:"))
        and _HEADER.search("\n" + text) is not None
    )


def messages(text: str, low: int, high: int) -> list[Boundary]:
    """Where messages begin in ``low + 1 .. high``."""
    found: list[Boundary] = []
    for match in _BEGIN.finditer(text, max(low, 0), high):
        place = match.start() + 1
        mail = _MAIL.match(text, match.end())
        if mail is None or (mail.lastindex and _below_header(text, place)):
            continue
        above = text[max(0, place - 300) : match.start()].rstrip(_QUOTES)
        if above[-1:] in ("\n", "") or mail.group()[0] in "-_":
            found.append((place, RECORD, WHOLE))
    return found


def boundaries(text: str, low: int, high: int) -> list[Boundary]:
    """Messages and the paragraphs of each; the first belongs to the header."""
    found = messages(text, low, high)
    begins = {place for place, _, _ in found}
    place = text.find("\n\n", max(low - 1, 0), high - 1) + 2
    while place > 1:
        while text[place : place + 1] == "\n":
            place += 1
        if low < place <= high and place not in begins and not _below_header(text, place):
            found.append((place, PARAGRAPH, SOFT))
        place = text.find("\n\n", place, high - 1) + 2
    found.sort()
    return found


def _below_header(text: str, place: int) -> bool:
    """Whether the paragraph above the blank line before ``place`` begins as a message does."""
    above = text.rfind("\n\n", max(0, place - _LONG), place - 2) + 2
    if above == 1:
        above = max(0, place - _LONG)
    bare = above + len(text[above : above + 9]) - len(text[above : above + 9].lstrip("> \n"))
    return _MAIL.match(text, bare) is not None


def mails(sample: Sample) -> int:
    """How many messages of a thread begin in the sample."""
    rows = sample.rows
    found = 0
    for number, row in enumerate(rows):
        bare = row.lstrip("> ")
        if bare.startswith(_FROM) and _MAIL.match(bare):
            below = rows[number + 1 : number + 5]
            found += bare[-1] == ":" or any(_FIELD.match(line.lstrip("> ")) for line in below)
    return found
