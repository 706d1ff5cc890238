"""What user code hands over, whatever it is: it costs its own chunk, and nothing else."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, Retry
from mrengine.errors import JobFailed, ModelError, ModelRefused
from mrengine.records import Completion, ModelSpec, RateLimit, Request, Usage

pytestmark = pytest.mark.usefixtures("state_dir")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Odd(ModelError):
    """A provider's own error, with what no log can hold."""

    def __init__(self) -> None:
        super().__init__("odd")
        self.causes = (object(),)  # type: ignore[assignment]


def _nan_in_a_header() -> Exception:
    error = ModelError("busy")
    error.transient, error.retry_after_s = True, float("nan")  # type: ignore[misc]
    return error


def _mutated() -> Exception:
    error = Retry("later", after_s=0)
    error.after_s = "soon"  # type: ignore[assignment]
    return error


RAISED: dict[str, Any] = {
    "a wait as a header tells it": lambda: Retry("later", after_s="0.01"),  # type: ignore[arg-type]
    "a wait that never ends": lambda: Retry("later", after_s=float("inf")),
    "a wait that is no number": lambda: Retry("later", after_s=float("nan")),
    "a wait that is nonsense": lambda: Retry("later", after_s={}),  # type: ignore[arg-type]
    "a wait that was changed": _mutated,
    "a header that is no number": _nan_in_a_header,
    "a lone surrogate": lambda: Retry("\ud800", after_s=0),
    "an error without words": Mute,
    "an error with an object in it": Odd,
    "sys.exit": lambda: SystemExit(3),
}


@pytest.mark.parametrize(
    ("raised", "strategy"),
    [(raised, "parallel") for raised in sorted(RAISED)]
    + [(raised, "sequential") for raised in sorted(RAISED) if raised != "sys.exit"],  # in the host it is the host's
)
def test_whatever_is_raised_costs_its_own_chunk(raised: str, strategy: str) -> None:
    """A failure in the log, the other chunks' results, and nobody waits."""
    make = RAISED[raised]

    def odd(chunk: Any, _context: Any) -> int:
        if chunk.id == 1:
            raise make()
        return 1

    runner = MapReduceRunner(workers=2, models="fake", strategy=strategy, max_attempts=2, backoff_s=0.01)  # type: ignore[arg-type]
    run = runner.run(["a", "b", "c", "d"], odd, timeout_s=60)
    assert [result.chunk_id for result in run.results] == [0, 2, 3]
    assert [failure.chunk_id for failure in run.failures] == [1]
    assert run.failures[0].message


def test_a_wait_that_is_no_number_is_named() -> None:
    """The failure says what Retry takes."""

    def odd(_chunk: Any, _context: Any) -> int:
        raise Retry("later", after_s=-1)

    run = MapReduceRunner(workers=1, models="fake", max_attempts=1).stream(["a"], odd)
    assert any("after_s is a number of seconds" in outcome.message for outcome in run)  # type: ignore[union-attr]


def test_an_initializer_runs_once_in_each_worker(tmp_path: Path) -> None:
    """Over all rounds and runs of a warm pool; a pool and a connection are made once."""
    note = tmp_path / "pids"

    def start() -> None:
        with note.open("a") as file:
            file.write(f"{os.getpid()}\n")

    with MapReduceRunner(workers=2, models="fake", initializer=start) as runner:
        for _ in range(2):
            runner.run(["a", "b", "c"], lambda chunk, context: os.getpid())
    counts = Counter(note.read_text().split())
    assert len(counts) == 2
    assert set(counts.values()) == {1}


def test_an_answer_that_is_none_is_counted_as_it_was_billed() -> None:
    """The usage that came with the refusal stands in the summary."""

    class Filter:
        """A provider whose answer is none, and is billed."""

        def __init__(self, spec: ModelSpec) -> None: ...

        def complete(self, request: Request) -> Completion:
            error = ModelRefused("filtered")
            error.usage = Usage(40, 2)
            raise error

        def close(self) -> None: ...

    def ask(chunk: Any, context: Any) -> str:
        try:
            return str(context.complete(chunk.text))
        except ModelRefused:
            return "filtered"

    run = MapReduceRunner(workers=1, models=ModelSpec("own", provider=Filter)).run(["a", "b"], ask)
    assert run.summary.usage["own"] == Usage(80, 4)


def test_a_provider_that_cannot_be_made_says_so() -> None:
    """With its name and the cause, in each chunk's failure; no slot and no token stays taken."""

    class Bare:
        def complete(self, request: Request) -> Completion: ...

        def close(self) -> None: ...

    limits = {"own": RateLimit(concurrent=1)}
    runner = MapReduceRunner(workers=1, models=ModelSpec("own", provider=Bare), limits=limits)
    with pytest.raises(JobFailed) as caught:
        runner.run(["a", "b"], lambda chunk, context: context.complete("x").text, timeout_s=60)
    assert len(caught.value.failures) == 2
    assert "Bare" in caught.value.failures[1].message
    assert "takes no arguments" in caught.value.failures[1].message
