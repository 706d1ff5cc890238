"""Identifies a call and its owner by digests, and finds the answer to it that the log already holds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgpack

from mrengine.errors import LogError, MrengineError
from mrengine.log.file.call_index import CallIndex
from mrengine.log.file.reader import LogReader
from mrengine.log.format import task_records
from mrengine.log.shared_answers import SharedAnswers
from mrengine.records import Completion, Request

if TYPE_CHECKING:
    from mrengine.providers.models.model import Model

__all__ = ["StoredCalls", "call_digest", "completion_of", "owner_of", "shared_digest", "turn_digest"]

CALL_FORMAT = 1  # part of every digest: a change of meaning here makes old answers unknown, never wrong


def call_digest(identity: Any, request: Request, chunk_text: str, nth: int = 0) -> bytes:
    """16 bytes of blake2b over everything an answer depends on, in canonical msgpack.

    ``identity``: the model's provider, name and parameters, without address and keys; a list of two where one model
    stands in for another. ``nth``: how many identical calls this attempt has made before.
    """
    # The chunk's text counts even where the prompt holds it: a prompt that is made without it must not meet another
    # chunk's answer. ``nth``: who asks three times wants three answers, and the same three after a crash.
    schema = None if request.schema is None else _canonical(request.schema)
    parts = [
        CALL_FORMAT,
        _canonical(identity),
        request.prompt,
        request.system,
        request.max_tokens,
        request.temperature,
        schema,
        chunk_text,
        *([nth] if nth else []),
    ]
    return blake2b(msgpack.packb(parts, unicode_errors="surrogatepass"), digest_size=16).digest()


def _canonical(value: Any) -> Any:
    """Mappings as sorted pairs, so that equal values have equal bytes."""
    if isinstance(value, Mapping):
        return [[str(key), _canonical(value[key])] for key in sorted(value, key=str)]
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return value


def completion_of(call: task_records.CallRecord) -> Completion:
    """A stored answer as a completion."""
    return Completion(
        text=call.text,
        usage=call.usage,
        model=call.model,
        finish_reason=call.finish_reason,
        latency_ms=call.latency_ms,
        reused=call.reused,
    )


def turn_digest(digest: bytes, turn: int) -> bytes:
    """The digest of a call's n-th answer, from 0."""
    return digest if turn == 0 else blake2b(digest + turn.to_bytes(4, "big"), digest_size=16).digest()


def shared_digest(digest: bytes, owner: bytes) -> bytes:
    """The digest of an answer that jobs share: over the call, and the owner of its keys and endpoint."""
    return blake2b(digest + owner, digest_size=16).digest()


class StoredCalls:
    """Answers of this run and of earlier ones, found by digest in an index that the supervisor keeps in shared
    memory.
    """

    def __init__(
        self,
        reader: LogReader,
        index: CallIndex | None,
        *,
        run_began: int,
        shared: SharedAnswers | None = None,
        any_chunk: bool = False,
        batches_since: int | None = None,
        began: int | None = None,
    ) -> None:
        """``run_began``: the log's end when this run began. ``shared``: the answers of other jobs. ``any_chunk``: an
        answer of this run may be given to any chunk. In batch mode, ``batches_since`` is the offset in the log at which
        the logical run began, and ``began`` that at which this process took it up.
        """
        self._since, self._began = batches_since, began
        self._reader, self._index, self._run_began = reader, index, run_began
        self._shared, self._any_chunk = shared, any_chunk

    def turns(self, digest: bytes, *, chunk: int, attempt: int, owner: bytes = b"") -> list[task_records.CallRecord]:
        """All answers to a call in the log, in the order in which they were given; if there are none, those that other
        jobs of ``owner`` have left.
        """
        # Each turn has a digest of its own, numbered from 0: the first one that is missing ends the list.
        answers: list[task_records.CallRecord] = []
        while (call := self.find(turn_digest(digest, len(answers)), chunk=chunk, attempt=attempt)) is not None:
            answers.append(call)
        if not answers:
            while (call := self._of_others(turn_digest(digest, len(answers)), owner)) is not None:
                answers.append(call)
        return answers

    def earlier(self, digest: bytes, *, chunk: int, attempt: int) -> int | None:
        """How many answers to a call are older than the current logical run; None: all."""
        count = 0
        while (place := self._find(turn_digest(digest, count), chunk=chunk, attempt=attempt)) is not None:
            if self._since is not None and place[0] >= self._since:
                return count
            count += 1
        return None

    def text(self, offset: int) -> str:
        """The text of a CALL. LogError: it cannot be read."""
        return task_records.unpack_call(self._reader.payload(offset)).text

    def _of_others(self, digest: bytes, owner: bytes) -> task_records.CallRecord | None:
        payload = self._shared.find(shared_digest(digest, owner)) if self._shared is not None and owner else None
        if payload is None:
            return None
        try:
            return task_records.unpack_call(payload)
        except LogError:
            return None

    def share(self, call: task_records.CallRecord, payload: bytes, owner: bytes) -> None:
        """Leave an answer to other jobs."""
        if self._shared is not None and call.reusable and owner:
            self._shared.add(shared_digest(call.digest, owner), call.model, payload)

    def close(self) -> None:
        """Close the file of shared answers."""
        if self._shared is not None:
            self._shared.close()

    def find(self, digest: bytes, *, chunk: int, attempt: int) -> task_records.CallRecord | None:
        """The stored answer that this attempt of a chunk's task may take, or None."""
        stored = self._find(digest, chunk=chunk, attempt=attempt)
        return None if stored is None else stored[1]

    def _find(self, digest: bytes, *, chunk: int, attempt: int) -> tuple[int, task_records.CallRecord] | None:
        try:
            offset = None if self._index is None else self._index.lookup(digest, self._reader)
            if offset is None:
                return None
            call = task_records.unpack_call(self._reader.payload(offset))
        except LogError:  # the call is made again: damage costs a call, not the chunk
            return None
        if self._began is not None and offset >= self._began and call.chunk_id == chunk:
            # A batch has brought it in this run, while the task that asked for it was parked: that is no reuse.
            return offset, replace(call, reused=False)
        # Chunks of one run that ask the same are each asked about: results must not depend on which of them was faster.
        if self._any_chunk or offset < self._run_began or call.chunk_id == chunk or attempt > 1:
            return offset, call
        return None


def owner_of(models: Sequence[Model]) -> bytes:
    """The owner of the models' answers: 16 bytes of a digest over endpoints and keys, which reveals neither.

    The order of keys does not matter; another key, header or address does.
    """
    facts = [[model.kind, model.base_url or "", _keys(model), _headers(model)] for model in models]
    return blake2b(msgpack.packb(facts, unicode_errors="surrogatepass"), digest_size=16).digest()


def _keys(model: Model) -> list[str]:
    from mrengine.providers.models import keys

    values = []
    for lane in (model, *model.lanes):
        with suppress(MrengineError):  # a key that is missing fails the call itself, with a better message
            values.append((lane.key_env and keys.key_in(lane.key_env, os.environ)) or "")
    return sorted(values)


def _headers(model: Model) -> list[list[str]]:
    """The headers as they are sent."""
    # A callable is called anew: answers that were bought with one token are not shared with the token that replaces it.
    headers = model.spec.headers
    if callable(headers):
        try:
            headers = headers()
        except Exception:  # noqa: BLE001  # user code; the call itself will tell
            headers = {"unknown": os.urandom(16).hex()}  # an owner that nobody else is: nothing is shared
    return sorted([str(name).lower(), os.path.expandvars(str(value))] for name, value in (headers or {}).items())
