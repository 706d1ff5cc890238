"""Owns source code: functions with what stands above them, blocks, lines.

Nothing is known of any language but what indentation says: a block is a line and all lines after it that are indented
deeper; lines that only close one (``}``, ``else:``) belong to what they close.
"""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import RECORD, WHOLE, Boundary, Stateless, opening
from mrengine.chunking.sample import Sample

__all__ = ["Code", "looks"]

_BEGIN = re.compile(r"\n([ \t]*)(?![\s)}\]]|(?:else|elif|except|finally|catch|end|endif|endfunction|done|fi|esac)\b)")
# What stands right above a function or type belongs to it.
_ABOVE = r"[ \t]*(?:@\w|#\[|#(?!\w+\b)|//|/\*|\*|--|;|%|\[\w|template\s*<)"
_ABOVE_LINE = re.compile(_ABOVE)
_DEEPEST = 90


class Code(Stateless):
    """The units of source code are its lines by indentation."""

    name = "code"
    opens = opening(_ABOVE)

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Lines by indentation; those right below a comment, decorator or attribute are none."""
        found: list[Boundary] = []
        tabs = text.find("\t", max(low, 0), high) >= 0
        for match in _BEGIN.finditer(text, max(low, 0), high + 100):
            begin = match.start() + 1
            if begin > high:
                break
            indent = match.group(1)
            width = len(indent) + 3 * indent.count("\t") if tabs else len(indent)
            found.append((begin, RECORD + 2 * min(width, _DEEPEST) + (text[begin - 2 : begin - 1] != "\n"), WHOLE))
        return found


# At the left margin these are code, whatever the rest is.
_SURELY_CODE = re.compile(
    r"import [\w.]+|from \S+ import |(?:async )?def \w+\(|class \w+.*[:{]$|#include|package [\w.]+;?$|using [\w.:]+;"
    r"|func \w+|(?:pub )?fn \w+|(?:export )?(?:async )?function\*? \w+|(?:export )?(?:const|let|var) \w+ ?="
)
_CODE = re.compile(
    r".*[;{}]$|/\*|//|\*/|(?:def|class|async def|for|while|if|elif|else|try|except|with)\b.*:$"
    r"|(?:return|raise|yield|self\.|this\.|const|let|var|public|private|protected|static|end)\b|#!/|@\w|[)\]}]+,?$"
    r"|[A-Za-z_][\w.\[\]]*(?:\(.*\)$|[ \t]*[+\-*/|&:]?=[ \t]*\S)"
)


def looks(sample: Sample) -> float:
    """How much a text looks like source code."""
    lines = sample.unfenced
    if not lines:
        return 0.0
    surely = sum(1 for line in lines if _SURELY_CODE.match(line))
    if lines[0].startswith("#!/") or surely > 1:
        return 0.8
    code = sum(1 for line in lines if _CODE.match(line.lstrip()))
    return 0.7 if code >= 3 and code > 0.3 * len(lines) else 0.0
