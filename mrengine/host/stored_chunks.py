"""Reads a job's chunks again in the host, from the chunk table in the log and the spool."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mrengine.log.format.heads import read_heads
from mrengine.log.view.job_view import ResumeEngine
from mrengine.records import Chunk
from mrengine.sources.spool import SpoolFile
from mrengine.worker.chunk_reader import ChunkReader

__all__ = ["chunks_of", "headings_of"]

_HEAD = 4000  # bytes that are read behind the overlap: enough for a heading of 200 characters
_HEADING = re.compile(r"\s*(#{1,6})[ \t]+([^\n]{1,200})")


def chunks_of(view: ResumeEngine, spool: Path) -> Iterator[Chunk]:
    """Yield all chunks of the map round with their texts."""
    epoch = view.epoch
    assert epoch is not None
    table = epoch.segments.get(0, [])
    with closing(ChunkReader(os.fspath(spool.parent), spool.name, table, epoch.documents, check=False)) as reader:
        for chunk in range(epoch.chunks()):
            yield reader.read(chunk)


def headings_of(view: ResumeEngine, spool: Path) -> dict[int, tuple[str, ...]]:
    """The headings of each chunk: those above it, and the one that it begins with. None without a spool."""
    table = view.chunk_table()
    found: dict[int, tuple[str, ...]] = {}
    with closing(SpoolFile(spool)) as text:
        for chunk, row in enumerate(table):
            above = read_heads(table.heads(chunk, row), text.read)
            begin = text.read(row.spool_from, min(row.spool_to, row.spool_from + 4 * row.overlap + _HEAD)) or b""
            found[chunk] = _with_own(above[0] if above else (), begin.decode("utf-8", "ignore")[row.overlap :])
    return found


def _with_own(above: tuple[str, ...], text: str) -> tuple[str, ...]:
    own = _HEADING.match(text)
    return (*above[: len(own[1]) - 1], own[2].strip()) if own else above
