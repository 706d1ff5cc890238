"""Owns the id of a job that is named by its inputs: the same command again resumes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgpack

from mrengine.host.job_identity import MapFunction, chunking_of
from mrengine.providers.models.model import Model
from mrengine.records import Document
from mrengine.settings import Settings
from mrengine.sources import Reading, Unreadable, documents_of

__all__ = ["auto_job_id"]


def auto_job_id(document: Any, settings: Settings, models: Sequence[Model], mapping: MapFunction) -> tuple[Any, str]:
    """The documents, readable once more, and ``auto-`` with 16 hex digits of what the job is made of.

    A prompt is what it says; a function is what it is named by, and not its code: mended, it goes on with its job.
    """
    kept, digests, reading = [], [], Reading(skip=settings.on_source_error == "skip")
    for source in documents_of(document):
        once = hasattr(source.origin, "read")
        digest, pieces, before = blake2b(digest_size=16), [], len(reading.errors)
        for piece in reading.text(source):
            digest.update(piece.encode("utf-8", "surrogatepass"))
            if once:
                pieces.append(piece)
        digests.append([source.id, digest.digest()])
        origin = "".join(pieces) if once else source.origin
        if once and len(reading.errors) > before:
            origin = Unreadable(reading.errors[-1])
        kept.append(Document(source.id, origin))
    reading.check()
    facts = [digests, chunking_of(settings, models).fields(), [model.identity for model in models], _named(mapping)]
    name = blake2b(msgpack.packb(facts, unicode_errors="surrogatepass"), digest_size=8).hexdigest()
    return kept, f"auto-{name}"


def _named(mapping: MapFunction) -> str:
    """ "module:function"; the version, where that is exact (a prompt's) or all that there is (no name to import)."""
    return mapping.source if isinstance(mapping.source, str) and mapping.parts else mapping.version
