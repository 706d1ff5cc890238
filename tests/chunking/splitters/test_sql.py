"""SQL: statements, rows of dumps and bodies stay whole."""

from __future__ import annotations

import pytest

from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import detect
from tests.chunking.records import assert_cut_well, assert_same_in_pieces, assert_survives


@pytest.mark.parametrize("name", ["sql statements", "sql dump"])
def test_statements_and_rows_stay_whole(name: str) -> None:
    """With comments above, bodies between dollars, copied rows, long INSERTs."""
    assert_cut_well(name, "sql")


def test_a_long_insert_is_cut_between_rows() -> None:
    """All of it in one line."""
    rows = ",".join(f"({n},'It''s a text; with marks, and (brackets)',{n})" for n in range(300))
    text = f"INSERT INTO t (id, note, n) VALUES {rows};\n"
    chunks = list(safe_chunk(text, target_tokens=200, overlap_tokens=0))
    assert {chunk.kind for chunk in chunks} == {"sql"}
    assert all(chunk.text.startswith("(") for chunk in chunks[1:])


@pytest.mark.parametrize(
    "text",
    [
        "-- a comment\nCREATE TABLE t (\n  id INT,\n  name TEXT\n);\n\nINSERT INTO t VALUES (1, 'a');\n",
        "SELECT a, b\nFROM t\nWHERE x = 1;\n\nselect 2;\n",
        "/* x */\n\\echo Use it\n\nALTER TABLE t ADD COLUMN x int;\nGRANT SELECT ON t TO public;\n",
    ],
)
def test_sql_is_known(text: str) -> None:
    """Few statements are enough."""
    assert detect(text) == "sql"


def test_any_pieces_and_hostile_texts() -> None:
    """The promises hold."""
    assert_same_in_pieces("sql dump")
    for text in (
        "$$" * 900,
        "$a b " * 500,
        "COPY a FROM stdin;\n" * 200,
        "-- x\n" * 500,
        "(" * 2000,
        "SELECT;\n" * 300,
    ):
        assert_survives(text, "sql")
