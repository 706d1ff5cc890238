"""Values as HTML tables, for notebooks. Every text is escaped: results hold what documents and models say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from itertools import islice
from typing import Any

__all__ = ["facts_html", "rows_html"]

ROWS = 20
CHARS = 200


def facts_html(value: Any) -> str:
    """A dataclass or mapping as a table of two columns, without empty values."""
    facts = value if isinstance(value, Mapping) else {one.name: getattr(value, one.name) for one in fields(value)}
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(str(name))}</th><td style="text-align:left">{_cell(item)}</td></tr>'
        for name, item in facts.items()
        if item not in (None, "", (), {}, [])
    )
    return f"<table>{rows}</table>"


def rows_html(rows: Sequence[Any], columns: Sequence[str], *, caption: str) -> str:
    """The first rows of a sequence that may be lazy, with these attributes as columns."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    # No more rows are read than are shown: each comes from the log.
    body = "".join(_row(getattr(row, name) for name in columns) for row in islice(rows, ROWS))
    more = len(rows) - ROWS
    rest = f"<p>… and {more:,} more</p>" if more > 0 else ""
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
    )


def _row(values: Iterable[Any]) -> str:
    return "<tr>" + "".join(f'<td style="text-align:left">{_cell(value)}</td>' for value in values) + "</tr>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        text = f"{value:,.6g}"
    elif isinstance(value, bool):  # before int, of which it is one
        text = str(value)
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        text = ", ".join(value)
    else:
        text = value if isinstance(value, str) else repr(value)
    return escape(text if len(text) <= CHARS else text[: CHARS - 1] + "…")
