"""What the BatchCoordinator works with: the log, as a protocol, and the clients of the models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from mrengine.host.batch_answers import Reader
from mrengine.log.format import codec
from mrengine.log.format.batch_records import BatchRecord, pack_batch
from mrengine.log.shared_answers import SharedAnswers
from mrengine.log.view.job_view import ResumeEngine
from mrengine.providers.batches.client import BatchClient, connect_batches
from mrengine.providers.models.model import Model

__all__ = ["BatchLog", "Clients", "job_digest", "note", "write"]


class BatchLog(Protocol):
    """The log as the coordinator of batches needs it. Any method may raise SupervisorDied: the log's writer is gone."""

    @property
    def view(self) -> ResumeEngine:
        """The log, as far as it is durable."""

    def append(self, kind: int, payload: bytes) -> None:
        """Append a record."""

    def sync(self) -> None:
        """Make durable what was appended, and read it into ``view``."""

    def pause(self, seconds: float) -> None:
        """Wait for so long, or until the run is to stop."""

    def stopped(self) -> str | None:
        """Why the run is to stop; None: it goes on."""

    def emit(self, name: str, **fields: Any) -> None:
        """Announce an event."""


def job_digest(place: BatchLog, job_id: str, model: str) -> str:
    """The mark of a job's owner in the metadata and file names of its batches."""
    # With the log's salt: another job of that name, of the same account, must not adopt these batches.
    salt = place.view.reader.header.salt
    return blake2b(b"\0".join((job_id.encode(), salt, model.encode())), digest_size=16).hexdigest()


def write(place: BatchLog, record: BatchRecord) -> None:
    """Make a record of a batch durable."""
    place.append(codec.BATCH, pack_batch(record))
    place.sync()


def note(place: BatchLog, record: BatchRecord, state: str, facts: Mapping[str, Any] | None = None) -> None:
    """Record that a batch is in another state; without its digests, which its first record holds."""
    facts = record.facts if facts is None else facts
    write(place, replace(record, at=time.time(), state=state, digests=b"", facts=facts))


class Clients:
    """The models of a job by name, with their fallbacks, and the clients of those that were used so far."""

    def __init__(self, models: Sequence[Model], folder: Path, answers: Sequence[str] | None = None) -> None:
        """``answers``: the file that jobs share, and what tells this run from others."""
        self._shared = None if answers is None else SharedAnswers(*answers)
        own = [one for model in models for one in (model, *model.fallbacks)]
        self.models: dict[str, Model] = {model.name: model for model in own}
        self._folder = str(folder)
        self._clients: dict[str, BatchClient] = {}
        self._readers: dict[str, Reader] = {}

    def client(self, name: str) -> BatchClient:
        """The client for a model's batches, connected at its first use."""
        if name not in self._clients:
            self._clients[name] = connect_batches(self.models[name], self._folder)
        return self._clients[name]

    def reader(self, name: str) -> Reader:
        """The reader of a model's answers, made at its first use."""
        if name not in self._readers:  # one for all its batches: a reader learns what its endpoint refuses
            self._readers[name] = Reader(self.models[name], self._shared)
        return self._readers[name]

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
        for reader in self._readers.values():
            reader.close()
        if self._shared is not None:
            self._shared.close()
