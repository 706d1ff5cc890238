"""What an endpoint takes of a request, and what it has refused: decided here, from its words, without any I/O.

Servers that speak one shape differ in its parameters, and a model that is not known by its name cannot be asked. So the
parameter that a refusal names is left out, or said otherwise, from then on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mrengine.records import Request

__all__ = ["Quirks", "adapted", "learned"]

_REFUSALS = frozenset({400, 422})
_TEMPLATE = _REFUSALS | {500}  # a chat template that raises is a 500 of some servers
_SCHEMA = re.compile(r"response_?format|json_?schema|input_schema|tool|structured output|grammar", re.IGNORECASE)
# Said of the schema alone, with whatever status: llama.cpp and Google fail to convert it with a 500.
_BAD_SCHEMA = re.compile(
    r"response_?(?:format|schema|json_?schema)|json_?[ ]?schema|input_schema|output_config"
    r"|(?:parse|invalid) grammar|schema (?:conversion|produces|is too|has too|nesting)|too many states",
    re.IGNORECASE,
)
_STREAM_ONLY = re.compile(
    r"(?:only|must|please|enable|require)[^.]{0,60}\bstream|\bstream[^.]{0,40}(?:must|required|only|true)"
    r"|non-?stream[^.]{0,60}not",
    re.IGNORECASE,
)
_TEMPERATURE = re.compile(r"temperature", re.IGNORECASE)
_MAX_TOKENS = re.compile(r"max_(?:completion_)?tokens")
_SYSTEM = re.compile(
    r"\b(?:system|developer)\b.{0,40}\b(?:not|isn't|doesn't|unsupported|unexpected|invalid|disabled)\b"
    r"|(?:not|n't|unsupported|unexpected|unknown|invalid)\b.{0,40}\b(?:system|developer)\b.{0,4}(?:role|prompt|message|instruction|$)"
    r"|(?:unsupported|unexpected|unknown|invalid) role.{0,6}\b(?:system|developer)\b"
    r"|only user,? (?:and|or|assistant)|roles must (?:be|alternate)|first message must be (?:from )?(?:the |a )?user",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    r"not .{0,12}(?:support|permit|allow|recogni)|unsupported|unrecogni|unknown|deprecated|only the default|instead"
    r"|only \S{1,12} (?:is|are) (?:allowed|supported|accepted|valid)|may only be|can only be|only supports? "
    r"|must be (?:set to |equal to |exactly )?(?:1|1\.0|one|the default)\b|is fixed"
    r"|cannot be (?:set|changed|specified)",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"\berror code:? (4\d\d)\b", re.IGNORECASE)  # a gateway's 500 for its vendor's refusal
_HEAD = 2000  # bytes of a refusal that are looked at


@dataclass(frozen=True, slots=True)
class Quirks:
    """``native_schema`` False: schemas go into the prompt as text. ``completion_tokens``: the answer's limit is named
    ``max_completion_tokens``; None: by the model's name. ``stream``: the endpoint does nothing but stream. ``system``
    False: what would be said in that role opens the prompt.
    """

    native_schema: bool = True
    temperature: bool = True
    completion_tokens: bool | None = None
    stream: bool = False
    system: bool = True


def adapted(request: Request, quirks: Quirks) -> Request:
    """The request as an endpoint takes it, whatever its shape."""
    if request.system is None or quirks.system:
        return request
    prefix = request.prefix + len(request.system) + 2
    return replace(request, system=None, prompt=f"{request.system}\n\n{request.prompt}", prefix=prefix)


def learned(quirks: Quirks, request: Request, sent: bytes, status: int, refusal: bytes) -> Quirks | None:
    """The quirks to try after a refusal; None: another would not help. Each step is taken once, so trying ends.

    ``sent`` and ``refusal``: the bodies. What a refusal repeats of a prompt counts for nothing: it is looked at only
    for the parameters that were sent, and the quirks must not be kept unless the next answer is none.
    """
    words = refusal[:_HEAD].decode("utf-8", "replace")
    if status >= 500 and (wrapped := _WRAPPED.search(words)) is not None:
        status = int(wrapped[1])
    if request.system is not None and quirks.system and status in _TEMPLATE and _SYSTEM.search(words):
        return replace(quirks, system=False)
    if status in (400, 422, 500) and request.schema is not None and quirks.native_schema and _BAD_SCHEMA.search(words):
        return replace(quirks, native_schema=False)
    if status not in _REFUSALS:
        return None
    if not quirks.stream and _STREAM_ONLY.search(words):
        return replace(quirks, stream=True)
    unknown = _UNKNOWN.search(words) is not None
    if request.temperature is not None and quirks.temperature and unknown and _TEMPERATURE.search(words):
        return replace(quirks, temperature=False)
    if quirks.completion_tokens is None and unknown and _MAX_TOKENS.search(words):
        return replace(quirks, completion_tokens=b'"max_completion_tokens":' not in sent)
    if request.schema is not None and quirks.native_schema and _SCHEMA.search(words):
        return replace(quirks, native_schema=False)
    return None
