"""The records of tasks: one dataclass a kind, with ``pack_x(record) -> bytes`` and ``unpack_x(bytes)``.

Workers pack records, and the supervisor appends the bytes as they are. The layout is in docs/log-format.md. Every
``unpack_x`` raises LogError(reason="damaged") and nothing else. ``at`` is in seconds since the epoch, ``model_index``
an index into the job's models, -1: none.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mrengine.log.format.codec import MAX_PAYLOAD_BYTES, RESULT
from mrengine.log.format.packing import HEAD_BYTES, HEAD_TYPES, Types, bad_record, check_types, head, pack, task, unpack
from mrengine.log.format.shapes import Shapes
from mrengine.log.format.values import Plain, Unstorable
from mrengine.records import Usage

__all__ = [
    "CALL_FIELDS", "CONTINUATION", "DIGEST_BYTES", "FIRST", "FROM_INSTANCE", "INTENT_FIELDS", "READ_FACTS",
    "READ_POSITION", "REASK", "TRUE", "AttemptRecord", "CallRecord", "CarryRecord", "FailureRecord", "IntentRecord",
    "ResultRecord", "TaskRecord", "capped", "check_outcome", "digest_in", "is_reusable", "pack_attempt",
    "pack_call", "pack_carry", "pack_failure", "pack_intent", "pack_result", "pack_result_values", "result_flags",
    "unpack_attempt", "unpack_call", "unpack_carry", "unpack_failure", "unpack_intent", "unpack_result",
]  # fmt: skip

# What a CALL answers: the prompt; the question after an answer that was refused; a request for the rest of a cut one.
FIRST, REASK, CONTINUATION = 0, 1, 2
# Flags of RESULT: the map function read chunk.id, chunk.start or chunk.end; it read chunk.fields or chunk.pages; the
# result was, or held, a dataclass or pydantic instance, and is valid as it is. After an edit of the documents, a result
# is kept only for a chunk that is the same in what was read.
READ_POSITION = 1
READ_FACTS = 4
FROM_INSTANCE = 2

_NONE, _INT, _STR, _NUMBER = type(None), {int}, {str}, {int, float}
_NAME, _COST = {str, _NONE}, {int, float, _NONE}
# The types of a head, flags, document_id, model, worker_id, attempt, at, duration_ms, usage, cost_usd, calls,
# reused_calls …
_RESULT_TYPES: Types = (
    *HEAD_TYPES, _INT, _STR, _NAME, _INT, _INT, _NUMBER, _NUMBER, {list, _NONE}, _COST, _INT, _INT,
)  # fmt: skip
# … of document_id, model, worker_id, attempts, at, kind, message, traceback, facts.
_FAILURE_TYPES: Types = _STR, _NAME, _INT, _INT, _NUMBER, _STR, _STR, _STR, {dict}
# … of digest, at, input, output and bound tokens, model.
_INTENT_TYPES: Types = {bytes}, _NUMBER, _INT, _INT, _INT, _STR
# … of digest, at, six counts, cost, reusable, estimated, model, finish_reason, latency_ms, text, turn.
_CALL_TYPES: Types = ({bytes}, _NUMBER, *[_INT] * 6, _NUMBER, {bool}, {bool}, _STR, _STR, _NUMBER, _STR, _INT)
_COUNTS = frozenset({int, bool})
_USAGE = tuple(Usage.__dataclass_fields__)  # in the order of the format
_INTENT = struct.Struct(">BB16sBdBQBQBQ")
_CALL = struct.Struct(">BB16sBdBQBQBQBQBQBQBdBB")
# The same fields in a whole payload, without msgpack's tags: a million calls are counted without unpacking them.
INTENT_FIELDS = struct.Struct(">22x2x16sxdxQxQxQ")  # digest, at, input, output, bound tokens
CALL_FIELDS = struct.Struct(">22x2x16sxdxQxQxQxQxQxQxdBB")  # digest, at, six counts, cost, reusable, estimated
DIGEST_BYTES = 16
TRUE, _FALSE = 0xC3, 0xC2  # of msgpack
_DIGEST_AT, _REUSABLE_AT = HEAD_BYTES + 2, CALL_FIELDS.size - 2


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """The task that a record is about."""

    round: int
    chunk_id: int
    model_index: int


@dataclass(frozen=True, slots=True)
class IntentRecord(TaskRecord):
    """A call that is about to be made. ``digest``: 16 bytes, of the call.

    ``input_tokens`` is an estimate, ``bound_tokens`` an upper bound of it; ``output_tokens`` is the limit of the call.
    """

    # Without a CALL behind it, an intent tells that the call may have been billed: it counts as spent.

    digest: bytes
    at: float
    input_tokens: int
    output_tokens: int
    bound_tokens: int
    model: str


@dataclass(frozen=True, slots=True)
class CallRecord(TaskRecord):
    """The outcome of a call. ``reusable``: its text may answer an identical call.

    Calls that failed, or had ``reuse=False``, are not reusable and only settle their intent. ``turn``: ``FIRST``,
    ``REASK`` or ``CONTINUATION``. ``cost_usd``: None if the price is unknown. ``reused``, which is not in the log: the
    answer was found there, and no call was made.
    """

    digest: bytes
    at: float
    usage: Usage
    cost_usd: float | None
    reusable: bool
    model: str
    finish_reason: str
    latency_ms: float
    text: str = field(repr=False)
    turn: int = 0
    reused: bool = True


class ResultRecord(NamedTuple):
    """A finished task. ``result``: a plain value (``values.normalise``). ``flags``: of READ_POSITION, READ_FACTS, …"""

    # A NamedTuple, unlike the others: there is one per chunk, and a frozen dataclass takes four times as long to make.
    round: int
    chunk_id: int
    model_index: int
    flags: int
    document_id: str
    model: str | None
    worker_id: int
    attempt: int
    at: float
    duration_ms: float
    usage: Usage | None
    cost_usd: float | None
    calls: int
    reused_calls: int
    result: Plain

    def __repr__(self) -> str:
        """Omits the result, which may hold text of a document."""
        return f"ResultRecord(round={self.round}, chunk_id={self.chunk_id}, model={self.model!r})"


@dataclass(frozen=True, slots=True)
class FailureRecord(TaskRecord):
    """A task without a result. ``facts``: plain values, such as waits, causes and the models' ``answers``."""

    document_id: str
    model: str | None
    worker_id: int
    attempts: int
    at: float
    kind: str
    message: str
    traceback: str = field(default="", repr=False)
    facts: Mapping[str, Plain] = field(default_factory=dict, repr=False)

    @property
    def answers(self) -> tuple[str, ...]:
        """The models' raw answers of the last attempt."""
        found = self.facts.get("answers")
        return tuple(text for text in found if isinstance(text, str)) if isinstance(found, list) else ()


