"""Finds cuts inside a long fenced block by what it holds: a log, JSON Lines, a table, a diff, or else code."""

from __future__ import annotations

from collections.abc import Callable

from mrengine.chunking.boundaries import RECORD, WHOLE, Boundary, Kind, Stateless
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters import csvtext, diff, log, yamltext
from mrengine.chunking.splitters.code import Code
from mrengine.chunking.splitters.lines import lines_between

__all__ = ["Fenced"]

_SAMPLE = 3000  # characters
# What the mark that opens a block says of it; under other names stands code.
_TAGS = (
    *("", "text", "txt", "plain", "plaintext", "log", "logs", "console", "output", "terminal", "json", "jsonl"),
    *("ndjson", "csv", "tsv", "diff", "patch", "yaml", "yml"),
)
_SURE = 0.9
_LINES = 0.9  # of the lines: objects
_Looks = Callable[[Sample], float]
_KINDS: tuple[tuple[_Looks, Callable[[int], Kind]], ...] = (
    (log.looks, log.Log),
    (diff.looks, diff.Diff),
    (csvtext.looks, csvtext.Csv),
    (yamltext.looks, yamltext.Yaml),
)


class _Objects(Stateless):
    """Lines of JSON."""

    outermost = RECORD

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Each line that begins an object."""
        return [(at, RECORD, WHOLE) for at, line, _ in lines_between(text, low, high) if line[0] in "{["]

    def last(self, text: str, low: int, high: int) -> list[Boundary]:
        """The last of them."""
        low = max(low, 0)
        if text.find("\r", low, high) >= 0:
            return self.boundaries(text, low, high)[-1:]
        at = max(text.rfind("\n{", low, high + 1), text.rfind("\n[", low, high + 1))
        return [(at + 1, RECORD, WHOLE)] if at >= 0 else []


class Fenced:
    """The kinds of the long fenced blocks of one document; each is looked at when it is first asked for."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._code = Code(target)
        self._seen_by_code = ""
        self._kinds: dict[int, Kind] = {}  # by where the block begins, in characters of the document
        self._base = 0
        self._piece = (0, "")  # of the block last asked for: where it begins in the window, and its text there

    def see(self, text: str, base: int) -> None:
        """The window has moved."""
        self._base, self._piece = base, (0, "")

    def boundaries(
        self, text: str, block: tuple[int, int], low: int, high: int, below: int | None = None
    ) -> list[Boundary]:
        """The boundaries in ``low + 1 .. high`` of a block of the window.

        ``below``: asked for are only those whose level is less than this and than that of all behind them.
        """
        begin, end = block
        kind = self._kind(text, begin, end)
        if kind is self._code:
            if text is not self._seen_by_code:  # most windows have no block that is cut
                self._seen_by_code = text
                self._code.see(text, self._base)
            return self._code.boundaries(text, low, high) if below is None or below > kind.outermost else []
        first = max(begin, 0)
        if self._piece[0] != first or not self._piece[1]:
            self._piece = (first, text[first : min(end, len(text))])
            kind.see(self._piece[1], first + self._base)
        if below is not None and below <= kind.outermost:
            return []
        if below is not None and isinstance(kind, _Objects | log.Log):
            found = kind.last(self._piece[1], low - first, high - first)
        else:
            found = kind.boundaries(self._piece[1], low - first, high - first)
        return [(place + first, level, whole) for place, level, whole in found]

    def has_records(self, text: str, block: tuple[int, int]) -> bool:
        """Whether it is no code."""
        return self._kind(text, *block) is not self._code

    def _kind(self, text: str, begin: int, end: int) -> Kind:
        known = self._kinds.get(begin + self._base)
        if known is None:
            known = self._kinds[begin + self._base] = self._new(text, max(begin, 0), end)
        return known

    def _new(self, text: str, begin: int, end: int) -> Kind:
        body = text.find("\n", begin) + 1
        if text[begin:body].strip(" \t\r\n`~").lower() not in _TAGS:
            return self._code
        stop = text.rfind("\n", body, min(end - 1, body + _SAMPLE))  # without the mark that closes it
        sample = Sample(text[body:stop])
        lines = sample.lines
        if lines and sum(line[0] in "{[" and line[-1] in "}]" for line in lines) > _LINES * len(lines):
            return _Objects(self._target)
        return next((make(self._target) for looks, make in _KINDS if looks(sample) >= _SURE), self._code)
