"""No figure on a page is typed by hand: pages are what bench/results says."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench.machine import FOLDER, FORMAT, ROOT, describe, save
from bench.page.plots import bars, lines
from bench.page.render import HERE, MARKS, between, pages, render
from bench.page.results import Results, show
from bench.page.tables import TABLES, markdown


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    rows: list[dict[str, Any]] = [
        {"pool": "mrengine durable", "tasks_per_s": 54058, "ratio": 4.15, "samples": [1, 2]},
        {"pool": "loky/1", "tasks_per_s": 7479.5, "ratio": 0.5},
        {"pool": "gone", "missing": "gone is not installed"},
    ]
    save("pool", rows, packages=["pytest"], turns=3)
    return Results(tmp_path)


def test_pages_are_what_the_results_say() -> None:
    """Stale? `python -m bench report` writes them anew."""
    for path, text in pages(Results()).items():
        assert path.read_text() == text, path.relative_to(ROOT)


def test_a_figure_that_is_changed_by_hand_would_be_found(results: Results) -> None:
    template = (
        "{{pool/mrengine durable/tasks_per_s}} tasks; loky {{pool/loky/1/tasks_per_s|.1f}}, {{pool//turns}} turns"
    )
    assert render(template, results) == "54,058 tasks; loky 7479.5, 3 turns"


@pytest.mark.parametrize("path", ["pool/nobody/ratio", "pool/mrengine durable/nothing", "none/x/y", "pool//nothing"])
def test_a_figure_that_is_not_there_is_an_error(results: Results, path: str) -> None:
    with pytest.raises(KeyError):
        results.figure(path)


def test_the_templates_hold_no_measured_figure() -> None:
    """They look figures up; sizes of the work, which the code fixes, may stand there."""
    for path in (HERE / "guide.md", HERE / "how_fast.md"):
        text = re.sub(r"\{\{.+?\}\}|`[^`]*`", "", path.read_text())
        assert MEASURED.findall(text) == [], path.name


# A number with a unit of speed, time or memory, a percentage, or "3 times faster".
MEASURED = re.compile(
    r"[\d,.]*\d ?(?:µs|ms|MB/s|GB/s|kB/s|k/s|tasks/s|calls/s|steps/s|(?:tasks|calls|steps|MB|tokens) (?:a|per) second"
    r"|times (?:faster|slower|as fast)|× (?:faster|slower))(?!\w)"
)
NO_MEASUREMENT = {
    "providers.md": ["20ms"],  # the form of a header
    "seeing.md": ["1 µs"],  # a bound, which a test holds
}


def test_the_page_on_scale_quotes_its_simulation() -> None:
    """Its figures are those of bench/results/scale.json, rounded."""
    result = json.loads((ROOT / "bench/results/scale.json").read_text())
    measured = result["rows"][0]
    most = {row["backend"]: row["tasks_per_s"] for row in result["rows"] if row.get("in_flight") == 400_000}
    page = (ROOT / "docs/scale.md").read_text()
    assert MEASURED.findall(page) == [
        f"{result['settings']['sync_s'] * 1e3:.1f} ms",
        f"{measured['process_us']:.0f} µs",
        f"{measured['ray_us']:.0f} µs",
        f"{round(most['process'], -3):,.0f} tasks/s",
        f"{most['ray'] * measured['bytes_per_chunk'] / 1e6:.0f} MB/s",
    ]
    assert f"{measured['mb_per_million']} MB for each million chunks" in page
    assert f"{measured['bytes_per_chunk'] / 1e3:.1f} KB on disk" in page
    rows = [row for row in result["rows"] if row.get("backend") == "process" and row["in_flight"] <= 5_000]
    assert len(rows) == 3
    for row in rows:
        assert re.search(rf"^\| {row['in_flight']:,} \|.* {int(row['busy'] * 100 + 0.5)}% ", page, re.MULTILINE)


def test_no_other_page_quotes_a_measurement() -> None:
    """README outside of its marks and docs/*.md; docs/decisions are records of their day, and name their results."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        if path.name in ("performance.md", "scale.md"):
            continue
        text = path.read_text()
        text = re.sub(f"{re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}", "", text, flags=re.DOTALL)
        assert MEASURED.findall(text) == NO_MEASUREMENT.get(path.name, []), path.name


def test_every_result_says_where_it_was_measured() -> None:
    for path in FOLDER.glob("*.json"):
        data = json.loads(path.read_text())
        assert data["format"] in (1, FORMAT), path.name
        assert data["bench"] == path.stem
        assert {"cores", "processor", "python", "system"} <= set(data["machine"])
        if data["format"] == FORMAT:
            assert {"load_before", "load_after", "memory_gb"} <= set(data["machine"])
            for row in data["rows"]:
                assert "samples" in row or {"missing", "missing_tool", "raised"} & set(row), (path.name, row)


def test_a_result_carries_machine_versions_and_settings() -> None:
    told = describe("x", [{"samples": [1]}], packages=["pytest", "no-such-package"], turns=2)
    assert told["versions"]["pytest"]
    assert told["versions"]["mrengine"]
    assert told["versions"]["no-such-package"] is None
    assert (told["format"], told["settings"]) == (FORMAT, {"turns": 2})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["at"])


def test_a_peer_that_is_missing_stands_in_its_table_with_the_reason(results: Results) -> None:
    table = TABLES["pool"](results).splitlines()
    assert table[-1] == "| gone | not measured: gone is not installed | – |"
    assert table[2] == "| mrengine durable | 54,058 | 4.15 |"


def test_what_was_not_measured_says_so_and_an_unknown_name_is_an_error(results: Results) -> None:
    assert "Not measured yet" in render("{{table durable}}", results)
    assert render("{{plot durable}}", results) == ""
    assert render("{{durable//turns}} turns", results) == "(not measured yet) turns"
    with pytest.raises(KeyError):
        render("{{table nonsense}}", results)


def test_cells_do_not_break_a_table() -> None:
    assert markdown(["a", "b"], [["x|y\nz", 1.0]]).splitlines()[2] == "| x\\|y z | 1 |"
    assert [show(value) for value in (None, True, 0.12345, 54058.4, 12, "x")] == [
        "–",
        "yes",
        "0.123",
        "54,058",
        "12",
        "x",
    ]


def test_text_goes_between_the_marks() -> None:
    page = f"a\n{MARKS[0]}\nold\n{MARKS[1]}\nb"
    assert between(page, "new\n") == f"a\n{MARKS[0]}\nnew\n{MARKS[1]}\nb"
    with pytest.raises(ValueError, match="has no"):
        between("a", "b")


def test_plots_are_sound_and_load_nothing() -> None:
    found = [
        bars("A <title> & more", [("mrengine", 3.0), ("<peer>", 0.0)], "ms"),
        bars("Log", [("a", 20_000.0), ("b", 20.0)], "", log=True),
        lines("Growth", {"n^1.0": [(1000, 0.1), (4000, 0.4)], "b": [(1000, 0.2), (4000, 3.2)]}, "n", "s"),
    ]
    for plot in found:
        root = ET.fromstring(plot)  # it is ours
        assert root.get("viewBox")
        assert not re.search(r"href|url\(|<script|<image|NaN|inf", plot)
    bars_of_log = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', found[1])]
    assert bars_of_log[0] > bars_of_log[1] > 1