@dataclass(frozen=True, slots=True)
class AttemptRecord(TaskRecord):
    """An attempt that ended without an outcome. ``kind``: "crash", "hang" or "retry"; ``cause``: one line."""

    at: float
    attempt: int
    kind: str
    cause: str


@dataclass(frozen=True, slots=True)
class CarryRecord(TaskRecord):
    """A task that takes over the result of an earlier epoch. ``offset``: that of the RESULT."""

    offset: int


def digest_in(payload: bytes) -> bytes:
    """The digest of a REQUEST, INTENT or CALL, without unpacking it."""
    return payload[_DIGEST_AT : _DIGEST_AT + DIGEST_BYTES]


def is_reusable(payload: bytes) -> bool:
    """Whether a CALL may answer an identical call, without unpacking it."""
    return payload[_REUSABLE_AT] == TRUE


def pack_intent(record: IntentRecord) -> bytes:
    """The payload of an INTENT."""
    r = record
    tokens = 0xCF, r.input_tokens, 0xCF, r.output_tokens, 0xCF, r.bound_tokens
    fixed = _INTENT.pack(0xC4, DIGEST_BYTES, r.digest, 0xCB, r.at, *tokens)
    return head(9, r.round, r.chunk_id, r.model_index) + fixed + pack(r.model)


def unpack_intent(payload: bytes) -> IntentRecord:
    """Unpack an INTENT."""
    return IntentRecord(*task(payload, _INTENT_TYPES, "INTENT"))


def pack_call(record: CallRecord) -> bytes:
    """The payload of a CALL. Unstorable: the text is above the cap."""
    r, u = record, record.usage
    cost = math.nan if r.cost_usd is None else r.cost_usd
    counts = [u.input_tokens, u.output_tokens, u.cached_tokens]
    counts += [u.cache_write_tokens, u.reasoning_tokens, u.cache_write_1h_tokens]
    tokens = (part for count in counts for part in (0xCF, count))
    flags = (TRUE if flag else _FALSE for flag in (r.reusable, u.estimated))
    fixed = _CALL.pack(0xC4, DIGEST_BYTES, r.digest, 0xCB, r.at, *tokens, 0xCB, cost, *flags)
    rest = b"".join(map(pack, (r.model, r.finish_reason, r.latency_ms, r.text, r.turn)))
    return capped(head(19, r.round, r.chunk_id, r.model_index) + fixed + rest, "the answer of a call")


