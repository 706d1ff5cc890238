"""The work that every program does, and how it speaks to the benchmark that started it. No import of mrengine here:
a peer may run under an interpreter of its own."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limiter", "Work", "announce", "answer_to", "finish", "number_of", "prompt"]

OUTPUT = 20  # tokens that an answer may have
_lock = threading.Lock()


@dataclass(frozen=True)
class Work:
    """``rpm``: the provider's limit, which a tool is told if it can be; None: there is none."""

    url: str
    state: Path
    calls: int
    in_flight: int
    rpm: int | None
    timeout_s: float
    padding: int = 0
    tpm: int | None = None  # a limit of tokens, likewise

    @property
    def prompts(self) -> list[str]:
        return [prompt(number, self.padding) for number in range(self.calls)]


def prompt(number: int, padding: int = 0) -> str:
    return f"Question {number}: how is the patient?" + " The patient was seen on the ward and is well." * padding


def number_of(text: str) -> int:
    """Which question a text holds."""
    return int(text.partition("Question ")[2].partition(":")[0])


def answer_to(question: str) -> str:
    """What the model says: the only right answer. Some tools first ask something of their own."""
    if "Question " not in question:
        return "ok"
    return f"Answer {number_of(question)} is well."


def announce(number: int) -> None:
    """The tool has told its user that the answer is there."""
    with _lock:
        sys.stdout.write(f"done {number}\n")
        sys.stdout.flush()


def finish(answers: Mapping[int, str | None]) -> None:
    """The end of the program: all answers that it has."""
    print(json.dumps({str(number): text for number, text in answers.items() if text is not None}), flush=True)


class Limiter:
    """Requests or tokens a minute for threads of one process: starts full, refills evenly. What one writes by hand."""

    def __init__(self, per_minute: int | None) -> None:
        self._limit, self._level, self._at = per_minute, float(per_minute or 0), time.monotonic()
        self._mutex = threading.Lock()

    def wait(self, amount: float = 1) -> None:
        """Until a request of this amount may go."""
        if self._limit is None:
            return
        with self._mutex:
            now = time.monotonic()
            self._level = min(self._limit, self._level + (now - self._at) * self._limit / 60) - amount
            self._at = now
            pause = max(0.0, -self._level * 60 / self._limit)
        time.sleep(pause)
