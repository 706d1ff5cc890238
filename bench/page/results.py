"""The stored results, and how one figure is found in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.machine import FOLDER

__all__ = ["NotMeasured", "Results", "show"]

Row = Mapping[str, Any]


class NotMeasured(KeyError):
    """A whole result is not there yet; a page can say so."""


class Results:
    """A folder of results. Figures are looked up, never typed."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}

    def __contains__(self, bench: str) -> bool:
        return bench in self._found

    @property
    def names(self) -> list[str]:
        return list(self._found)

    def result(self, bench: str) -> Mapping[str, Any]:
        """One result, with its machine and settings; NotMeasured that names it."""
        if bench not in self._found:
            raise NotMeasured(f"there is no result {bench}; there are {', '.join(self._found)}")
        found: Mapping[str, Any] = self._found[bench]
        return found

    def rows(self, bench: str, **wanted: Any) -> list[Row]:
        """The rows whose fields have these values."""
        rows = self.result(bench)["rows"]
        return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]

    def figure(self, path: str) -> str:
        """``bench/value+value/field|format``: the field of the one row that has all these values.

        ``bench//name``: a setting, or "load", the machine's when it began. A field may go deeper:
        ``sigkill.came_back``. KeyError for none, or for more than one.
        """
        place, _, form = path.partition("|")
        bench, _, rest = place.partition("/")
        values, _, field = rest.rpartition("/")  # a value may hold slashes
        if not values and field == "load":
            return show(self.result(bench)["machine"]["load_before"][0], ".0f")
        if not values:
            return show(_deep(self.result(bench)["settings"], field), form)
        wanted = values.split("+")
        rows = [row for row in self.rows(bench) if set(wanted) <= {str(value) for value in row.values()}]
        if len(rows) != 1:
            raise KeyError(f"{path}: {len(rows)} rows of {bench} have {' and '.join(wanted)}")
        return show(_deep(rows[0], field), form)


def _deep(value: Any, field: str) -> Any:
    for name in field.split("."):
        value = value[name]
    return value


def show(value: Any, form: str = "") -> str:
    """A value in a table: "–" for none, thousands with commas, three digits of what is measured."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return str(value)
    if form:
        return format(value, form)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
