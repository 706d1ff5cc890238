"""YAML: the documents of a stream, then the least indented lines. Comments and ``---`` belong to what follows.

Block scalars need no care: their lines are indented deeper than their key, so they are less than it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mrengine.chunking.boundaries import DOCUMENT, RECORD, WHOLE, Boundary, Stateless
from mrengine.chunking.sample import GAP, Sample

__all__ = ["KEY", "Yaml", "looks"]

_BEGIN = re.compile(r"\n([ ]*)(?:(#|%(?=YAML|TAG)|---(?=\s))|(-(?=\s))|(?=[^\s\]}#]))")
_MARKER = re.compile(r"\n(---(?=\s)|%YAML|%TAG)")
_DEEPEST = 60


class Yaml(Stateless):
    """YAML by its indentation."""

    name = "yaml"
    opens = re.compile(r"[ \t]*(?:#|---(?:\s|$)|-$|%)")
    open_ends = (":", "|", "|-", "|+", ">-", ">+", ": >", "- >", "{", "[", "&")

    def see(self, text: str, base: int) -> None:
        """Whether it is a stream."""
        self.outermost = DOCUMENT if "\n---" in text else RECORD

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Documents, keys and items by indentation; none below a comment or ``---``."""
        found: list[Boundary] = []
        attached = False
        begin = max(0, text.rfind("\n", 0, max(low, 0)))
        for match in _BEGIN.finditer(text, begin, high + 100):
            place = match.start() + 1
            if place > high:
                break
            mark = match.lastindex or 1
            if mark == 2 and text[place] in "-%":
                if attached and found and text[found[-1][0]] == "#":
                    found.pop()
                if not (attached and found and found[-1][1] == DOCUMENT):
                    found.append((place, DOCUMENT, WHOLE))
                attached = True
                continue
            if not attached:
                width = min(len(match.group(1)), _DEEPEST)
                found.append((place, RECORD + 2 * width + (mark == 3), WHOLE))
            attached = mark == 2
        return [boundary for boundary in found if boundary[0] > low] if found and found[0][0] <= low else found

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """Where only documents lie farther out, these."""
        if below > RECORD:
            return self.boundaries(text, low, high)
        return [
            (match.start() + 1, DOCUMENT, WHOLE)
            for match in _MARKER.finditer(text, max(low, 0), high + 8)
            if match.start() < high
        ]

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next line that is indented as little."""
        match = _within(level).search(text, max(low, 0), high + 100)
        return match.start() + 1 if match and match.start() < high else 0


@lru_cache(maxsize=128)
def _within(level: int) -> re.Pattern[str]:
    """The begin of a line with the level or a smaller one."""
    if level < RECORD:
        return _MARKER
    width, is_item = divmod(level - RECORD, 2)
    less = f"[ ]{{0,{width if is_item else max(0, width - 1)}}}" if width or is_item else "(?!)"
    same = "" if is_item else rf"|[ ]{{{width}}}(?!-\s)[^\s\]}}]"
    return re.compile(rf"\n(?:{less}[^\s\]}}]{same}|---\s)")


KEY = re.compile(
    r"(?:-[ ]+)*(?:\"[^\"]+\"|'[^']+'|[\w.$/@*<\[{][^\s:#,;={}()]*(?:[ ][\w./-]+){0,3})[ ]*:(?:[ \t]+\S.*|[ ]*)$"
)
_ITEM = re.compile(r"-[ ]+\S|-$|---|\.\.\.$")
_BLOCK = re.compile(r".*[:-][ ]+(?:![\w!]+[ ]+)?[|>][-+]?\d?[-+]?(?:[ ]+#.*)?$")


class _Seen:
    """What the lines of a sample were, one after another."""

    def __init__(self) -> None:
        self.keys = self.items = self.starts = self.other = self.nested = self.again = self.comments = self.outer = 0
        self.names: set[str] = set()  # of the outermost mapping
        self._width = 0
        self._scalar = -1  # the indentation of the key whose block scalar goes on
        self._opened = self._lost = False

    def row(self, row: str) -> None:
        """Look at the next line."""
        body = row.lstrip(" ")
        indent = len(row) - len(body)
        if row == GAP:
            self._lost, self._scalar, self._width = True, -1, 0  # perhaps in the middle of a block
            self.names.clear()  # or of another document
            return
        if body[:1] == "#":
            self.comments += 1
            return
        if not body or (self._scalar >= 0 and indent > self._scalar):
            return
        if self._lost and not KEY.match(body):
            return
        self._lost, self._scalar = False, -1
        if self._is_marker(body) or self._is_key(body, indent) or self._is_item(body, indent):
            pass
        elif indent > self._width or (body[0] in "]}\"'" and indent):
            return  # goes on
        else:
            self.other += 1
        if _BLOCK.match(body):
            self._scalar = indent
        self._opened, self._width = body[-1] == ":", indent

    def _is_marker(self, body: str) -> bool:
        if body.startswith("---") and body[3:4] in ("", " "):
            self.starts += 1
            self.names.clear()
            return True
        self.starts += 2 * body.startswith("%YAML")
        return body.startswith("%YAML")

    def _is_key(self, body: str, indent: int) -> bool:
        if not KEY.match(body):
            return False
        self.keys += 1
        self.nested += self._opened and indent >= self._width + (body[0] != "-")
        if not indent and body[0] != "-":
            name = body[: body.find(":")]
            self.outer += 1
            self.again += name in self.names
            self.names.add(name)
        return True

    def _is_item(self, body: str, indent: int) -> bool:
        if not _ITEM.match(body):
            return False
        self.items += 1
        self.nested += self._opened and indent >= self._width
        return True

    @property
    def is_hopeless(self) -> bool:
        """Whether too many lines are nothing of YAML, or the first one is."""
        known = self.keys + self.items
        return self.other > 0 and ((not known and not self.starts) or (self.other > 3 and 5 * self.other > known))


def looks(sample: Sample) -> float:
    """How much a text looks like YAML: nearly all lines are keys, items, or indented deeper than one above them."""
    seen = _Seen()
    for row in sample.rows:
        seen.row(row)
        if seen.is_hopeless:
            return 0.0
    said = seen.keys + seen.items + seen.other
    if not seen.keys or seen.other > 0.05 * said or seen.again > 0.1 * seen.keys:
        return 0.0
    if seen.keys < 0.25 * said and not seen.starts:
        return 0.0
    if seen.nested and (seen.keys > 2 or seen.starts):
        return 0.93
    if seen.starts:
        return 0.95 if sample.head.startswith(("---", "%YAML")) else 0.9
    if seen.nested and not seen.other:
        return 0.74
    is_flat = seen.keys > 0.8 * said and seen.outer == seen.keys and not seen.again
    return 0.74 if is_flat and said + seen.comments > 2 else 0.4
