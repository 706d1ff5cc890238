"""Recognises source code: as many lines of code as of prose, leaving comments and lists aside."""

from __future__ import annotations

import re
from itertools import islice

from mrengine.chunking.sample import GAP, Sample

__all__ = ["MOST", "defines", "is_wordy", "looks", "may_be_code"]

MOST = 0.85  # what a text looks like at most that does not define anything

# Comments say nothing of the rest; those of C and doc strings go over lines.
_COMMENT = re.compile(r"#(?=[\s#!:,.~|-]|$)|//|--|;|%|\*|/\*|\.\.|\"\"\"|rem\b|REM\b|dnl\b")
_BLOCK = re.compile(
    r"/\*.*?(?:\*/|\Z)|\"\"\".*?(?:\"\"\"|\Z)|\x27{3}.*?\x27{3}|<!--.*?-->|^=(?:pod|head\d|over|item).*?(?:^=cut|\Z)",
    re.DOTALL | re.MULTILINE,
)
_ALONE = re.compile(r'[^"]*^[ \t]*"""[ \t]*$', re.MULTILINE)
_WORDS = (
    r"return|raise|yield|assert|self\.|this\.|const|let|var|val|public|private|protected|static|extern|typedef|struct"
    r"|enum|union|namespace|using|template|inline|void|int|char|unsigned|bool|double|float|export|import|package|func"
    r"|fn|sub|local|my|our|use|require|module|include|elif|else|fi|done|esac|then|do|end|endif|begin|set|unset|echo"
    r"|exit|case|switch|break|continue|async|await|function|def|class|interface|impl|pub|msgid|msgstr|msgctxt|macro"
)
_CODE = re.compile(
    r"(?:def|class|for|while|if|elif|else|try|except|finally|with|async def|do|switch|case)\b.*[:({\[\\]$"
    rf"|(?:{_WORDS})(?:[ \t]+[\w$\"'*&<{{(\[:@.\\/-]+){{0,3}}(?:[ \t]*[=({{\[:,].*)?$"
    r"|[\w$][\w.\[\]>:$-]*[ \t]*(?:[+\-*/|&:.?]?=|:=|=>|\+=)[ \t]*\S"
    r"|[\w$][\w.:>$-]*\(.*\)?[,;:{\\]?$|\w+[ \t]*=$"
    r"|\"[^\"]*\"[,:;)]*$|'[^']*'[,:;)]*$|\$\w|\[[^\]]+\]$|@\w|#(?:include|define|if|endif|else|pragma|import)"
)
# The same, also where it might be prose.
_STRONG = re.compile(r"(?:from\s+\S+\s+)?import\s+\S|(?:async )?def\s+\w+\(|#include|[\w.]+\s*[-+]?=\s")
_SURE = re.compile(
    r"(?:from\s+\S+\s+)?import\s+\S|(?:async )?def\s+\w+\(|class\s+\w+.*[:{]$|#include|package [\w.]+;?$|using [\w.]+;"
)
_ITEM = re.compile(r"[-*+>•]\s|[(\[]?(?:\d+|[ivxlc]+|[a-z])[.)\]]\s|\|")
_OPERATOR = re.compile(r"[={}<>\[\]|\\$]")
_KEYWORDS = ("import ", "from ", "return ", "def ", "class ", "public ", "private ", "static ", "const ", "#include")
# What stands at the left margin of Python and of C; in Markdown it stands in fences, in other texts it is indented.
_DEFINITION = re.compile(
    r"\n(?=[cdif#_])(?:class \w+[^\n]*[:{]|(?:async )?def \w+\(.*|import \w[\w., ]*|from [\w.]+ import .*"
    r"|if __name__ ==.*|__\w+__ = .*|#[ \t]*(?:include [<\"]|define \w|ifndef \w|ifdef \w|if \w|endif).*)$",
    re.MULTILINE,
)
_FENCE = re.compile("\n {0,3}(?:```|~~~(?!~))")
_WORDY = 4  # blanks between the words of a line of prose


def defines(sample: Sample) -> bool:
    """Whether a text surely is source code: then it does not matter what its comments and doc strings look like."""
    return not sample.head.startswith("#!") and _defines(sample.text) and not _is_fenced(sample.text)


def looks(sample: Sample) -> float:
    """How much a text looks like source code by its lines: 0 to ``MOST``."""
    if sample.head.startswith("#!"):
        return MOST
    first, *parts = "\n".join(sample.outer).split(GAP)
    text = _uncommented(first) + "".join(map(_uncommented, map(_outside, parts)))
    code = prose = comments = items = code_outside = prose_outside = strong = 0  # outside: not indented
    for row in text.split("\n"):
        body = row.strip()
        if not body:
            continue
        wordy = body[0] != "#" and is_wordy(body)
        if not body.strip("-+="):
            continue  # the rule of a table
        if _COMMENT.match(body):
            comments += 1
        elif not wordy and _is_code(body):
            code += 1
            code_outside += row[0] not in " \t"
            strong += row[0] == body[0] and _SURE.match(body) is not None
        elif _ITEM.match(body):
            items += 1
        elif wordy:
            prose += 1
            prose_outside += row[0] not in " \t"
    if not code:
        return 0.5 if comments > 4 and not prose else 0.0
    if items > 8 * code:
        return 0.0  # a list or a table
    strong *= not sample.fences
    return _judged(code, prose, alone=prose_outside > 0 and not code_outside, strong=strong)


def _judged(code: int, prose: int, *, alone: bool, strong: int) -> float:
    """How sure so many lines make it. ``alone``: only prose stands at the left margin."""
    if prose and (code < 3 or alone):
        return 0.0  # prose with examples
    if strong > 1 and code >= 2 * prose:
        return 0.84  # what its doc strings look like does not matter
    return 0.8 if code >= 1.2 * prose else 0.6 if code >= 0.8 * prose else 0.0


def _is_fenced(text: str) -> bool:
    return ("```" in text or "~~~" in text) and _FENCE.search(text) is not None


def _defines(text: str) -> bool:
    """Whether more than one definition, import or directive stands at the left margin."""
    return len(list(islice(_DEFINITION.finditer(text), 2))) > 1


def is_wordy(body: str) -> bool:
    """Whether a line has words enough to be prose, and no mark of code."""
    return body.count(" ") >= _WORDY and not _OPERATOR.search(body) and not body.startswith(_KEYWORDS)


def may_be_code(body: str) -> bool:
    """Whether a line that is all of a text, and that begins with a letter or digit, looks like code."""
    return not is_wordy(body) and _is_code(body)


def _is_code(body: str) -> bool:
    """Whether a line looks like code."""
    first, last = body[0], body[-1]
    if first in ")]}{" or last in "{}\\" or body.endswith(("&&", "||")):
        return True
    if _ITEM.match(body):
        return False
    if last == ";":
        return body.count(" ") < _WORDY or _OPERATOR.search(body) is not None
    return _STRONG.match(body) is not None or _CODE.match(body) is not None


def _outside(text: str) -> str:
    """A part of a text without the doc string in which it begins, as far as that can be told."""
    first = _ALONE.match(text) if text.count('"""') % 2 else None
    return text[first.end() :] if first else text


def _uncommented(text: str) -> str:
    """A part of a text without comments and doc strings."""
    marked = "/*" in text or '"""' in text or "\x27\x27\x27" in text or "<!--" in text or "\n=" in text
    return _BLOCK.sub("", text) if marked else text
