"""Conversations: a turn begins with a line that names a speaker, timed or not, and takes in the lines below.

Exports of messengers, interviews, minutes, transcripts; threads of e-mail, where a message begins with its header.
"""

from __future__ import annotations

import re
from collections import Counter

from mrengine.chunking.boundaries import RECORD, Boundary
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters import mail
from mrengine.chunking.splitters.forms import Formed, any_of
from mrengine.chunking.splitters.log import LEVEL

__all__ = ["Chat", "looks"]

_NAME = r"(?:[^\W\d_]|[A-Z]\d?)[\w.'’@+-]*(?:[ ](?:[\w.'’@&+-]+|\((?!\d)[^()\n]{1,30}\))){0,4}"
_CLOCK = r"\d{1,2}[:.]\d\d(?:[:.]\d\d)?(?:[.,]\d{1,3})?(?:[\s\u202f]?[AaPp]\.?[Mm]\.?)?"
_DATE = r"(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[-/ ][A-Z]\w{2}[-/ ]\d{2,4})"
_WHEN = rf"(?:{_DATE},?[ ]+(?:um[ ]|at[ ])?)?{_CLOCK}"
_DAY = r"(?:(?:Today|Yesterday)[ ]at[ ]|\d{1,2}[ ]\w{3,9}[ ]\d{4},?[ ](?:at[ ])?)?"
_SPEAKER = rf"(?=[^\n:]{{1,60}}:)(?:\*\*|__)?{_NAME}(?:\*\*|__)?[ ]?(?:[\[(]{_WHEN}[\])][ ]?)?:(?:\*\*|__)?(?=\s|$)"
_FORMS = (
    _SPEAKER,
    rf"[\u200e\u200f]?\[{_WHEN}\][ ](?:<[^>\n]{{1,40}}>|[~\u200e ]*[^:\n\[\]]{{1,40}}:(?=\s|$))",  # [time] name:
    rf"[\u200e\u200f]?{_DATE},?[ ]{_CLOCK}[ ][-–][ ]",  # date, time - name: of WhatsApp
    rf"\[?{_WHEN}\]?[ ]+(?:<[^>\n]{{1,40}}>|\*[ ]|[-*]{{3}}[ ])",  # time <name> of IRC
    rf"{_CLOCK}[ \t]+[@+%]?{_NAME}[ ]?[:|>\t](?=\s|$)",  # time name:
    r"<[@+%~& ]?[\w\[\]`^{}|.-]{1,30}>[ ]",  # <name>
    rf"{_NAME},?[ ]{{1,4}}(?:[-—–,|@][ ])?[\[(]?{_DAY}{_WHEN}[\])]?:?[ \t]*(?=[\r\n]|\Z)",
    rf"\[{_DATE}[ ]{_CLOCK}\][ ]{_NAME}(?:#\d{{1,5}})?[ \t]*(?=[\r\n]|\Z)",
    r"(?:Q|A|F|R|Question|Answer|Frage|Antwort)(?:[ ]?\d{1,3})?[.:](?=\s|$)",
)
_SPEAKERS = 1  # the number of the first form
_LOGGED = re.compile(rf"\[?{_WHEN}\]?[ \t]+(?:\S+[ .|-]+)?[\[(]?{LEVEL}\b")
_ROWS = 120
_NEAR = 60  # characters in which a name or a time stands
_MAILS = 0.92
_LOOKED = 30_000  # characters of a window: headers of messages are looked for in these
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
        self._mail = self._mail or mail.has_mails(text[:_LOOKED])

    def events(self, text: str, low: int, high: int) -> list[Boundary]:
        """Turns; in a thread of e-mail, messages."""
        return mail.messages(text, low, high) if self._mail else super().events(text, low, high)

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Turns or messages, and paragraphs in them."""
        return mail.boundaries(text, low, high) if self._mail else super().boundaries(text, low, high)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next turn or message."""
        if not self._mail or level > RECORD:
            return super().after(text, level, low, high)
        found = mail.messages(text, low, high)
        return found[0][0] if found else 0


_ROLES = frozenset(("system", "user", "assistant", "human", "bot", "agent", "tool", "model", "customer", "interviewer"))
_TIME_OF_TURN = re.compile(r"[\[(]\d[^\])]*[\])]")
_WORDS = re.compile(r"\S+\s+\S+\s+\S")


def _may_begin(line: str) -> bool:
    """Whether it is worth to look whether a line begins a turn."""
    return line[0] not in ' \t{#|"' and (":" in line[:_NEAR] or line[0] == "<" or line[1:2] == ".")


def looks(sample: Sample) -> float:
    """How much a text looks like a conversation: lines that begin with a few names which come again."""
    match = any_of(_FORMS).match
    if not any(_may_begin(line) and match(line) for line in sample.few):
        return _MAILS if mail.mails(sample) > 1 and not sample.fences else 0.0
    timed = said = again = 0
    names: Counter[str] = Counter()
    stanza: set[str] = set()
    for line in sample.rows[:_ROWS]:
        if not line:
            stanza = set()
            continue
        if line.startswith(("# ", "## ")):
            return 0.0  # Markdown
        form = match(line) if _may_begin(line) else None
        if form and form.lastindex == _SPEAKERS:
            name = _TIME_OF_TURN.sub("", form.group()).strip("*_: ")
            names[name] += 1
            again += name in stanza or not stanza
            stanza.add(name)
            rest = line[form.end() :]
            said += not rest or _WORDS.search(rest) is not None
        elif form and not _LOGGED.match(line):
            timed += 1
    count = min(len(sample.lines), _ROWS)
    turns = sum(names.values())
    if sample.fences or not count:
        return 0.0
    if mail.mails(sample) > 1:
        return _MAILS
    if timed > 2 and timed > 0.2 * count:
        return 0.95
    if (
        turns < 4
        or turns <= 0.15 * count
        or not 1 < len(names) <= (_NAMES_AT_MOST if turns < 0.5 * count else 0.75) * turns
    ):
        return 0.0
    upper = sum(count for name, count in names.items() if name[0].isupper() or name[0] == "@" or name in _ROLES)
    # Names that come once in each stanza are the fields of a record.
    return 0.9 if upper > 0.8 * turns and said > 0.5 * turns and again > 0.6 * turns else 0.0
