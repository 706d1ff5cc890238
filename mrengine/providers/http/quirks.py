"""Learns from an endpoint's refusals which parts of a request it does not take; decides without any I/O.

Servers of one protocol differ in its parameters, and none can be asked which it knows. So a parameter that a refusal
names is left out, or sent in another form, from then on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mrengine.records import Request

__all__ = ["Quirks", "adapted", "learned"]

_REFUSALS = frozenset({400, 422})
_TEMPLATE = _REFUSALS | {500}  # some servers answer 500 when their chat template raises
_SCHEMA = re.compile(r"response_?format|json_?schema|input_schema|tool|structured output|grammar", re.IGNORECASE)
# Words that concern the schema alone: llama.cpp and Google answer 500 when they fail to convert it.
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
_WRAPPED = re.compile(r"\berror code:? (4\d\d)\b", re.IGNORECASE)  # in a gateway's 500 for its vendor's refusal
_HEAD = 2000  # bytes of a refusal that are searched


@dataclass(frozen=True, slots=True)
class Quirks:
    """The parts of a request that an endpoint takes. ``native_schema`` False: schemas go into the prompt as text.

    ``completion_tokens``: the answer's limit is named ``max_completion_tokens``; None: the model's name decides.
    ``stream``: the endpoint only streams. ``system`` False: the system prompt opens the user's.
    """

    native_schema: bool = True
    temperature: bool = True
    completion_tokens: bool | None = None
    stream: bool = False
    system: bool = True


def adapted(request: Request, quirks: Quirks) -> Request:
    """The request as an endpoint takes it, in either protocol."""
    if request.system is None or quirks.system:
        return request
    prefix = request.prefix + len(request.system) + 2
    return replace(request, system=None, prompt=f"{request.system}\n\n{request.prompt}", prefix=prefix)


def learned(quirks: Quirks, request: Request, sent: bytes, status: int, refusal: bytes) -> Quirks | None:
    """The quirks to try after a refusal; None: no others would help. ``sent`` and ``refusal``: the bodies.

    Each step is taken once, so that trying ends. A refusal may repeat the prompt: so only parameters that were sent are
    looked for, and the caller must not keep the quirks unless the next try succeeds.
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
