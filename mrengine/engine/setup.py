"""Owns what a worker is told of a round, and how it travels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import msgpack

__all__ = ["LocalFunctions", "WorkerConfig"]


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker needs for one round. Blobs are cloudpickle, made by the host and opened by workers alone."""

    job_id: str
    round: int
    priority: str
    all_models: bool
    folder: str
    spool: str  # its name in the folder
    map_blob: bytes = field(repr=False)
    models_blob: bytes = field(repr=False)
    initializer_blob: bytes = field(repr=False)
    table: Sequence[Sequence[int]]  # the round's segments of the chunk table: [round, first, count, offset]
    documents: Sequence[Sequence[int]]  # [first document index, count, offset of the DOCUMENTS record]
    manager: Sequence[Any] | None  # [address, authkey]
    endpoints: dict[str, Sequence[str]]  # model name → [base URL, key], for models served by the job itself
    run_began: int  # the log's end when the round began
    check_texts: bool  # the spool was there before this run
    chunk_timeout_s: float
    backoff_s: float
    log_level: int
    result_blob: bytes = field(default=b"", repr=False)  # the type of results; empty: any
    batch: dict[str, Any] | None = None  # how batches stand, see worker.batched_call.BatchMode; None: no batches
    path: Sequence[str] | None = None  # the host's sys.path; None: this is the host

    def pack(self) -> bytes:
        """msgpack of all fields."""
        packed: bytes = msgpack.packb(asdict(self))
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> WorkerConfig:
        """The reverse of ``pack``."""
        return cls(**msgpack.unpackb(data, max_bin_len=len(data)))


class LocalFunctions(NamedTuple):
    """What user code comes as where it does not travel: in the host itself.

    ``ends_run``: whether an exception is not map_fn's own, though it came out of it.
    """

    initializer: tuple[Callable[..., None] | None, Sequence[Any]]
    map_fn: Callable[[Any, Any], Any]
    ends_run: Callable[[Exception], bool]
    result_type: Any = None
