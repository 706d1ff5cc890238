"""Exports: each row as it is, in every form of file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrengine.outputs.files import export_rows


def test_long_whole_numbers_are_exact_in_a_parquet_file(tmp_path: Path) -> None:
    """Beyond what Arrow's int64 holds, or beside broken numbers beyond what a float64 holds, they are text."""
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = [
        {"document_id": "a", "longest": 2**64 - 1, "beside": 2**60 + 1, "long": 2**60 + 1, "short": 3},
        {"document_id": "b", "longest": -5, "beside": 0.5, "long": -7, "short": 0.5},
    ]
    found = parquet.read_table(export_rows(lambda: iter(rows), tmp_path / "a.parquet")).to_pylist()
    assert [(row["longest"], row["beside"], row["long"], row["short"]) for row in found] == [
        ("18446744073709551615", "1152921504606846977", 2**60 + 1, 3.0),
        ("-5", "0.5", -7, 0.5),
    ]
