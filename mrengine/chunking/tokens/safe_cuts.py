r"""Safe cuts: places where the token counts of both sides add up exactly, whatever the surrounding text.

tiktoken's encodings split a text by a regular expression and merge bytes only inside the pieces. Where that expression
must split in any case, tokens(left) + tokens(right) = tokens(left + right). For o200k_base and cl100k_base (and
o200k_harmony, which has o200k's expression) such places are:

1. after the last newline of a run of Unicode White_Space that goes on to something else, unless ``/`` follows
   (o200k's ``[\r\n/]*`` swallows it);
2. before a space or tab that follows a character which is not whitespace;
3. after an ASCII letter or digit, or a CJK ideograph or kana, and before ASCII punctuation other than ``'`` or before
   CJK punctuation;
4. between an ASCII letter and a digit, either way.

For older encodings only rules 2 to 4 hold. ``tests/chunking/tokens/test_safe_cuts.py`` fuzzes them.
"""

from __future__ import annotations

import re

__all__ = ["SafeCuts", "safe_cuts"]

# Unicode White_Space, as tiktoken's \s has it. Python's \s has U+001C..U+001F, too.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_BLANK = "\t\x0b\x0c \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_PUNCTUATION = r"!-&(-/:-@\[-`{-~"
_CJK = "\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5"
_CJK_PUNCTUATION = "\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f\u300c-\u300f\u201c\u201d\uff08\uff09"

_AFTER_NEWLINE = f"(?<=[\r\n])(?=[{_BLANK}]*[^{_SPACE}])(?!/)"
_BEFORE_BLANK = f"(?<=[^{_SPACE}])(?=[ \t])"
_BEFORE_MARK = f"(?<=[0-9A-Za-z{_CJK}])(?=[{_PUNCTUATION}{_CJK_PUNCTUATION}])"
_LETTER_DIGIT = "(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])"

_MODERN = re.compile("|".join((_AFTER_NEWLINE, _BEFORE_BLANK, _BEFORE_MARK, _LETTER_DIGIT)))
_OLD = re.compile("|".join((_BEFORE_BLANK, _BEFORE_MARK, _LETTER_DIGIT)))

# Part of rules 2 and 3. It begins with a character set, to which the re module skips three times as fast.
_NEAR = re.compile(rf"[0-9A-Za-z](?=[{_PUNCTUATION} \t])").search
# No safe cut is without one of these beside it: long runs of a mark are passed over thirty times as fast.
_BESIDE = re.compile(f"[\n 0-9A-Za-z{_SPACE}{_CJK}]").search


class SafeCuts:
    """Finds safe cuts near an offset."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._search = pattern.search
        self._match = pattern.match
        self._finditer = pattern.finditer

    def first(self, text: str, low: int, high: int) -> int | None:
        """One of the first safe cuts in ``low..high``, or None. Offsets are characters."""
        near = _NEAR(text, low, min(low + 16, high + 1))
        if near:
            return near.end()
        # The pattern looks at the character after the cut and past blanks, so it needs some more text.
        match = self._search(text, low, high + 64)
        return match.start() if match and match.start() <= high else None

    def last(self, text: str, low: int, high: int) -> int | None:
        """The last cut in ``low..high`` that is safe for a left side that ends at ``high``, or None.

        The rule must not look past ``high``: what follows belongs to the other side.
        """
        if self._match(text, high, high + 64):
            return high
        for place in range(high - 1, max(low, high - 8) - 1, -1):  # most are very near: four times as fast
            if self._match(text, place, high):
                return place
        step = 64
        while True:
            begin = max(low, high - step)
            found = None
            if step == 64 or _BESIDE(text, max(begin - 1, 0), high + 1):
                for match in self._finditer(text, begin, high):
                    found = match
            if found is not None:
                return found.start()
            if begin == low:
                return None
            step *= 8


def safe_cuts(encoding: str) -> SafeCuts:
    """The safe cuts of an encoding."""
    return SafeCuts(_MODERN if encoding in ("o200k_base", "o200k_harmony", "cl100k_base") else _OLD)
