"""The bar of notebooks, and values as HTML: all text from outside is escaped."""

from __future__ import annotations

from mrengine.html_views import facts_html, rows_html
from mrengine.progress.bar import NotebookBar, in_notebook
from mrengine.records import ChunkFailure, Estimate, JobStatus, RunSummary

BAD = "<img src=x onerror=alert(1)>\"'&"


def test_this_process_is_no_notebook() -> None:
    assert not in_notebook()


def test_the_bar_is_escaped_html() -> None:
    bar = NotebookBar()
    bar.meter.begin(40, 0)
    bar.meter.count(done=10, failed=0)
    bar._text = BAD
    html = bar.html()
    assert '<progress value="10" max="40"' in html
    assert "<img" not in html


def test_values_are_tables_of_escaped_text() -> None:
    for value in (Estimate(3, 3, 100, None), JobStatus(BAD, "done", source=BAD), RunSummary(BAD, errors=(BAD,))):
        html = value._repr_html_()
        assert html.startswith("<table>")
        assert "<img" not in html
    assert "<img" not in facts_html({BAD: BAD})


def test_a_long_sequence_is_shown_by_its_beginning() -> None:
    rows = [ChunkFailure(number, BAD, BAD, "error", "x" * 500) for number in range(30)]
    html = rows_html(rows, ("chunk_id", "document_id", "message"), caption=BAD)
    assert html.count("<tr>") == 21
    assert "and 10 more" in html
    assert "x" * 201 not in html
    assert "<img" not in html
