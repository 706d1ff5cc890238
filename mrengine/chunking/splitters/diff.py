"""Diffs, unified or context, with or without commits: files, then hunks; headers belong to what follows."""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import DOCUMENT, LINE, RECORD, SOFT, WHOLE, Boundary, Stateless
from mrengine.chunking.sample import Sample

__all__ = ["Diff", "looks"]

_COMMIT, _FILE, _HUNK = DOCUMENT, DOCUMENT + 1, RECORD
_FIRST = RECORD + 1  # the first file of a commit: better below its message than inside of the hunk
_NONE = 1 << 30
_BEGIN = re.compile(
    r"\n(?:(commit [0-9a-f]{7,64}\b|From [0-9a-f]{40} )"
    r"|(diff -|Index: |Only in |Binary files |--- (?=[^\n]*\n\+\+\+ )|\*\*\* (?=[^\n]*\n--- [^\n]*\n\*{15}))"
    r"|(@@+ -|\*{15}|\d+(?:,\d+)?[acd]\d+(?:,\d+)?\s*\n))"
)
_LINE = re.compile(r"\n(?=[ +\-!<>])")
# What stands between the head of a file and its first hunk.
_HEAD = (
    r"diff -|index [0-9a-f]|--- |\+\+\+ |\*\*\* |Index: |={60,}"
    r"|new file|deleted file|(?:old|new) mode|similarity|dissimilarity"
    r"|(?:rename|copy) (?:from|to)|Binary files"
)
_LAST_OF_HEAD = ("--- ", "+++ ", "Binary", "rename to", "deleted", "new mode")  # behind which another file may begin
_HEAD_LINE = re.compile(_HEAD)


class Diff(Stateless):
    """Commits, files, hunks."""

    name = "diff"
    opens = re.compile(rf"(?:{_HEAD}|@@+ -|\*{{15}}|commit [0-9a-f]{{7}}|Author: |AuthorDate: |Commit: |Date:  )")
    open_ends = ()

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._longest = target  # characters of a commit's message that stays with its first file

    def see(self, text: str, base: int) -> None:
        """Nothing is kept but whether there are commits."""
        self.outermost = _COMMIT if "\ncommit " in text or "\nFrom " in text else _FILE

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Commits, files and hunks; the first of those inside belongs to what it stands in."""
        found = self.far(text, low, high, RECORD + 1)
        if found:
            return found
        lines = [match.start() + 1 for match in _LINE.finditer(text, max(low, 0), high)]
        if self.outermost == _COMMIT:
            lines = [place for place in lines if not self._in_message(text, place)]
        return [(place, LINE, SOFT) for place in lines]

    def leads(self, text: str, low: int, high: int) -> list[Boundary]:
        """As boundaries; but to begin with the first file of a commit is better than with a hunk of it."""
        found = self.boundaries(text, low, high)
        return [(place, _FILE if level == _FIRST else level, whole) for place, level, whole in found]

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """Commits, files and hunks."""
        found: list[Boundary] = []
        for match in _BEGIN.finditer(text, max(low, 0), high + 400):
            place = match.start() + 1
            if place > high:
                break
            level = self._level(text, place, match.lastindex or 3)
            if level < _NONE:
                found.append((place, level, WHOLE))
        return found

    def _level(self, text: str, place: int, what: int) -> int:
        """The level of what begins there; ``_NONE``, if a head stands right above to which it belongs."""
        if what == 1:
            return _COMMIT
        begin = text.rfind("\n", 0, place - 1) + 1
        above = text[begin : place - 1]
        if what == 3:
            return _NONE if _HEAD_LINE.match(above) else _HUNK
        if _HEAD_LINE.match(above) and not above.startswith(_LAST_OF_HEAD) and not text.startswith("diff -", place):
            return _NONE
        if self.outermost == _COMMIT:
            return _FIRST if self._in_message(text, place) else _FILE
        return _FILE

    def _in_message(self, text: str, place: int) -> bool:
        """Whether nothing but the head of a commit and its message stand above, and these are not long."""
        low = max(0, place - self._longest)
        head = max(text.rfind("\ncommit ", low, place), text.rfind("\nFrom ", low, place))
        return head >= 0 and "\ndiff -" not in text[head : place - 1]

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next of them."""
        if level > _FIRST:
            return super().after(text, level, low, high)
        for match in _BEGIN.finditer(text, max(low, 0), high + 400):
            place = match.start() + 1
            if place > high:
                return 0
            if self._level(text, place, match.lastindex or 3) <= level:
                return place
        return 0


_ANY_HUNK = re.compile(
    r"^(?:@@+ -\d+(?:,\d+)? .*\+\d+(?:,\d+)? @@|\*{3} \d+(?:,\d+)? \*{4}$|\d+(?:,\d+)?[acd]\d+(?:,\d+)?$)", re.MULTILINE
)
_ANY_HEAD = re.compile(r"^(?:diff -|Index: |--- \S|\*{3} \S|commit [0-9a-f]{7})", re.MULTILINE)
_BODY = re.compile(r"[ +\-@<>!\\*]|diff |index |commit |Author|Date|rename|similarity|new |deleted |Index|=====")


_MARKS = ("@@ -", "*** ", "diff -", "commit ", "Index: ", "--- ")


def looks(sample: Sample) -> float:
    """How much a text looks like a diff: heads of hunks and files, and lines that begin as in hunks."""
    if not sample.head.startswith(_MARKS) and not any(line.startswith(_MARKS) for line in sample.lines):
        return 0.0
    text = sample.text[:60_000]
    hunk = _ANY_HUNK.search(text)
    if not hunk or not _ANY_HEAD.search(text, 0, hunk.start() + 1):
        return 0.0
    below = Sample(text[hunk.start() :])
    return 0.96 if below.share(_BODY.match) > 0.8 else 0.0
