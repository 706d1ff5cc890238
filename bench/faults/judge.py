"""From what was seen of the runs of one program to the counts of the benchmark. Plain functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.work import answer_to, number_of, prompt

__all__ = ["Run", "asked", "judge", "read_output"]


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a program. ``announced``: what the tool told its user of. ``answers``: None if it gave none at the
    end, because it was killed or never returned.
    """

    announced: frozenset[int]
    answers: Mapping[int, str] | None
    ended: str
    wall_s: float


def read_output(text: str) -> tuple[frozenset[int], dict[int, str] | None]:
    """Announcements and final answers; a last line that was cut off counts for nothing."""
    announced, answers = set(), None
    for line in text.splitlines(keepends=True):
        if line.startswith("done ") and line.endswith("\n"):
            announced.add(int(line[5:]))
        elif line.startswith("{") and line.endswith("}\n"):
            answers = {int(number): str(answer) for number, answer in json.loads(line).items()}
    return frozenset(announced), answers


def asked(requests: Sequence[Mapping[str, Any]]) -> list[int]:
    """The numbers of the questions in requests that a server has kept; others, such as probes, are left out."""
    texts = (json.dumps(request["body"], ensure_ascii=False) for request in requests)
    return [number_of(text) for text in texts if "Question " in text]


def judge(
    runs: Sequence[Run], calls: int, *, bought_twice: int, asked_again: Sequence[int], refused: int, early: int
) -> dict[str, Any]:
    """The counts.

    ``bought_twice``: answers beyond the first to the same request, as the server counts them. ``asked_again``: the
    questions of the last run's requests, where the first was struck. ``lost``: results that the tool had announced and
    that had to be bought again, or are missing at the end. ``missing``: questions without an answer at the end;
    ``wrong``: with an answer that the model never gave.
    """
    last = runs[-1].answers or {}
    right = {number for number, answer in last.items() if number >= 0 and answer == answer_to(prompt(number))}
    announced = frozenset().union(*(run.announced for run in runs))
    before = frozenset().union(*(run.announced for run in runs[:-1])) if len(runs) > 1 else frozenset()
    return {
        "bought_twice": bought_twice,
        "announced": len(before) if len(runs) > 1 else len(announced),
        "lost": len((before & set(asked_again)) | (announced - right)),
        "missing": calls - len(last),
        "wrong": len(last) - len(right),
        "refused": refused,
        "early": early,
        "ended": [run.ended for run in runs],
        "wall_s": [round(run.wall_s, 2) for run in runs],
    }
