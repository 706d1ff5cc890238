"""Models for summaries: they do what the prompts ask, badly where a test wants that, and obey what is no data."""

from __future__ import annotations

import json
import re
from typing import Any

from mrengine.records import Request

FENCED = re.compile(r"<(data-[0-9a-f]{12})>\n(.*?)\n</\1>", re.DOTALL)
FACT = re.compile(r"[^.。\n]*\bfact\b[^.。\n]*[.。]", re.IGNORECASE)
LINE = re.compile(r'^\[(\d+)\] "?([^\n]*?)"?$', re.MULTILINE)


def outside(request: Request) -> str:
    """All that a model is told that is not data."""
    return FENCED.sub("", f"{request.system or ''}\n{request.prompt}\n{' '.join(t for r, t in request.turns)}")


def data(request: Request) -> str:
    """The last fenced text: the document, or what is to be merged."""
    return str(FENCED.findall(request.prompt)[-1][1])


def claims(sentences: list[str], *more: dict[str, str]) -> str:
    """An answer to a map call."""
    return json.dumps({"claims": [{"text": one.strip(), "quote": one.strip()} for one in sentences] + list(more)})


def faithful(request: Request) -> str:
    """Each sentence with the word "fact" is a claim; a merge names all that it is given."""
    text = data(request)
    if request.schema is not None:
        return claims(FACT.findall(text))
    numbered = LINE.findall(text)
    if numbered:
        return " ".join(f"{said.strip().rstrip('.')} [{number}]." for number, said in numbered)
    return " ".join(one.strip() for one in FACT.findall(text)) or "Nothing."


def lying(request: Request) -> str:
    """Invents quotes, numbers and statements, beside what is true."""
    text = data(request)
    if request.schema is not None:
        return claims(
            FACT.findall(text),
            {"text": "The moon is made of cheese.", "quote": "made of cheese"},
            {
                "text": "A dose of 900 mg was given.",
                "quote": FACT.findall(text)[0].strip() if FACT.search(text) else "",
            },
        )
    numbered = LINE.findall(text)
    told = " ".join(f"{said.strip().rstrip('.')} [{number}]." for number, said in numbered)
    return f"{told} The moon is made of cheese [99]. All were cured. The rest took 777 mg [{numbered[0][0]}, 4711]."


def obedient(request: Request) -> str:
    """Does whatever stands outside of the data."""
    if re.search(r"pwned|ignore (?:all|previous)|system override", outside(request), re.IGNORECASE):
        return claims(["PWNED"]) if request.schema is not None else "PWNED"
    return faithful(request)


def document(n: int, *, words: int = 250) -> str:
    """A text with a planted fact in each of ``n`` sections."""
    filler = "The committee met, talked at length, and went home without a word on it. " * (words // 14)
    return "\n\n".join(
        f"## Section {at}\n\n{filler}\nIt is a fact that hall {at} holds {at * 37 + 11} crates of tea. {filler}"
        for at in range(1, n + 1)
    )


def options(state_dir: Any, **more: Any) -> dict[str, Any]:
    """Settings of a small job."""
    return {"state_dir": state_dir, "strategy": "sequential", "target_tokens": 600, "overlap_tokens": 60, **more}


ASKED: list[Request] = []  # what models of this process were asked: a closure's list would travel as a copy


def note(request: Request) -> None:
    """Keep a request."""
    ASKED.append(request)


def noted() -> list[Request]:
    """What was asked since this was asked last."""
    asked = list(ASKED)
    ASKED.clear()
    return asked
