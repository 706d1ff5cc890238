"""A Parquet file as one document, by ``pyarrow``: its rows as JSON Lines. ``read_table`` makes a document of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from mrengine.sources.loaders import Piece, needs

__all__ = ["load"]


def load(binary: BinaryIO) -> Iterator[Piece]:
    """A line for each row. MissingExtra."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise needs("parquet", "a Parquet file") from None
    for batch in parquet.ParquetFile(binary).iter_batches(batch_size=4096):  # rows that are in memory at once
        for row in batch.to_pylist():
            yield Piece(json.dumps(row, ensure_ascii=False, default=str) + "\n")
