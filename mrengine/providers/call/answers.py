"""Gets whole and valid answers: cut ones are continued, structured ones validated and asked for again.

An answer can be shown while it is written, in pieces, each with its place in the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mrengine.errors import ConfigError, ModelError, TruncatedAnswer
from mrengine.providers.call.structured import checked, in_words, schema_of
from mrengine.providers.call.thoughts import used_up
from mrengine.records import Completion, Request, Usage, fence

__all__ = ["ON_TRUNCATION", "Ask", "ShownAnswer", "answer", "check_call", "is_continuation", "joined"]

MAX_PARTS = 8  # of one answer: a model that never ends would be paid for ever
MAX_REASKS = 2
ON_TRUNCATION = ("error", "allow", "continue")
_CONTINUE = (
    "Your answer was cut off. Continue exactly where it stopped: repeat nothing, explain nothing, and begin with a "
    "space if a new word begins."
)
# The schema is repeated, because a server that ignores response_format has not shown it to the model. The problems are
# fenced as data, because they may hold words of the answer, and so of the document.
_AGAIN = "That is not what was asked for:\n{problems}{schema}"
MIN_REPEAT, MAX_REPEAT = 16, 400  # characters: a shorter repetition may be part of the text

Ask = Callable[[Request], Completion]


def check_call(prompt: Any, system: Any, max_tokens: Any, temperature: Any, on_truncation: Any) -> None:
    """ConfigError for arguments that no model takes, before anything is reserved. Its message shows no text."""
    for name, value in (("prompt", prompt), ("system", "" if system is None else system)):
        if not isinstance(value, str):
            raise ConfigError(f"{name} is a str, not of type {type(value).__name__}", setting=name)
    if type(max_tokens) is not int or max_tokens < 1:
        raise ConfigError(f"max_tokens is a whole number, 1 or more, not {max_tokens!r}", setting="max_tokens")
    number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
    if temperature is not None and not (number and 0 <= temperature < math.inf):
        raise ConfigError(f"temperature is a number, 0 or more, not {temperature!r}", setting="temperature")
    if on_truncation not in ON_TRUNCATION:
        allowed = ", ".join(map(repr, ON_TRUNCATION))
        raise ConfigError(f"on_truncation={on_truncation!r}: it is one of {allowed}", setting="on_truncation")


CACHES = {"auto": "5m", "5m": "5m", "1h": "1h", "off": None, None: None}


def check_cache(cache: Any, prefix: Any = 0) -> str | None:
    """How long a prefix is to be cached, "5m" or "1h"; None: not at all. ConfigError."""
    if cache not in CACHES:
        raise ConfigError(f'cache={cache!r}: it is one of "auto", "1h" and "off"', setting="cache")
    if type(prefix) is not int or prefix < 0:
        raise ConfigError(f"prefix is a number of characters, 0 or more, not {prefix!r}", setting="prefix")
    return CACHES[cache]


def answer(ask: Ask, request: Request, *, response_model: Any = None, on_truncation: str = "error") -> Completion:
    """Get a whole and valid answer. ``ask`` makes one call, with its retries; ``check_call`` has passed.

    ``on_truncation``, for an answer that ``max_tokens`` has cut: "error", "allow" (take it as it is) or "continue"
    (ask the model to go on, and join at most 8 parts). ``response_model``: the validated value becomes
    ``completion.parsed``; an answer that does not fit is sent back at most twice, with its problems. ``usage`` and
    ``latency_ms`` are sums over all calls.

    Raises TruncatedAnswer and InvalidAnswer, whose ``usage`` was paid for, and whatever ``ask`` raises.
    """
    counted = _Counted(ask)
    try:
        if response_model is None:
            return counted.sum(_whole(counted, request, on_truncation))
        if on_truncation == "continue" and (request.schema or {}).get("type", "object") != "object":
            request = _in_words(request)  # natively it would be boxed in an object, and a cut box cannot be opened
        return counted.sum(_valid(counted, request, response_model, on_truncation))
    except ModelError as error:
        error.usage = counted.usage if error.usage is None else counted.usage + error.usage
        raise


def is_continuation(request: Request) -> bool:
    """Whether a request asks a model to continue an answer that was cut."""
    return bool(request.turns) and request.turns[-1] == ("user", _CONTINUE)


class _Counted:
    """``ask``, with the usage and latency of all its calls."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.usage = Usage()
        self._latency_ms = 0.0

    def __call__(self, request: Request) -> Completion:
        completion = self._ask(request)
        self.usage += completion.usage
        self._latency_ms += completion.latency_ms
        return completion

    def sum(self, completion: Completion) -> Completion:
        return replace(completion, usage=self.usage, latency_ms=self._latency_ms)


