"""Titles and table headers are found where they stand in the spool, and the log holds none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from mrengine import Document, Job, MapReduceRunner, map_prompt, tree_reduce
from mrengine.chunking import safe_chunk
from mrengine.host.chunk_table import rows_of
from mrengine.host.head_finder import HeadFinder
from mrengine.log.file.reader import LogReader
from mrengine.log.format import codec
from mrengine.log.format.heads import HeadPlaces, read_heads
from mrengine.testing import fake

WORDS = "The supplier shall deliver what was agreed, in time and in full. The customer shall pay. " * 8
ROWS = "".join(f"| row {number} | some words of a cell |\n" for number in range(60))
RECORDS = "".join(f"{number},Müller {number},words of a cell\n" for number in range(60))
CELLS = "".join(f"<tr><td>row {number}</td><td>some words of a cell</td></tr>\n" for number in range(60))
INSERTED = "".join(f"  ({number}, 'some words of a cell'),\n" for number in range(60))
CLAUSES = "".join(
    f"PART {'IVX'[n % 3]}\nGENERAL ORDER {n}\n\nArticle {n} - Delivery №{n}\n\n{WORDS}\n\n" for n in range(9)
)
TABLE = f"| name | words |\n| --- | --- |\n{ROWS}"
HEADED = f"<h1>Caf&eacute; &amp; <b>bar</b>\n of&nbsp;old</h1>\n{f'<p>{WORDS}</p>' * 3}\n<h2>&#1055;&#1088;ice</h2>\n"
GRID = f"<table><thead><tr><th>number</th><th>remark</th></tr></thead>\n{CELLS}</table>"
TEXTS = {
    "markdown": f"# Überblick\n\n{WORDS}\n\n## Chapter one ##\n\n{TABLE}\nSetext\n---\n\n{WORDS}",
    "csv": f"number,surname,remark\n{RECORDS}",
    "html": f"<!DOCTYPE html>\n<html><body>\n{HEADED}{GRID}</body></html>\n",
    "sql": f"CREATE TABLE t (a int, b text);\nINSERT INTO t (a, b) VALUES\n{INSERTED}  (99, 'last');\n" * 2,
    "prose": CLAUSES,
}


def found(text: str, kind: str) -> tuple[list[Any], list[Any], int]:
    """What stands above each chunk, what is read of it from a spool in which others stand before, and the bytes that
    were read to find it.
    """
    spool = "другое\n".encode() + text.encode()
    begin, cost = len(spool) - len(text.encode()), 0

    def read(start: int, stop: int) -> bytes:
        nonlocal cost
        cost += stop - start
        return spool[start:stop]

    chunks = list(safe_chunk(text, target_tokens=120, overlap_tokens=15, splitter=kind))
    rows = list(rows_of(0, begin, iter(chunks), lambda: None, read))
    wanted = [(chunk.headings, chunk.table_header) for chunk in chunks if not chunk.text[chunk.overlap :].isspace()]
    return wanted, [read_heads(places, lambda a, b: spool[a:b]) for _, places in rows], cost


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", list(TEXTS))
def test_each_title_and_header_is_read_from_where_it_stands(kind: str, newline: str) -> None:
    """As the chunker has said it: without tags, entities and line breaks."""
    wanted, read, _ = found(TEXTS[kind].replace("\n", newline), kind)
    assert read == wanted
    assert any(heads != ((), "") for heads in wanted)


def test_a_title_is_looked_for_once() -> None:
    """However many chunks it stands above, and whatever was found before it."""
    text = "".join(f"# Part {n}\n\n{WORDS * 4}\n\n## Chapter {n}\n\n{WORDS * 4}\n\n" for n in range(60))
    wanted, read, cost = found(text, "markdown")
    assert read == wanted
    assert len(set(wanted)) > 100
    assert cost < 8 * len(text)  # for each of 120 titles what was cut last


def test_what_does_not_stand_in_the_document_is_left_out() -> None:
    """Then it is no title of it; and of other bytes nothing is read."""
    spool = b"# One\n\ntext\n"
    finder = HeadFinder(0, lambda start, stop: spool[start:stop])
    places = finder.places((("One", "Two"), "a,b\n"), "prose", len(spool))
    assert read_heads(places, lambda start, stop: spool[start:stop]) == (("One",), "")
    assert read_heads(places, lambda start, stop: b"Ono") is None
    assert read_heads(places, lambda start, stop: None) is None
    assert finder.places((("Two",), ""), "prose", len(spool)) == HeadPlaces()


def above(chunk: Any, _context: Any) -> bool:
    return bool(chunk.headings or chunk.table_header)


@pytest.mark.parametrize("streamed", [False, True])
def test_no_title_is_left_after_success(state_dir: Path, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With keep="results", which promises so: not in any file of the state folder."""
    if streamed:
        monkeypatch.setattr("mrengine.host.prepare.READ_S", 0.0)
        monkeypatch.setattr("mrengine.host.prepare.FIRST_S", 0.0)
    documents = [Document(kind, text) for kind, text in TEXTS.items()]
    settings: dict[str, Any] = {"strategy": "sequential", "target_tokens": 120, "overlap_tokens": 15}
    runner = MapReduceRunner("j", keep="results", map_version="1", **settings)
    first = runner.run(documents, above)
    assert sum(one.result for one in first.results) > 30
    files = [path for path in state_dir.rglob("*") if path.is_file()]
    assert Path(Job("j").folder) / "log" in files
    words = (
        "Überblick",
        "Chapter one",
        "Setext",
        "name | words",
        "surname",
        "Caf",
        "Пр",
        "&#1055;",
        "INSERT INTO",
        "GENERAL",
    )
    for path in files:
        data = path.read_bytes()
        assert not [word for word in (*words, "Delivery", "<th>", "supplier") if word.encode() in data], path
    again = runner.run(documents, above)
    assert all(one.resumed for one in again.results)
    moved = MapReduceRunner("j", keep="results", map_version="1", on_mismatch="recompute", **settings).run(
        [Document("new", WORDS), *documents], above
    )
    assert {one.document_id for one in moved.results if not one.resumed} == {"new"}  # by digests of what is gone


