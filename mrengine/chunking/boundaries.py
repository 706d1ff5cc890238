"""The scale of boundaries, and what each kind of text reports: where its units begin, and how they nest.

A *boundary* is a place where a unit begins: a section, a record, a paragraph, a function, a line. It is a tuple
``(offset, level, whole)``:

* ``offset``: characters of the window; the cut lies before the unit's first character, behind the newline before it.
* ``level``: how far out the unit lies. A unit reaches to the next boundary with its level or a smaller one.
* ``whole``: how wrong it is to tear the unit where it fits into a chunk. ``SOFT``: only a small part of a chunk may
  stay empty for it; ``WHOLE``: up to half of one, as long as the mean fill affords it; ``ALWAYS``: whatever it costs.

The scale, from the best cut to the worst. A kind adds to a level what nests inside it (depth, indentation):

=============  =====================================================================================
``DOCUMENT``   a document of a stream: YAML's ``---``, the next file of a diff, an HL7 message
``SECTION``    + the level of its heading
``RECORD``     + depth: a row, event, element, statement, turn, cue, hunk; a function, then its blocks
``PARAGRAPH``  behind a blank line; a table, a fenced block
``ITEM``       + indentation: an item of a list, a row of a table
``LINE``       a line that is a unit of its own, and none of the above
sentence       from here on the cutter looks by itself (``sentences``, ``breaks``)
clause         behind ``;``, then behind ``,``
word           then between letters and marks, then between grapheme clusters
=============  =====================================================================================

A newline is no boundary by itself: the kind says so by listing the line, or by not listing it. In wrapped prose a
line's end means nothing; in records it is worth more than a sentence's.
"""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

__all__ = [
    "ALWAYS",
    "DOCUMENT",
    "INDENT",
    "ITEM",
    "LINE",
    "NO_CONTEXT",
    "OPENING",
    "OPEN_ENDS",
    "PARAGRAPH",
    "RECORD",
    "SECTION",
    "SOFT",
    "STEP",
    "WHOLE",
    "Boundary",
    "Context",
    "Kind",
    "Stateless",
    "opening",
]

DOCUMENT, SECTION, RECORD, PARAGRAPH, ITEM, LINE = 0, 100, 200, 400, 500, 700

STEP = 300  # characters: so far is the next boundary looked for first

SOFT, WHOLE, ALWAYS = 0, 1, 2

Boundary = tuple[int, int, int]


class Context(NamedTuple):
    """What a reader of a chunk no longer sees: the titles above it, outermost first; the head of its table."""

    headings: tuple[str, ...] = ()
    table_header: str = ""


NO_CONTEXT = Context()

# The blanks before what a line has, which does not begin with one. An expression that fails behind them tries each of
# them in turn otherwise: six times as long, in text that is indented.
INDENT = r"[ \t]*+" if sys.version_info >= (3, 11) else r"[ \t]*(?![ \t])"

# Lines that belong to what follows, in any kind of text. Matched against one line without the blanks at its end.
_OPENING = (
    r"#{1,6}(?:\s.*)?$",  # a heading, a comment
    r"[-=*_](?: ?[-=*_]){2,}$",  # a rule, a separator
    r"@\w?\S",  # a decorator, the head of a hunk
    # a bullet or number alone
    r"(?:[-*+•‣◦▪–—]|[(\[]?(?:\d{1,3}|[ivxlc]+|[a-zA-Z])(?:\.\d{1,3})*[.)\]]?|\d{1,3}(?:\.\d{1,3})+)$",
    # a name with a number
    r"(?:§+\s*|(?i:art(?:icle|\.)?|sec(?:tion|\.)|clause|chapter|part|annex|schedule|appendix|no\.|nr\.)\s+)[\divxlcIVXLC(.)]+$",
    r"(?:Table|Figure|Fig\.|Tab\.|Listing|Tabelle|Abb(?:ildung|\.)|Tableau|Tabla|Figura)\s\d+(?:[.:][^.]{0,80}\.?)?$",
)


