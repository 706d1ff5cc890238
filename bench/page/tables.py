"""The tables of the page: each a function of the results to lines of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.page.results import Results, show

__all__ = ["TABLES", "markdown"]

Row = Mapping[str, Any]
Column = tuple[str, str | Callable[[Row], Any]]


def markdown(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A table; bars in a cell are escaped."""
    rows = [[show(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    rule = ["---"] + ["---:"] * (len(columns) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(columns), rule, *rows])


def _plain(bench: str, *columns: Column, **wanted: Any) -> Callable[[Results], str]:
    """A row for each row of a result; one that was not measured says why in its second cell."""

    def table(results: Results) -> str:
        lines = []
        for row in results.rows(bench, **wanted):
            cells = [row.get(what) if isinstance(what, str) else what(row) for _, what in columns]
            if reason := row.get("missing"):
                cells = [cells[0], f"not measured: {reason}", *[None] * (len(columns) - 2)]
            lines.append(cells)
        return markdown([name for name, _ in columns], lines)

    return table


def _spread(field: str) -> Callable[[Row], Any]:
    """The least and the most of the samples."""

    def cell(row: Row) -> Any:
        samples = [sample[field] if isinstance(sample, Mapping) else sample for sample in row.get("samples", ())]
        return f"{show(min(samples))} – {show(max(samples))}" if samples else None

    return cell


def _machines(results: Results) -> str:
    lines = []
    for name in results.names:
        result = results.result(name)
        machine, settings = result["machine"], result["settings"]
        before = machine.get("load_before", [settings.get("load")])[0]
        after = machine.get("load_after", [None])[0]
        load = "not recorded" if before is None else show(before) + (f" → {show(after)}" if after is not None else "")
        lines.append([f"`{name}`", result["at"][:10], machine["cores"], machine["processor"], machine["python"], load])
    return markdown(["result", "date", "cores", "processor", "Python", "load, before → after"], lines)


def _versions(results: Results) -> str:
    found: dict[str, set[str]] = {}
    for name in results.names:
        for package, version in results.result(name)["versions"].items():
            if version:
                found.setdefault(package, set()).add(version)
    return ", ".join(f"{package} {' and '.join(sorted(found[package]))}" for package in sorted(found))


def _chunking(results: Results) -> str:
    tools = list(dict.fromkeys(row["tool"] for row in results.rows("chunking")))
    lines = []
    for text in dict.fromkeys(row["text"] for row in results.rows("chunking")):
        for target in (6000, 512):
            cells = {row["tool"]: row for row in results.rows("chunking", text=text, target=target)}
            lines.append([f"{text}, {target}", *(_ratio(cells.get(tool)) for tool in tools)])
    return markdown(["text, tokens a chunk", *tools], lines)


def _ratio(row: Row | None) -> str | None:
    if row is None or "missing" in row:
        return None
    return f"raises {row['raised']}" if "raised" in row else f"{row['ratio']:.2f}"


def _chunk_quality(results: Results) -> str:
    lines = []
    for tool in dict.fromkeys(row["tool"] for row in results.rows("chunking")):
        rows = [row for row in results.rows("chunking", tool=tool) if "chunks" in row]
        if rows:
            whole = sum(row["lossless"] for row in rows)
            torn = sum(row.get("cuts in objects that fit", 0) for row in rows)
            lines.append([tool, sum(row["over"] for row in rows), f"{whole} of {len(rows)}", torn])
    return markdown(
        ["tool", "chunks over the limit", "texts that come back whole", "cuts in JSON objects that fit"], lines
    )


def _cuts(results: Results) -> str:
    """Over all texts of known units, by tool and limit."""
    lines = []
    for target in sorted({row["target"] for row in results.rows("chunking_cuts")}):
        for tool in dict.fromkeys(row["tool"] for row in results.rows("chunking_cuts")):
            rows = [row for row in results.rows("chunking_cuts", target=target, tool=tool) if row.get("cuts")]
            if rows:
                cuts = sum(row["cuts"] for row in rows)
                shares = [sum(row["cuts"] * row[name] for row in rows) / cuts for name in ("wrong %", "of a quarter %")]
                fill = sum(row["fill"] for row in rows) / len(rows)
                lines.append(
                    [f"{tool}, {target}", len(rows), cuts, *(f"{share:.1f}" for share in shares), f"{fill:.2f}"]
                )
    wrong = ("cuts inside a unit that fits, %", "inside one of a quarter of the limit, %")
    return markdown(["tool, tokens a chunk", "kinds of text", "cuts", *wrong, "fill"], lines)


def _crash(results: Results) -> str:
    def told(row: Row, ending: str) -> str:
        came = row[ending]["came_back"]
        return "never returns" if came is None else f"{came} of 7"

    measured = [row for row in results.rows("crash") if "missing" not in row]
    lines = [[row["pool"], told(row, "sigkill"), told(row, "exit_0"), row["orphans"]] for row in measured]
    return markdown(
        ["pool", "back after a SIGKILL", "back after an exit with 0", "processes left of a dead parent"], lines
    )


KILLS = ("kill host", "kill all", "power cut", "dropped fsync", "full disk")
PROVIDER = ("429 storm", "hang", "not JSON")


def _faults(faults: Sequence[str], cell: Callable[[Row], str]) -> Callable[[Results], str]:
    def table(results: Results) -> str:
        tools = list(results.result("faults")["settings"]["tools"])
        lines = []
        for tool in tools:
            rows = {row["fault"]: row for row in results.rows("faults", tool=tool)}
            cells = [_fault_cell(rows.get(fault), cell) for fault in faults]
            if any(cells):
                lines.append([tool, *cells])
        return markdown(["", *faults], lines)

    return table


def _fault_cell(row: Row | None, cell: Callable[[Row], str]) -> str | None:
    if row is None:
        return None
    return "not run" if "missing_tool" in row else cell(row)


def _killed(row: Row) -> str:
    rest = f", **{row['missing']} missing**" if row["missing"] else ""
    return f"{row['bought_twice']} / {row['lost']}{rest}"


def _served(row: Row) -> str:
    return f"{row['missing']} / {row['wrong']} / {row['early']} ({sum(row['samples'][-1]['wall_s']):.0f} s)"


def _limited(results: Results) -> str:
    lines = [
        [row["tool"], row["refused"], row["bought_twice"], row["lost"], row["missing"]]
        for row in results.rows("faults", fault="limit")
        if "missing_tool" not in row
    ]
    return markdown(["tool", "requests over the limit", "bought twice", "lost", "missing"], lines)


def _not_run(results: Results) -> str:
    reasons = {row["tool"]: row["missing_tool"] for row in results.rows("faults") if "missing_tool" in row}
    return "\n".join(f"* Not run: {tool}: {reason}." for tool, reason in reasons.items()) or "All tools ran."


def _abouts(results: Results) -> str:
    settings = results.result("faults")["settings"]
    lines = [[name, about] for name, about in settings["faults"].items()]
    return markdown(["fault", "what happens"], lines).replace("---:", "---")


def _growth_line(row: Row) -> list[Any]:
    sizes = ", ".join(f"{size:,}: {show(cost)}" for size, cost in zip(row["sizes"], row["cpu_s"], strict=True))
    return [row["of"], sizes, f"{row['exponent']:.2f}", f"{row['r2']:.3f}"]


TABLES: dict[str, Callable[[Results], str]] = {
    "machines": _machines,
    "versions": _versions,
    "chunking": _chunking,
    "chunk quality": _chunk_quality,
    "cuts": _cuts,
    "crash": _crash,
    "fault list": _abouts,
    "kills": _faults(KILLS, _killed),
    "provider faults": _faults(PROVIDER, _served),
    "limit after a kill": _limited,
    "tools not run": _not_run,
    "pool": _plain("pool", ("pool", "pool"), ("tasks a second", "tasks_per_s"), ("ratio", "ratio")),
    "calls": _plain(
        "calls", ("client", "client"), ("CPU of a call, ms", "cpu_ms_a_call"), ("ratio", "ratio"), ("span, s", "span_s")
    ),
    "limits": _plain(
        "limits",
        ("client", "client"),
        ("answered", "answered"),
        ("refused", "refused"),
        ("asked too early", "early"),
        ("span, s", "span_s"),
    ),
    "durable": _plain(
        "durable",
        ("tool", "tool"),
        ("steps a second", "steps_per_s"),
        ("ratio", "ratio"),
        ("least – most", _spread("")),
        ("steps measured", "steps"),
    ),
    "startup": _plain(
        "startup",
        ("tool", "tool"),
        ("first request after, s", "first_request_s"),
        ("ratio", "ratio"),
        ("least – most", _spread("first_request_s")),
    ),
    "memory": _plain(
        "memory", ("tool", "tool"), ("peak, MB", "peak_mb"), ("ratio", "ratio"), ("processes", "processes")
    ),
    "resume": _plain(
        "resume",
        ("tool", "tool"),
        ("calls made again", "again_calls"),
        ("time of the second start, s", "again_s"),
        ("ratio", "ratio"),
    ),
    "processes": _plain(
        "processes", ("work", "work"), ("way", "way"), ("wall, s", "wall_s"), ("ratio to threads", "ratio")
    ),
    "in flight": _plain(
        "in_flight",
        ("in flight", "in_flight"),
        ("models", "models"),
        ("limit", lambda row: "200,000 tokens a minute each" if row["limited"] else "none"),
        ("chunks", "chunks"),
        ("ideal, s", "ideal_s"),
        ("took, s", "job_s"),
        ("ratio", "ratio"),
        ("refused", "refused"),
    ),
    "documents": _plain(
        "documents",
        ("tokens", "tokens"),
        ("chunks", "chunks"),
        ("of which calls, s", "ideal_s"),
        ("text to result, s", "wall_s"),
        ("least – most", _spread("wall_s")),
    ),
    "growth": lambda results: markdown(
        ["n", "CPU seconds at n", "exponent", "R²"], [_growth_line(row) for row in results.rows("growth")]
    ),
    "load": _plain(
        "load",
        ("in flight", "concurrent"),
        ("requests", "requests"),
        ("failed", "failed"),
        *((f"{name}, ms", name) for name in ("min", "mean", "median", "p95", "p99")),
        ("a second", "per_s"),
    ),
    "components": _plain(
        "components", ("part", "part"), ("CPU, µs", "cpu_us"), ("share of a chunk", "share"), ("what", "about")
    ),
    "steal": _plain("steal", ("workers", "workers"), ("slots", "slots"), ("steal", "steal"), ("modulo", "modulo")),
}