def _whole(ask: Ask, request: Request, on_truncation: str) -> Completion:
    completion = ask(request)
    text = completion.text
    parts = 1
    if completion.finish_reason == "length" and not text.strip() and completion.usage.reasoning_tokens:
        raise _thought_too_long(request, completion.usage)
    while completion.finish_reason == "length" and on_truncation != "allow":
        if on_truncation == "error" or parts == MAX_PARTS or not completion.text.strip():
            raise _truncated(request, parts)
        turns = (*request.turns, ("assistant", text), ("user", _CONTINUE))
        completion = ask(replace(_in_words(request), turns=turns))
        text = joined(text, completion.text)
        parts += 1
    return completion if parts == 1 else replace(completion, text=text)


def _in_words(request: Request) -> Request:
    """The request with its schema as text: a native one would make each part a whole value, which cannot be joined."""
    if request.schema is None:
        return request
    return replace(request, schema=None, prompt=request.prompt + in_words(request.schema))


def _truncated(request: Request, parts: int) -> TruncatedAnswer:
    where = f" in each of {parts} parts" if parts > 1 else ""
    advice = "raise max_tokens, or pass on_truncation='continue' or 'allow'"
    return TruncatedAnswer(
        f"the answer of {request.model} ended at max_tokens={request.max_tokens}{where}: {advice}", model=request.model
    )


def _thought_too_long(request: Request, usage: Usage) -> TruncatedAnswer:
    """The error whatever ``on_truncation`` says: there is no text to allow or to continue."""
    advice = "raise max_tokens, or ask the model to reason less (params)"
    return TruncatedAnswer(
        f"the answer of {request.model} is empty: {used_up(usage, request.max_tokens)}: {advice}", model=request.model
    )


def joined(text: str, part: str) -> str:
    """Both as one text, without the end of the first that models sometimes repeat when they are asked to go on."""
    for size in range(min(len(text), len(part), MAX_REPEAT), MIN_REPEAT - 1, -1):
        if text.endswith(part[:size]):
            return text + part[size:]
    return text + part


def _valid(ask: Ask, request: Request, response_model: Any, on_truncation: str) -> Completion:
    for attempts in range(1, MAX_REASKS + 2):
        completion = _whole(ask, request, on_truncation)
        result = checked(completion.text, response_model)
        if not result.problems:
            return replace(completion, parsed=result.value)
        if attempts > MAX_REASKS:
            break
        text = completion.text if completion.text.strip() else "(nothing)"  # providers refuse an empty turn
        again = _AGAIN.format(problems=fence(result.explained()), schema=in_words(schema_of(response_model)))
        request = replace(request, turns=(*request.turns, ("assistant", text), ("user", again)))
    invalid = result.failure()
    invalid.model, invalid.attempts = request.model, attempts
    raise invalid


class ShownAnswer:
    """Passes the pieces of an answer on: ``tell(at, text)`` says that the answer reads ``text`` from character ``at``.

    A call that is made again begins at 0. A continuation begins where the answer was cut, without what it repeats.
    """

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        self._tell = tell
        self._before, self._at = "", 0
        self._held: str | None = None

    def begin(self, request: Request) -> None:
        """Note that a request is sent: the pieces that follow answer it."""
        # The last turn asks to go on; the one before it is the answer so far.
        self._before = request.turns[-2][1] if is_continuation(request) else ""
        self._at = len(self._before)
        self._held = "" if self._before else None

    def __call__(self, piece: str) -> None:
        """The next piece of the provider's answer."""
        # A continuation may repeat the end of what was shown. Its start is held back until joined() can tell.
        if self._held is not None:
            self._held += piece
            if len(self._held) < MIN_REPEAT or (self._may_repeat() and len(self._held) < MAX_REPEAT):
                return
            piece, self._held = joined(self._before, self._held)[len(self._before) :], None
        if piece:
            self._tell(self._at, piece)
            self._at += len(piece)

    def _may_repeat(self) -> bool:
        assert self._held is not None
        return self._held[:MIN_REPEAT] in self._before[-MAX_REPEAT:]
