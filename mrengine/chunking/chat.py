"""Owns conversations: a turn begins with a line that names a speaker, with a time or without, and has all lines below.

Exports of messengers, interviews, minutes, transcripts; threads of e-mail, where a message begins with its header.
"""

from __future__ import annotations

import re
from collections import Counter

from mrengine.chunking.boundaries import PARAGRAPH, RECORD, SOFT, WHOLE, Boundary
from mrengine.chunking.forms import Formed, any_of
from mrengine.chunking.lines import lines_between
from mrengine.chunking.log import LEVEL
from mrengine.chunking.sample import Sample

__all__ = ["Chat", "looks"]

_NAME = r"(?:[^\W\d_]|[A-Z]\d?)[\w.'’@+-]*(?:[ ](?:[\w.'’@&+-]+|\([^()\n]{1,30}\))){0,4}"
_CLOCK = r"\d{1,2}[:.]\d\d(?:[:.]\d\d)?(?:[.,]\d{1,3})?(?:[\s\u202f]?[AaPp]\.?[Mm]\.?)?"
_DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
_WHEN = rf"(?:{_DATE},?[ ]+(?:um[ ]|at[ ])?)?{_CLOCK}"
_SPEAKER = rf"(?:\*\*|__)?{_NAME}(?:\*\*|__)?[ ]?(?:[\[(]{_WHEN}[\])][ ]?)?:(?:\*\*|__)?(?=\s|$)"
_FORMS = (
    rf"[\u200e\u200f]?\[{_WHEN}\][ ](?:<[^>\n]{{1,40}}>|[~\u200e ]*[^:\n\[\]]{{1,40}}:(?=\s|$))",  # [time] name:
    rf"[\u200e\u200f]?{_DATE},?[ ]{_CLOCK}[ ][-–][ ]",  # date, time - name: of WhatsApp
    rf"\[?{_WHEN}\]?[ ]+(?:<[^>\n]{{1,40}}>|\*[ ]|[-*]{{3}}[ ])",  # time <name> of IRC
    rf"{_CLOCK}[ \t]+[@+%]?{_NAME}[ ]?[:|>\t](?=\s|$)",  # time name:
    r"<[@+%~& ]?[\w\[\]`^{}|.-]{1,30}>[ ]",  # <name>
    rf"{_NAME}[ ]{{1,4}}(?:[-—–,|@][ ])?[\[(]?(?:(?:Today|Yesterday)[ ]at[ ]|\d{{1,2}}[ ]\w{{3,9}}[ ]\d{{4}},?[ ])?{_WHEN}[\])]?:?[ \t]*(?=[\r\n]|\Z)",
    rf"\[{_DATE}[ ]{_CLOCK}\][ ]{_NAME}[ \t]*(?=[\r\n]|\Z)",
    r"(?:Q|A|F|R|Question|Answer|Frage|Antwort)(?:[ ]?\d{1,3})?[.:](?=\s|$)",
    _SPEAKER,
)
_SPEAKERS = len(_FORMS)  # the number of the last form
_PLAIN = re.compile(_SPEAKER)
_MAIL = re.compile(
    r"(?:From|Von|De|Da|Van)[ ]?:[ ]\S|From[ ]\S+@\S+[ ]+\w{3}[ ]|-{3,}[ ]?(?:Original|Forwarded|Urspr|Message)"
    r"|(?:On|Am|Le|El|Il|Op)[ ].{10,120}:$"
)
_FROM = ("From", "Von", "De", "Da", "Van", "On ", "Am ", "Le ", "El ", "Il ", "Op ")
_FIELD = re.compile(
    r"(?:Subject|Sent|To|Date|Cc|Betreff|Gesendet|An|Objet|Envoyé|À|Asunto|Para|Oggetto|Onderwerp):\s", re.IGNORECASE
)
_HEADER = re.compile(r"[A-Z][\w-]{1,30}:[ ]|[ \t]+\S|>*\s*$")
_LOGGED = re.compile(rf"\[?{_WHEN}\]?[ \t]+[\[(]?{LEVEL}\b")
_NEAR = 60  # characters in which a name or a time stands
_MAILS = 0.92
_NAMES_AT_MOST = 0.5  # of the turns: more names than that are no speakers


