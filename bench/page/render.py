"""Templates to pages."""

from __future__ import annotations

import re
from pathlib import Path

from bench.machine import ROOT
from bench.page.plots import PLOTS
from bench.page.results import NotMeasured, Results
from bench.page.tables import TABLES

__all__ = ["MARKS", "between", "pages", "render"]

HERE = Path(__file__).parent
NAME = "how-fast"
MARKS = (f"<!-- bench:{NAME} -->", f"<!-- /bench:{NAME} -->")


def render(template: str, results: Results) -> str:
    """Fill a template. A result that is not there is told in its place; what an existing one lacks is an error."""

    def fill(found: re.Match[str]) -> str:
        what, _, name = found[1].partition(" ")
        try:
            if what == "table":
                return TABLES[name](results)
            if what == "plot":
                PLOTS[name](results)
                return f"![{name}](plots/{name}.svg)"
            return results.figure(found[1])
        except NotMeasured as error:
            return {"table": f"*Not measured yet: {error.args[0]}.*", "plot": ""}.get(what, "(not measured yet)")

    return re.sub(r"\{\{(.+?)\}\}", fill, template)


def between(page: str, text: str) -> str:
    """A page with this text between its marks; ValueError for a page without them."""
    before, begin, rest = page.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise ValueError(f"the page has no {MARKS[0]} … {MARKS[1]}")
    return f"{before}{begin}\n{text.strip()}\n{end}{after}"


def pages(results: Results, root: Path = ROOT) -> dict[Path, str]:
    """All that is written, by path."""
    found = {
        root / "docs" / "performance.md": render((HERE / "guide.md").read_text(), results),
        root / "README.md": between(
            (root / "README.md").read_text(), render((HERE / "how_fast.md").read_text(), results)
        ),
    }
    for name, plot in PLOTS.items():
        try:
            found[root / "docs" / "plots" / f"{name}.svg"] = plot(results)
        except NotMeasured:
            continue  # not measured; the page says so
    return found
