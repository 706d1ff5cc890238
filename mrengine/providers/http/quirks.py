"""What an endpoint takes of a request, and what it has refused: decided here, from its words, without any I/O.

Servers that speak one shape differ in its parameters, and a model that is not known by its name cannot be asked. So the
parameter that a refusal names is left out, or said otherwise, from then on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mrengine.records import Request

__all__ = ["Quirks", "learned"]

_REFUSALS = frozenset({400, 422})
_SCHEMA = re.compile(r"response_?format|json_?schema|input_schema|tool|structured output|grammar", re.IGNORECASE)
_TEMPERATURE = re.compile(r"temperature", re.IGNORECASE)
_MAX_TOKENS = re.compile(r"max_(?:completion_)?tokens")
_UNKNOWN = re.compile(
    r"not .{0,12}(?:support|permit|allow|recogni)|unsupported|unrecogni|unknown|deprecated|only the default|instead",
    re.IGNORECASE,
)
_HEAD = 2000  # bytes of a refusal that are looked at


@dataclass(frozen=True, slots=True)
class Quirks:
    """``native_schema`` False: schemas are told in words. ``completion_tokens``: the name of the answer's limit is
    ``max_completion_tokens``; None: by the model's name.
    """

    native_schema: bool = True
    temperature: bool = True
    completion_tokens: bool | None = None


def learned(dialect: Quirks, request: Request, sent: bytes, status: int, refusal: bytes) -> Quirks | None:
    """The dialect to try after a refusal; None: another would not help. Each step is taken once, so trying ends.

    ``sent`` and ``refusal``: the bodies. What a refusal repeats of a prompt counts for nothing: it is looked at only
    for the parameters that were sent, and the dialect must not be kept unless the next answer is none.
    """
    if status not in _REFUSALS:
        return None
    words = refusal[:_HEAD].decode("utf-8", "replace")
    unknown = _UNKNOWN.search(words) is not None
    if request.temperature is not None and dialect.temperature and unknown and _TEMPERATURE.search(words):
        return replace(dialect, temperature=False)
    if dialect.completion_tokens is None and unknown and _MAX_TOKENS.search(words):
        return replace(dialect, completion_tokens=b'"max_completion_tokens":' not in sent)
    if request.schema is not None and dialect.native_schema and _SCHEMA.search(words):
        return replace(dialect, native_schema=False)
    return None