def unpack_call(payload: bytes) -> CallRecord:
    """Unpack a CALL."""
    v = task(payload, _CALL_TYPES, "CALL")
    usage, cost = Usage(*[*v[5:11], v[13]]), None if math.isnan(v[11]) else v[11]
    fields = [*v[:5], usage, cost, v[12], *v[14:]]
    return CallRecord(*fields)


def pack_result(record: ResultRecord) -> bytes:
    """The payload of a RESULT. Unstorable: above the cap of 64 MiB. ValueError: flags beyond 0…127."""
    return pack_result_values(*record[:4], record[4:])


def pack_result_values(round_: int, chunk_id: int, model_index: int, flags: int, values: tuple[Any, ...]) -> bytes:
    """The payload of a RESULT, from ``values``: the fields from ``document_id`` on, in the order of the format."""
    if not 0 <= flags < 128:
        raise ValueError("flags have 7 bits")
    usage = values[6]
    if usage is not None:
        values = (*values[:6], [getattr(usage, name) for name in _USAGE], *values[7:])
    rest = pack(values)[1:]  # without its own header: 11 elements are a fixarray
    return capped(head(15, round_, chunk_id, model_index) + bytes((flags,)) + rest, "result")


def unpack_result(payload: bytes) -> ResultRecord:
    """Unpack a RESULT."""
    known, values = _LAST[0]
    if known is payload:
        _LAST[0] = _NOTHING
    else:
        values = _result_values(payload, is_checked=RESULT_SHAPES.match(payload))
    if values[10] is not None:
        values[10] = Usage(*values[10])
    return ResultRecord._make(values)


def check_outcome(kind: int, payload: bytes) -> None:
    """Check the layout of a RESULT or FAILURE whose CRC is right. LogError: it is malformed."""
    if kind == RESULT:
        if not RESULT_SHAPES.match(payload):
            _LAST[0] = payload, _result_values(payload, is_checked=False)
    else:
        unpack_failure(payload)


RESULT_SHAPES = Shapes()  # of RESULTs
_NOTHING: tuple[bytes | None, list[Any]] = (None, [])
# The last RESULT that was checked, unpacked: whoever follows a log checks a record and then reads it. It is replaced as
# a whole, as other threads may do the same.
_LAST = [_NOTHING]


def _result_values(payload: bytes, *, is_checked: bool) -> list[Any]:
    values = unpack(payload)
    if type(values) is not list or len(values) < 15:
        raise bad_record("RESULT")
    del values[15:]
    if not is_checked:
        check_types(values[:14], _RESULT_TYPES, "RESULT")
        usage = values[10]
        if usage is not None and not (len(usage) == len(_USAGE) and _COUNTS.issuperset(map(type, usage))):
            raise bad_record("RESULT")
        RESULT_SHAPES.learn(payload)
    values[0] &= 0xFFFF
    return values


def result_flags(payload: bytes) -> int:
    """The flags of a RESULT, without unpacking it. LogError: it is too short."""
    if len(payload) <= HEAD_BYTES:
        raise bad_record("RESULT")
    return payload[HEAD_BYTES]


def pack_failure(record: FailureRecord) -> bytes:
    """The payload of a FAILURE."""
    r = record
    values = (r.document_id, r.model, r.worker_id, r.attempts, r.at, r.kind, r.message, r.traceback, dict(r.facts))
    return head(12, r.round, r.chunk_id, r.model_index) + b"".join(map(pack, values))


def unpack_failure(payload: bytes) -> FailureRecord:
    """Unpack a FAILURE."""
    return FailureRecord(*task(payload, _FAILURE_TYPES, "FAILURE"))


def pack_attempt(record: AttemptRecord) -> bytes:
    """The payload of an ATTEMPT."""
    r = record
    return head(7, r.round, r.chunk_id, r.model_index) + b"".join(map(pack, (r.at, r.attempt, r.kind, r.cause)))


def unpack_attempt(payload: bytes) -> AttemptRecord:
    """Unpack an ATTEMPT."""
    return AttemptRecord(*task(payload, (_NUMBER, _INT, _STR, _STR), "ATTEMPT"))


def pack_carry(record: CarryRecord) -> bytes:
    """The payload of a CARRY."""
    return head(4, record.round, record.chunk_id, record.model_index) + pack(record.offset)


def unpack_carry(payload: bytes) -> CarryRecord:
    """Unpack a CARRY."""
    return CarryRecord(*task(payload, (_INT,), "CARRY"))


def capped(payload: bytes, path: str) -> bytes:
    """The same payload. Unstorable: it is above the cap."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Unstorable(path, f"{len(payload):,} bytes; at most {MAX_PAYLOAD_BYTES:,} are stored")
    return payload
