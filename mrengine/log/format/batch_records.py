"""The records of batches: REQUEST, a call that a parked task needs, and BATCH, the state of a batch of such calls.

Every ``unpack_x`` raises LogError(reason="damaged") and nothing else. The layout is in docs/log-format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mrengine.log.format.packing import array, bad_record, head, pack, task
from mrengine.log.format.task_records import DIGEST_BYTES, TaskRecord, capped
from mrengine.log.format.values import Plain

__all__ = [
    "BatchRecord",
    "RequestRecord",
    "pack_batch",
    "pack_request",
    "unpack_batch",
    "unpack_request",
]

_REQUEST = struct.Struct(">BB16sBdBQBQBQ")
_NONE, _STR, _INT, _NUMBER = type(None), {str}, {int}, {int, float}
_CACHED = {str, _NONE}, _INT, _STR, _INT, {bytes}
_REQUEST_TYPES = (
    {bytes}, _NUMBER, _INT, _INT, _INT, _STR, _STR, {str, _NONE}, {int, float, _NONE}, {dict, _NONE}, {list}, *_CACHED
)  # fmt: skip
_BATCH_TYPES = _INT, _NUMBER, _STR, _STR, _STR, _STR, {bytes}, {dict}


@dataclass(frozen=True, slots=True)
class RequestRecord(TaskRecord):
    """A call that a parked task needs, in no vendor's form. ``digest``: 16 bytes, of the turn.

    ``bound_tokens``: an upper bound of its input tokens. ``cache`` and ``prefix``: as in a Request. ``prefix_digest``
    and ``prefix_tokens``: of the part that may be cached; "" and 0 if none may. ``owner``: who may share the answer
    with other jobs.
    """

    # The whole question stands here: the host sends it in a batch, perhaps in a later process, without its task.

    digest: bytes
    at: float
    input_tokens: int
    bound_tokens: int
    max_tokens: int
    model: str
    prompt: str = field(repr=False)
    system: str | None = field(default=None, repr=False)
    temperature: float | None = None
    schema: Mapping[str, Plain] | None = field(default=None, repr=False)
    turns: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cache: str | None = None
    prefix: int = 0
    prefix_digest: str = ""
    prefix_tokens: int = 0
    owner: bytes = b""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The state of a batch. ``number``: 1, 2, … within the job; the newest record of a number counts.

    ``state``: "intent", "submitted", "cancelling", "ended", "failed" or "lost". ``token``: what its metadata at the
    provider hold; ``name``: the provider's id, "" while it is unknown. ``digests``: in an intent, those of its
    requests, joined. ``facts``: plain values for readers, such as counts.
    """

    # An intent is durable before anything is sent: by its token a batch is found whose creation was never answered.

    number: int
    at: float
    state: str
    model: str
    token: str
    name: str = ""
    digests: bytes = field(default=b"", repr=False)
    facts: Mapping[str, Plain] = field(default_factory=dict)


def pack_request(record: RequestRecord) -> bytes:
    """The payload of a REQUEST. Unstorable: the prompt is above the cap."""
    r = record
    tokens = 0xCF, r.input_tokens, 0xCF, r.bound_tokens, 0xCF, r.max_tokens
    fixed = _REQUEST.pack(0xC4, DIGEST_BYTES, r.digest, 0xCB, r.at, *tokens)
    schema = None if r.schema is None else dict(r.schema)
    rest = (r.model, r.prompt, r.system, r.temperature, schema, [list(turn) for turn in r.turns])
    cached = (r.cache, r.prefix, r.prefix_digest, r.prefix_tokens, r.owner)
    payload = head(19, r.round, r.chunk_id, r.model_index) + fixed + b"".join(map(pack, (*rest, *cached)))
    return capped(payload, "the request of a batch")


def unpack_request(payload: bytes) -> RequestRecord:
    """Unpack a REQUEST."""
    values = task(payload, _REQUEST_TYPES, "REQUEST")
    digest, turns = values[3], values[13]
    if len(digest) != DIGEST_BYTES or not all(map(_is_turn, turns)):
        raise bad_record("REQUEST")
    values[13] = tuple((role, text) for role, text in turns)
    return RequestRecord(*values)


def _is_turn(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)


def pack_batch(record: BatchRecord) -> bytes:
    """The payload of a BATCH."""
    r = record
    return pack([r.number, r.at, r.state, r.model, r.token, r.name, r.digests, dict(r.facts)])


def unpack_batch(payload: bytes) -> BatchRecord:
    """Unpack a BATCH."""
    values = array(payload, _BATCH_TYPES, "BATCH")
    if len(values[6]) % DIGEST_BYTES:
        raise bad_record("BATCH")
    return BatchRecord(*values)
