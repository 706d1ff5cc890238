"""What a map function raises reaches failures, events, JobFailed and the log without the document's text or a key."""

from __future__ import annotations

import json
import logging
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner, ModelSpec, Retry
from mrengine.errors import BudgetExhausted, JobError, ModelRefused, ModelUnavailable
from mrengine.records import Completion, Request

pytestmark = pytest.mark.usefixtures("state_dir")

TEXT = "Patient Anna Example-Lindholm, MRN 00471199, coughs."
CANARIES = ("lindholm", "00471199", "0471199", "header-canary", "var-canary")


class Quoting:
    """A provider of the user's own that repeats what it was sent."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def complete(self, request: Request) -> Completion:
        error = ModelUnavailable(f"503 for {request.prompt.upper()} {request.system}", model="quoting")
        error.retry_after_s = 0.01
        raise error if request.attempt == 1 else ModelRefused(request.prompt, model="quoting")

    def close(self) -> None: ...


def _unpack(chunk: Any, context: Any) -> None:
    first, second = chunk.text.split(",")[:1]
    raise AssertionError(first + second)


def _number(chunk: Any, context: Any) -> None:
    int(chunk.text[8:44])


def _key(chunk: Any, context: Any) -> None:
    raise KeyError(urllib.parse.quote(chunk.text[8:29].upper()))


def _cause(chunk: Any, context: Any) -> None:
    try:
        _number(chunk, context)
    except ValueError as error:
        raise RuntimeError(f"while {error}") from error


def _again(chunk: Any, context: Any) -> None:
    raise Retry(json.dumps({"text": chunk.text}), after_s=0)


def _spent(chunk: Any, context: Any) -> None:
    raise BudgetExhausted(chunk.text, spent=1, limit=1)


def _named(chunk: Any, context: Any) -> None:
    raise type(chunk.text[13:29].replace("-", ""), (Exception,), {})


def _unstorable(chunk: Any, context: Any) -> Any:
    return {chunk.text: object()}


def _headers(chunk: Any, context: Any) -> None:
    raise ConnectionError("sent {'authorization': 'Bearer header-canary-7', 'x-lab': 'VAR-CANARY-9'}")


def _asks(chunk: Any, context: Any) -> None:
    context.complete("Say of " + chunk.text, system="for Anna Example-Lindholm")


RAISERS = (_unpack, _number, _key, _cause, _again, _spent, _named, _unstorable, _headers)
MODEL = ModelSpec("http://127.0.0.1:9/v1#x", headers={"authorization": "Bearer header-canary-7", "x-lab": "${LAB}"})


def _told(
    map_fn: Callable[[Any, Any], Any], caplog: pytest.LogCaptureFixture, state_dir: Path, **settings: Any
) -> list[str]:
    """All that anybody is told of a run."""
    told: list[str] = []
    runner = MapReduceRunner("job", workers=1, max_attempts=2, backoff_s=0.01, progress=False, **settings)
    runner.on("*", lambda event: told.append(repr(event)))
    with caplog.at_level(logging.DEBUG, "mrengine"), pytest.raises(JobError) as caught:
        runner.run(TEXT, map_fn)
    error = caught.value
    told += [str(error), repr(error), repr(error.summary), *map(repr, error.failures)]
    told += [repr(failure) for failure in Job("job").failures()] + [repr(Job("job").status())]
    told += [f"{record.getMessage()} {record.exc_text}" for record in caplog.records if record.name == "mrengine"]
    return told


def _check(told: list[str]) -> None:
    assert len(told) > 5
    for line in told:
        assert not [canary for canary in CANARIES if canary in urllib.parse.unquote(line).casefold()], line


@pytest.mark.parametrize("map_fn", RAISERS)
def test_an_exception_tells_nothing_of_the_chunk(
    map_fn: Callable[[Any, Any], Any],
    caplog: pytest.LogCaptureFixture,
    state_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor of the headers of the job's models, though none was asked."""
    monkeypatch.setenv("LAB", "var-canary-9")
    _check(_told(map_fn, caplog, state_dir, models=MODEL))


def test_a_provider_that_quotes_what_it_was_sent_is_not_repeated(
    caplog: pytest.LogCaptureFixture, state_dir: Path
) -> None:
    """Neither while its call is made again, nor afterwards."""
    _check(_told(_asks, caplog, state_dir, models=ModelSpec("quoting", provider=Quoting), chunk_timeout_s=2.0))


def _initializer() -> None:
    raise ValueError("header-canary-7 and VAR-CANARY-9")


def test_an_initializer_that_fails_tells_no_header(
    caplog: pytest.LogCaptureFixture, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers do not start; why is told."""
    monkeypatch.setenv("LAB", "var-canary-9")
    told = _told(_number, caplog, state_dir, models=MODEL, initializer=_initializer)
    _check(told)
    assert any("a worker could not start: ValueError: …" in line for line in told)
