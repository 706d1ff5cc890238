"""Parquet as a document, by ``pyarrow``: its rows as JSON Lines, a batch at a time. ``read_table`` has one a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from mrengine.sources.loaders import needs
from mrengine.sources.pieces import Piece

__all__ = ["BATCH_ROWS", "load"]

BATCH_ROWS = 4096


def load(binary: BinaryIO) -> Iterator[Piece]:
    """A line for each row. MissingExtra."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise needs("parquet", "a Parquet file") from None
    for batch in parquet.ParquetFile(binary).iter_batches(batch_size=BATCH_ROWS):
        for row in batch.to_pylist():
            yield Piece(json.dumps(row, ensure_ascii=False, default=str) + "\n")