def opening(*more: str) -> re.Pattern[str]:
    """The expression of the lines that belong to what follows: those of any text, and ``more``.

    It is matched against a line from its begin, blanks and all, to its last character that is not blank.
    """
    return re.compile("|".join((rf"{INDENT}(?:{'|'.join(_OPENING)})", *more)))


OPENING = opening()
OPEN_ENDS = (":", "：")  # an introduction, a speaker, a key


class Kind(Protocol):
    """A kind of text: where its units begin. One object serves one document, from its beginning to its end.

    Offsets are characters of ``text``, the window, which moves along the document. Nothing may take longer than the
    text it looks at is long: compiled expressions over the given span, not Python for each character.
    """

    @property
    def name(self) -> str:
        """As chunks carry it."""

    @property
    def opens(self) -> re.Pattern[str]:
        """Matches a line that belongs to what follows: made with :func:`opening`."""

    @property
    def open_ends(self) -> tuple[str, ...]:
        """What such a line may end with; ``OPEN_ENDS`` and more."""

    def see(self, text: str, base: int) -> None:
        """Look at a window that has new text, before it is cut. ``base``: where it begins in the document.

        Here a kind keeps what cannot be known from near the cut: open quotes, open fences, the first row.
        """

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """The boundaries with ``low < offset <= high``, by offset. A place that would be wrong is not among them.

        The begin of a unit that is ``ALWAYS`` whole may stand before ``low``, if the unit reaches beyond ``high``.
        """

    def top(self, text: str, near: int, far: int, high: int) -> Boundary | None:
        """The last boundary of the outermost level, if it is quickly found: behind ``far``, or ``near`` where it is
        ``SOFT``, and up to ``high``.
        """

    def near(self, text: str, low: int, high: int) -> list[Boundary]:
        """The boundaries of these places among which the best cut is; others may be left out."""

    def leads(self, text: str, low: int, high: int) -> list[Boundary]:
        """The boundaries of these places for an overlap, which begins with the first of the outermost."""

    @property
    def outermost(self) -> int:
        """The least level that a unit has here which is to stay whole: behind one so far out, none is looked for."""

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """The boundaries of these places whose level is less than ``below``; others may be among them."""

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The first boundary in ``low + 1 .. high`` with the level or a smaller one; 0 if there is none."""

    def context(self, text: str, start: int) -> Context:
        """What is lost for a chunk that begins at ``start``. Called for one start after another, forwards."""


class Stateless(ABC):
    """A kind that knows all it needs from near the cut; inherit, and give ``name`` and ``boundaries``."""

    name = ""
    opens = OPENING
    open_ends: tuple[str, ...] = OPEN_ENDS
    outermost = DOCUMENT

    def __init__(self, target: int) -> None:  # noqa: B027 - not every kind needs it
        """``target``: the limit of a chunk in tokens."""

    def see(self, text: str, base: int) -> None:  # noqa: B027 - nor this
        """Nothing is learnt in advance."""

    @abstractmethod
    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """As :class:`Kind` says."""

    def top(self, text: str, near: int, far: int, high: int) -> Boundary | None:
        """It is not quickly found; to be given where it is."""
        return None

    def near(self, text: str, low: int, high: int) -> list[Boundary]:
        """All of them; to be given where the best are quicker found."""
        return self.boundaries(text, low, high)

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """All of them; to be given where fewer are quicker found."""
        return self.boundaries(text, low, high)

    def leads(self, text: str, low: int, high: int) -> list[Boundary]:
        """All of them; to be given where others are better to begin with than to end before."""
        return self.boundaries(text, low, high)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """As the boundaries say, looked for in growing steps; to be given where it is quicker found."""
        step = STEP
        while low < high:
            stop = min(high, low + step)
            for place, outer, _ in self.boundaries(text, low, stop):
                if outer <= level and place > low:
                    return place
            low, step = stop, 2 * step
        return 0

    def context(self, text: str, start: int) -> Context:
        """Nothing is lost."""
        return NO_CONTEXT
