"""cite=True over a PDF: each claim, footnote and row says on which page its quote stands."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mrengine import summarize
from mrengine.testing import fake
from mrengine.testing.llm_server import LLMServer
from tests.cli.conftest import cli, ready  # noqa: F401
from tests.summaries.models import options

pytest.importorskip("fpdf")
pytest.importorskip("pypdf")
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the server's process cannot import it
FACTS = {page: f"It is a fact that hall {page} holds {page * 37 + 11} crates of tea." for page in range(1, 6)}
OVER = "It is a fact that the last hall of all, hall 77, holds 1234 crates of very fine tea."
FENCED = re.compile(r"<(data-[0-9a-f]{12})>\n(.*?)\n</\1>", re.DOTALL)


def report(path: Path) -> Path:
    """Five pages of running text with head and foot; a fact within each, and one that goes from page 5 to page 6."""
    from fpdf import FPDF

    class Report(FPDF):
        def header(self) -> None:
            self.set_font("helvetica", size=9)
            self.cell(0, 8, f"Stock report 2026 - Page {self.page_no()} of 6")
            self.ln(12)

    pdf = Report()
    filler = "The committee met, talked at length, and went home without a word on it. " * 9
    begun, ended = OVER[:40].rstrip(), OVER[40:].lstrip()
    for page in range(1, 7):
        pdf.add_page()
        pdf.set_font("helvetica", size=11)
        body = f"{filler}{FACTS[page]} {filler}{begun if page == 5 else ''}" if page < 6 else f"{ended} {filler}"
        pdf.multi_cell(0, 6, body)
    pdf.output(str(path))
    return path


def answer(prompt: str) -> str:
    """What ``faithful`` says, for a server."""
    text = "\n".join(found for _, found in FENCED.findall(prompt))
    numbered = re.findall(r'^\[(\d+)\] "?([^\n]*?)"?$', text, re.MULTILINE)
    if numbered:
        return " ".join(f"{said.rstrip('.')} [{number}]." for number, said in numbered)
    found = [" ".join(one.split()) for one in re.findall(r"[^.]*\bfact\b[^.]*\.", text)]
    return json.dumps({"claims": [{"text": one, "quote": one} for one in found]})


def pages_of(claims: list[dict[str, Any]]) -> dict[str, int]:
    return {claim["quote"]: claim["page"] for claim in claims}


def test_claims_name_the_page_of_their_quote(state_dir: Path, tmp_path: Path) -> None:
    def model(request: Any) -> str:
        return answer(request.prompt)

    path = report(tmp_path / "stock.pdf")
    how = options(state_dir, target_tokens=250, overlap_tokens=25)
    for method in ("map_reduce", "refine"):
        summary = summarize(path, cite=True, method=method, models=fake(model), **how)
        assert len(summary.run.results) > 3
        pages = {" ".join(claim.quote.split()): claim.page for claim in summary.citations}
        assert pages == {**{fact: page for page, fact in FACTS.items()}, OVER: 5}
        assert summary.unsupported == ()
    extract = summarize(path, cite=True, method="extract", query="crates of tea", max_tokens=300, **how)
    assert {claim.page for claim in extract.citations} == {1, 2, 3, 4, 5}
    for name in ("rows.jsonl", "rows.parquet"):
        summary.run.export(tmp_path / name)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {page for row in rows for page in row["pages"]} == {1, 2, 3, 4, 5, 6}
    for row in rows:
        assert all(claim["page"] in row["pages"] for claim in row["result"]["claims"] if claim["verified"])


def test_the_command_line_prints_them(cli: Any, tmp_path: Path) -> None:  # noqa: F811
    """Footnotes in the text and in the Markdown, and JSON."""
    report(tmp_path / "stock.pdf")
    with LLMServer(answer=answer) as server:
        asked = ("summarize", "stock.pdf", "--cite", "--model", f"{server.url}#m", "--target-tokens", "400")
        shown = cli(*asked, "-o", "out")
        assert shown.returncode == 0, shown.stderr
        whole = json.loads(cli(*asked, "--json").stdout)
    notes = (tmp_path / "out" / "stock.md").read_text()
    for page, fact in FACTS.items():
        note = rf"^\[\d\] stock\.pdf, page {page}, characters \d+-\d+: \"{re.escape(fact)}\""
        assert re.search(note, notes, re.MULTILINE)
    assert {claim["page"] for claim in whole["citations"]} == {1, 2, 3, 4, 5}
    assert all(claim["verified"] for claim in whole["citations"])


def test_footnotes_name_contradictions_and_what_has_no_support(state_dir: Path, cli: Any, tmp_path: Path) -> None:  # noqa: F811
    """Beneath the text, in Markdown as on the terminal, for who reads no JSON."""
    words = "The committee met, talked at length, and went home without a word on it. " * 40
    (tmp_path / "stock.txt").write_text(
        f"It is a fact that hall 1 holds 11 crates.\n\n{words}\n\nIt is a fact that hall 2 holds 22 crates.\n\n{words}"
        "\n\nIt is a fact that hall 1 holds 99 crates.\n"
    )
    with LLMServer(answer=merging_falsely) as server:
        asked = ("summarize", "stock.txt", "--cite", "--model", f"{server.url}#m", "--target-tokens", "400")
        shown = cli(*asked)
        assert cli(*asked, "-o", "out").returncode == 0
    assert "1 pair of statements is a contradiction; --json names it" in shown.stderr
    assert "1 sentence has no verified claim" in shown.stderr
    for text in (shown.stdout, (tmp_path / "out" / "stock.md").read_text()):
        assert "\n\nContradiction: [1]; [3]\n" in text
        assert "\n\nWithout support: Halls 1 and 2 hold 4711 crates together [1, 2].\n" in text


def merging_falsely(prompt: str) -> str:
    """What is a fact, and in a merge a sum that nobody has said."""
    merged = re.findall(r'^\[(\d+)\] "?([^\n]*?)"?$', prompt, re.MULTILINE)
    if merged:
        told = " ".join(f"{said.rstrip('.')} [{number}]." for number, said in merged)
        return f"{told} Halls 1 and 2 hold 4711 crates together [1, 2]."
    facts = re.findall(r"It is a fact that hall \d holds \d+ crates\.", prompt)
    return json.dumps({"claims": [{"text": fact, "quote": fact} for fact in facts]})
