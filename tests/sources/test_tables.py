"""Tables in and out: rows as documents with fields, results as rows, frames and files."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import resource
import tracemalloc
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner, read_table
from mrengine.errors import ConfigError, JobMismatch, SourceError
from tests.sources import files

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = [
    {"visit": 7, "note": 'It fell, "slowly",\nand rose.', "age": 41, "ward": "A"},
    {"visit": 9, "note": "Größe 患者", "age": None, "ward": "B"},
]


def facts(chunk: Any, context: Any) -> dict[str, Any]:
    if chunk.text == "fail":
        raise ValueError(chunk.fields["ward"])
    return {"size": len(chunk.text), "ward": chunk.fields.get("ward"), "n": len(chunk.fields)}


def size(chunk: Any, context: Any) -> int:
    return len(chunk.text)


def tables(folder: Path) -> dict[str, Any]:
    frame = pd.DataFrame(ROWS)
    frame.to_parquet(folder / "a.parquet")
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in ROWS]
    for name, delimiter in (("a.csv", ","), ("semi.csv", ";"), ("a.tsv", "\t")):
        with (folder / name).open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(ROWS[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(texts)
    (folder / "a.csv.gz").write_bytes(gzip.compress((folder / "a.csv").read_bytes()))
    (folder / "wide.csv").write_bytes((folder / "a.csv").read_text("utf-8-sig").encode("utf-16"))
    paths = {name: folder / name for name in ("a.parquet", "a.csv", "semi.csv", "a.tsv", "a.csv.gz", "wide.csv")}
    return {
        **paths,
        "text path": str(folder / "a.csv"),
        "pandas": frame,
        "polars": pl.DataFrame(ROWS),
        "lazy": pl.LazyFrame(ROWS),
        "arrow": pa.Table.from_pylist(ROWS),
    }


def test_a_row_is_a_document_and_its_other_columns_are_fields(tmp_path: Path) -> None:
    """The same of every kind of table, but that CSV knows only text."""
    for kind, table in tables(tmp_path).items():
        first, second = read_table(table, text="note", id="visit")
        assert (first.id, first.source, second.id, second.source) == ("7", ROWS[0]["note"], "9", "Größe 患者"), kind
        is_text = "csv" in kind or "tsv" in kind or kind == "text path"
        assert first.fields == {"age": "41" if is_text else 41, "ward": "A"}, kind
        assert second.fields == {"age": "" if is_text else None, "ward": "B"}, kind
        assert [one.id for one in read_table(table, text="note")] == ["0", "1"], kind
        assert next(read_table(table, text="note", columns=["ward"])).fields == {"ward": "A"}, kind
        for wrong in ({"text": "none"}, {"text": "note", "id": "none"}, {"text": "note", "columns": ["none"]}):
            with pytest.raises(ConfigError, match=r"no column 'none': it has 'visit', 'note'"):
                read_table(table, **wrong)
    indexed = pd.DataFrame(ROWS).set_index("visit")
    assert [one.id for one in read_table(indexed, text="note")] == ["7", "9"]


def test_tables_that_cannot_be_read_say_where(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text, told in (
        ("note,b\nx,1\ny,2,3\n", "line 3: 3 cells under 2 names"),
        ("note,note\nx,1\n", "two columns have the same name"),
        ("", "no line with the names"),
    ):
        path.write_text(text)
        with pytest.raises(SourceError, match=told):
            list(read_table(path, text="note"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(SourceError, match="cannot be read as a Parquet file"):
        read_table(tmp_path / "a.parquet", text="note")
    for table, kind in (
        (tmp_path / "none.csv", SourceError),
        (tmp_path / "a.xlsx", SourceError),
        ([1], ConfigError),
        (pd.Series(["a"]), ConfigError),
    ):
        with pytest.raises(kind):
            read_table(table, text="note")


def test_fields_reach_chunks_results_failures_and_exports(tmp_path: Path, state_dir: Path) -> None:
    """Also by the id alone, after a resume; a row without a text is a failure of that row."""
    frame = pd.DataFrame(
        {
            "visit": [1, 2, 3, 4],
            "note": ["one", None, "fail", "four"],
            "ward": list("ABCD"),
            "at": pd.to_datetime(["2026-01-01"] * 4),
        }
    )
    runner = MapReduceRunner("visits", models="fake", workers=2)
    run = runner.run(read_table(frame, text="note", id="visit"), facts)
    assert [(r.document_id, r.fields["ward"], r.result["ward"]) for r in run.results] == [
        ("1", "A", "A"),
        ("4", "D", "D"),
    ]
    assert [(f.document_id, f.kind, f.fields.get("ward")) for f in run.failures] == [
        ("3", "error", "C"),
        ("2", "source", None),
    ]
    assert "'note' is missing" in run.failures[1].message
    rows = list(run.rows())
    assert [row["document_id"] for row in rows] == ["1", "3", "4", "2"]
    assert set(rows[0]) == {
        "document_id",
        "chunk_id",
        "fields",
        "pages",
        "result",
        "model",
        "usage",
        "cost_usd",
        "failure",
        "result.size",
        "result.ward",
        "result.n",
    }
    assert rows[0]["fields"] == {"ward": "A", "at": "2026-01-01T00:00:00"}
    assert rows[0]["result"] == {"size": 3, "ward": "A", "n": 2}
    assert rows[1]["failure"].startswith("error: ")
    assert rows[3]["chunk_id"] is None
    frame_out = run.to_frame()
    assert list(frame_out["fields.ward"].fillna("-")) == ["A", "C", "D", "-"]
    assert list(frame_out["result.size"].dropna()) == [3, 4]
    for again in (Job("visits").outcomes(), MapReduceRunner("visits").resume("visits", facts)):
        assert [row["document_id"] for row in again.rows()] == ["1", "3", "4", "2"]
        for name in ("out.csv", "out.tsv", "out.jsonl", "out.parquet"):
            path = again.export(tmp_path / name)
            assert path == tmp_path / name
    with (tmp_path / "out.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["fields.ward"] for row in found] == ["A", "C", "D", ""]
    assert found[0]["result.size"] == "3"
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0]["fields"] == rows[0]["fields"]
    assert lines[0]["result"] == rows[0]["result"]
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["fields.ward"] for row in table] == ["A", "C", "D", None]
    assert [row["result.size"] for row in table] == [3, None, 4, None]
    with pytest.raises(ConfigError, match=r"\.csv, \.tsv"):
        run.export(tmp_path / "out.xls")
    with pytest.raises(ConfigError, match="cannot be written"):
        run.export(tmp_path / "nowhere" / "out.csv")
    assert not list(tmp_path.glob(".out*"))


@dataclass
class Finding:
    code: str
    size: int


def finding(chunk: Any, context: Any) -> Finding:
    return Finding(f'=1+"1",\n{chunk.document_id}', len(chunk.text))


def test_results_of_any_kind_are_rows(tmp_path: Path, state_dir: Path) -> None:
    """Instances, text with ends of lines, lone surrogates; plain values have one column."""
    run = MapReduceRunner(models="fake", strategy="sequential").run(
        [Document("a\ud800", "text"), Document("b", "other")], finding
    )
    assert [row["result.size"] for row in run.rows()] == [4, 5]
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        run.export(tmp_path / name)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["result.code"] for row in csv.DictReader(file)][
            1
        ] == '\'=1+"1",\nb'  # a table program runs no formula of a model's
    plain = MapReduceRunner(models="fake", strategy="sequential").run(["text"], size)
    assert plain.to_frame()["result"].tolist() == [4]
    assert "result" in pq.read_table(plain.export(tmp_path / "plain.parquet")).column_names


def test_other_fields_are_another_job(state_dir: Path) -> None:
    """As another text is; recompute keeps what did not look at them."""

    def documents(ward: Any) -> list[Document]:
        return [Document("a", "one", fields={"ward": ward}), Document("b", "two")]

    for name, fn, kept in (("looked", facts, 1), ("blind", size, 2)):
        runner = MapReduceRunner(name, models="fake", strategy="sequential")
        runner.run(documents("A"), fn)
        assert runner.run(documents("A"), fn).summary.resumed_chunks == 2
        with pytest.raises(JobMismatch, match="1 document changed: 'a'"):
            runner.run(documents("B"), fn)
        again = MapReduceRunner(name, models="fake", strategy="sequential", on_mismatch="recompute").run(
            documents("B"), fn
        )
        assert again.summary.resumed_chunks == kept
        assert again.results[0].fields == {"ward": "B"}
    auto = MapReduceRunner("auto", models="fake", strategy="sequential")
    assert auto.run(documents("A"), size).job_id != auto.run(documents("B"), size).job_id


def test_fields_are_small_plain_values(state_dir: Path) -> None:
    """What cannot be kept is said before anything runs; what can is kept as it is."""
    runner = MapReduceRunner(models="fake", strategy="sequential")
    for fields, told in (
        ({"long": "x" * 70_000}, "at most 65536"),
        ({"odd": object()}, "cannot be stored"),
        ({1: 2}, "cannot be stored"),
        (["a"], "are a dict"),
    ):
        with pytest.raises(ConfigError, match=told):
            runner.run([Document("a", "text", fields=fields)], size)  # type: ignore[arg-type]
    given = {"a": [1, {"b": None}], "c": 1.5, "d": True, "e": "Größe", "f": b"\0", "day": datetime.date(2026, 1, 2)}
    run = runner.run([Document("a", "text", fields=given)], size)
    assert run.results[0].fields == {**given, "day": "2026-01-02"}
    assert [outcome.fields for outcome in runner.stream([Document("a", "text", fields={"x": 1})], size)] == [{"x": 1}]


def test_a_message_loses_what_the_fields_say(state_dir: Path) -> None:
    """As it loses the text of the chunk."""
    rows = [Document("a", "fail", fields={"ward": "Station Sankt Marien 4711"}), Document("b", "fine")]
    run = MapReduceRunner(models="fake", workers=1).run(rows, facts)
    assert "Marien" not in run.failures[0].message


def csv_of(path: Path, megabytes: int) -> int:
    line = ",".join(["note " + "of words " * 100, "41", "A"]) + "\n"
    count = megabytes * 1_000_000 // len(line)
    with path.open("w") as file:
        file.write("note,age,ward\n")
        for _ in range(count // 1000):
            file.write(line * 1000)
    return count // 1000 * 1000


def in_bounded_memory(path: Path, rows: int, most_bytes: int) -> None:
    deque(read_table(path, text="note"), maxlen=0)  # libraries have what they keep
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in read_table(path, text="note")) == rows
    grown, peak = (
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024,
        tracemalloc.get_traced_memory()[1],
    )
    tracemalloc.stop()
    assert peak < most_bytes
    assert grown < 4 * most_bytes


def test_tables_are_streamed(tmp_path: Path) -> None:
    """Memory is that of a block, not of the file."""
    in_bounded_memory(tmp_path / "a.csv", csv_of(tmp_path / "a.csv", 12), 6_000_000)
    in_bounded_memory(files.parquet(tmp_path / "a.parquet", 60_000), 60_000, 12_000_000)


@pytest.mark.system
@pytest.mark.timeout(900)
def test_large_tables_are_streamed(tmp_path: Path) -> None:
    """A CSV of 300 MB, a Parquet file of a million rows."""
    in_bounded_memory(tmp_path / "a.csv", csv_of(tmp_path / "a.csv", 300), 6_000_000)
    in_bounded_memory(files.parquet(tmp_path / "a.parquet", 1_000_000, row_group=50_000), 1_000_000, 24_000_000)


def test_a_spreadsheet_runs_nothing_of_what_a_model_says(state_dir: Path, tmp_path: Path) -> None:
    """CSV and TSV: texts, names and fields that look like formulas stand behind a '; numbers stay numbers."""
    evil = ['=cmd|"/c calc"!A1', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", " =1"]
    good = ["-5", "+1.5e-3", "a=b", "-12,5", "", "'quoted", "5 - 3", "-3%"]
    rows = [{"id": str(at), "note": "x", "=col": text, "told": text} for at, text in enumerate(evil + good)]

    def told(chunk: Any, context: Any) -> str:
        return str(chunk.fields["told"])

    run = MapReduceRunner(state_dir=state_dir, strategy="sequential", map_version="1", job_id="evil").run(
        [Document(row["id"], row["note"], fields={"=col": row["=col"], "told": row["told"]}) for row in rows], told
    )
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with run.export(tmp_path / name).open(newline="") as file:
            found = list(csv.DictReader(file, delimiter=delimiter))
        assert [row["result"] for row in found] == [f"'{text}" for text in evil] + good
        assert [row["fields.=col"] for row in found] == [row["result"] for row in found]
        with run.export(tmp_path / name, formulas=True).open(newline="") as file:
            assert [row["result"] for row in csv.DictReader(file, delimiter=delimiter)] == evil + good
    lines = run.export(tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["result"] for line in lines] == evil + good
