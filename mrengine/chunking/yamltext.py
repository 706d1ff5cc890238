"""Owns YAML: the documents of a stream, then what is indented least. A comment and ``---`` belong to what follows.

Block scalars need no care: their lines are indented deeper than their key, so they are less than it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mrengine.chunking.boundaries import DOCUMENT, RECORD, WHOLE, Boundary, Stateless
from mrengine.chunking.sample import Sample

__all__ = ["Yaml", "looks"]

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


_KEY = re.compile(
    r"(?:-[ ]+)*(?:\"[^\"]+\"|'[^']+'|[\w.$/@*<\[{][^\s:#,;={}()]*(?:[ ][\w./-]+){0,3})[ ]*:(?:[ ]+\S.*|[ ]*)$"
)
_ITEM = re.compile(r"-[ ]+\S|-$|---|\.\.\.$")
_BLOCK = re.compile(r".*[:-][ ]+(?:![\w!]+[ ]+)?[|>][-+]?\d?[-+]?(?:[ ]+#.*)?$")


def looks(sample: Sample) -> float:
    """How much a text looks like YAML: nearly all lines are keys, items, or indented deeper than one above them."""
    keys = nested = items = comments = other = starts = 0
    width, scalar, opened = 0, -1, False
    names: set[str] = set()
    again = 0
    for row in sample.rows:
        body = row.lstrip(" ")
        if not body:
            continue
        indent = len(row) - len(body)
        if scalar >= 0 and indent > scalar:
            continue
        scalar = -1
        if body[0] == "#":
            comments += 1
            continue
        if body.startswith("---") and body[3:4] in ("", " "):
            starts += 1
            names.clear()
        elif body[:1] == "%" and "YAML" in body:
            starts += 2
        elif _KEY.match(body):
            keys += 1
            nested += opened and indent > width
            if not indent and body[0] != "-":
                name = body[: body.find(":")]
                again += name in names
                names.add(name)
        elif _ITEM.match(body):
            items += 1
            nested += opened and indent >= width
        elif indent > width or (body[0] in "]}\"'" and indent):
            continue  # goes on
        else:
            other += 1
            if other > 3 and 5 * other > keys + items:
                return 0.0
        if _BLOCK.match(body):
            scalar = indent
        if body[:1] == "\t":
            other += 1
        opened, width = body[-1] == ":", indent
    said = keys + items + other
    if not keys or other > 0.05 * said or again > 0.1 * keys:
        return 0.0
    if keys < 0.25 * said and not starts:
        return 0.0
    if starts and sample.head.startswith(("---", "%YAML")):
        return 0.95
    if nested >= 1 and (keys > 2 or starts):
        return 0.93
    if starts:
        return 0.9
    return 0.74 if keys > 0.8 * said and len(names) == keys and comments + keys > 2 else 0.4