def test_a_reduce_by_headings_is_paid_for_once(state_dir: Path) -> None:
    """A finished job whose spool is gone finds its sections in the documents that it is given again."""
    text = "".join(f"# Part {n}\n\n{WORDS}\n\n## Inner {n}\n\n{WORDS}\n\n" for n in range(8))
    model = fake(lambda request: f"words {crc32(request.prompt.encode())} " * 20, name="m")
    settings: dict[str, Any] = {"splitter": "markdown", "target_tokens": 120, "overlap_tokens": 0}
    runner = MapReduceRunner("j", models=model, keep="results", workers=1, **settings)
    calls = []
    for _ in range(2):
        merged = tree_reduce("Merge: $text", group_by="heading", max_tokens=400, fan_in=4)
        runner.run(text, map_prompt("Say: $text", max_tokens=400), reduce_fn=merged)
        assert not list(Path(Job("j").folder).glob("spool*"))
        with LogReader(Path(Job("j").folder) / "log") as reader:
            calls.append(sum(frame.kind == codec.CALL for frame in reader.frames()))
    assert calls[0] == calls[1]
    assert calls[0] > 20


def test_a_title_may_stand_over_any_blanks() -> None:
    """All that are blanks to Python, in a text whose letters have the same bytes."""
    blanks = "".join(c for c in map(chr, range(0x3001)) if c.isspace())
    spool = f"すべて{blanks}ての すいせ\n{'すての' * 20_000}".encode()
    finder = HeadFinder(0, lambda start, stop: spool[start:stop])
    for title in ("すべて ての すいせ", "すべて ての", "ての すいせ"):
        places = finder.places(((title,), ""), "prose", len(spool))
        assert read_heads(places, lambda start, stop: spool[start:stop]) == ((title,), "")