class Chat(Formed):
    """Turns of speakers. Of names it keeps those that come again."""

    name = "chat"
    forms = _FORMS

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._mail = False

    def is_unit(self, line: str) -> bool:
        """The lines of a turn are none: they may be wrapped."""
        return False

    def may_begin(self, line: str) -> bool:
        """Most lines begin no turn."""
        return _may_begin(line)

    def see(self, text: str, base: int) -> None:
        """Learn the forms, and whether there are messages with headers."""
        super().see(text, base)
        self._mail = any(mark in text for mark in ("From:", "Von:", "De:", "From ", "wrote:"))

    def events(self, text: str, low: int, high: int) -> list[Boundary]:
        """Turns; in a thread of e-mail, messages, whose headers are no turns."""
        if not self._mail:
            return super().events(text, low, high)
        return self._messages(text, low, high)

    def _messages(self, text: str, low: int, high: int) -> list[Boundary]:
        found: list[Boundary] = []
        heading = False
        for begin, line, after_blank in lines_between(text, max(0, low - 400), high):
            bare = line.lstrip("> \t")
            if heading and not after_blank and _HEADER.match(bare):
                continue
            mail = _MAIL.match(bare) is not None and (after_blank or bare[0] == "-" or not begin)
            if heading and mail and not bare.startswith(("On ", "Am ")):
                continue  # From: behind "Original Message"
            if begin > low and mail:
                found.append((begin, RECORD, WHOLE))
            elif begin > low and self._begin.match(text, begin - 1):
                found.append((begin, RECORD + 1, WHOLE))
            elif begin > low and after_blank and not heading:
                found.append((begin, PARAGRAPH, SOFT))
            heading = mail
        return found

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next turn or message."""
        if not self._mail:
            return super().after(text, level, low, high)
        return next((place for place, outer, _ in self.events(text, low, high) if outer <= level), 0)


_WORDS = re.compile(r"\S+\s+\S+\s+\S")


def _may_begin(line: str) -> bool:
    """Whether it is worth to look whether a line begins a turn."""
    return line[0] not in ' \t{#|"' and (":" in line[:_NEAR] or line[0] == "<" or line[1:2] == ".")


def looks(sample: Sample) -> float:
    """How much a text looks like a conversation: lines that begin with a few names which come again."""
    match = any_of(_FORMS).match
    if not any(_may_begin(line) and match(line) for line in sample.few):
        return _MAILS if _mails(sample) > 1 and not sample.fences else 0.0
    timed = said = again = 0
    names: Counter[str] = Counter()
    stanza: set[str] = set()
    for line in sample.rows:
        if not line:
            stanza = set()
            continue
        form = match(line) if _may_begin(line) else None
        if form and form.lastindex == _SPEAKERS:
            name = form.group().strip("*_: ")
            names[name] += 1
            again += name in stanza or not stanza
            stanza.add(name)
            rest = line[form.end() :]
            said += not rest or _WORDS.search(rest) is not None
        elif form and not _LOGGED.match(line):
            timed += 1
    count = len(sample.lines)
    turns = sum(names.values())
    if sample.fences or not count:
        return 0.0
    if _mails(sample) > 1:
        return _MAILS
    if timed > 2 and timed > 0.2 * count:
        return 0.95
    if (
        turns < 4
        or turns <= 0.15 * count
        or not 1 < len(names) <= (_NAMES_AT_MOST if turns < 0.5 * count else 0.75) * turns
    ):
        return 0.0
    upper = sum(count for name, count in names.items() if name[0].isupper() or name[0] == "@")
    # Names that come once in each stanza are the fields of a record.
    return 0.9 if upper > 0.8 * turns and said > 0.5 * turns and again > 0.6 * turns else 0.0


def _mails(sample: Sample) -> int:
    """How many messages of a thread begin in the sample: with a header, or with who wrote what is quoted below."""
    rows = sample.rows
    found = 0
    for number, row in enumerate(rows):
        bare = row.lstrip("> ")
        if bare.startswith(_FROM) and _MAIL.match(bare):
            below = rows[number + 1 : number + 5]
            found += bare[-1] == ":" or any(_FIELD.match(line.lstrip("> ")) for line in below)
    return found
