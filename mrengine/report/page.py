"""The page: one HTML file that requests nothing. Text from outside is escaped where it is put in."""

from __future__ import annotations

import base64
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path

from mrengine.profiling import format_duration
from mrengine.profiling.durations import percentile
from mrengine.report import charts, numbers
from mrengine.report.gantt import ROWS_SHOWN, gantt
from mrengine.report.numbers import Cause
from mrengine.report.story import DONE, FAILED, PENDING, Coverage, Failure, Story, read_story

__all__ = ["render", "write_report"]

# A page of any job stays small enough for a mail and a browser.
ROWS = 100  # of failures in one group
DOCUMENTS = 30
WHOLE = 12  # documents that are shown where all are whole
MODELS = 6  # with a chart of their own
LONGEST = 300  # characters of a message
# What the page may do: request nothing, and run its own script alone, whatever a text in it contains.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
    "form-action 'none'"
)


def write_report(folder: Path, path: Path, *, state: str = "", against: Path | None = None) -> None:
    """Write the report of the job in ``folder`` to ``path``; ``against``: the folder of a job to compare it with.

    ``state``: "running" where the job's lock is held. JobNotFound, LogError; OSError where the file cannot be written.
    """
    other = None if against is None else read_story(against)  # read first: a wrong job leaves no page behind
    path.write_text(render(read_story(folder, state=state), other), encoding="utf-8")


def render(story: Story, other: Story | None = None) -> str:
    """The whole page."""
    sections = [
        _head(story),
        _cards(story),
        f'<p class="verdict">{escape(numbers.verdict(story))}</p>',
        _where(story),
        _timeline(story),
        _tokens(story),
        _latency(story),
        _failures(story),
        _coverage(story),
        _spending(story),
        _runs(story),
    ]
    if other is not None:
        sections.insert(3, _against(story, other))
    title = escape(f"{story.job_id}: {story.state}")
    style, code, marks = (_asset(f"page.{kind}") for kind in ("css", "js", "svg"))
    policy = _POLICY.format(digest=base64.b64encode(sha256(code.encode()).digest()).decode())
    return "".join((
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">',
        f"<title>{title}</title><style>{style}</style></head><body>{marks}<main>",
        *sections,
        f'</main><div id="tip" role="tooltip"></div><script>{code}</script></body></html>\n',
    ))  # fmt: skip


def _asset(name: str) -> str:
    return files("mrengine.report").joinpath(name).read_text(encoding="utf-8")


def _head(story: Story) -> str:
    began = _when(story.runs[0].began)
    runs = f"{len(story.runs)} runs" if len(story.runs) > 1 else "1 run"
    damage = f"<p><b>{story.damage} records of the log could not be read.</b></p>" if story.damage else ""
    models = ", ".join(story.models) or "no model was called"
    return (
        f"<header><h1>{escape(story.job_id)}</h1>"
        f'<p class="dim">{escape(story.state)} · {escape(story.map_name)} · {escape(models)} · begun {began} · '
        f"{runs} · mrengine {escape(story.version)}</p>{damage}</header>"
    )


def _cards(story: Story) -> str:
    now, projected = numbers.cost(story)
    wall = numbers.wall_s(story)
    ended = story.tasks.ok.count(DONE)
    notes = Counter(note.name for note in story.notes)
    several = story.total > story.chunks  # a task for each chunk and model
    usage = [use.usage for use in story.spending.values()]
    cells = [
        (f"{story.done:,} of {story.total:,}", "tasks done: each chunk by each model" if several else "chunks done"),
        (f"{story.failed:,}", "failed"),
        *([(f"{len(story.in_flight):,}", "in flight now")] if story.in_flight else []),
        (format_duration(wall * 1000), "in runs"),
        (f"{ended / wall:,.1f}" if wall > 0 else "–", "results a second"),
        (f"{sum(use.calls for use in story.spending.values()):,}", "calls answered"),
        (f"{sum(use.input_tokens for use in usage):,}", "tokens of prompts"),
        (f"{sum(use.output_tokens for use in usage):,}", "tokens of answers"),
        (_usd(now), "cost so far" if now is not None else "cost: a model has no price"),
        *([(_usd(projected), "cost of all chunks at this rate")] if now is not None else []),
        (f"{notes['call:retry']:,}", "calls tried again"),
        (f"{notes['worker:crashed']:,}", "workers crashed"),
    ]
    return '<div class="cards">' + "".join(f'<div class="card"><b>{v}</b>{k}</div>' for v, k in cells) + "</div>"


def _where(story: Story) -> str:
    parts = numbers.shares(story)
    whole = sum(part.seconds for part in parts) or 1.0
    rows = [
        f"<tr><td>{charts.swatch(part.name)} {escape(part.name)}</td>"
        f'<td class="n">{part.seconds / whole:.1%}</td><td class="n">{format_duration(part.seconds * 1000)}</td>'
        f'<td class="dim">{escape(part.what)}</td></tr>'
        for part in parts
    ]
    table = f'<div class="scroll"><table class="key">{"".join(rows)}</table></div>'
    return f"<section><h2>Where the time of the slots went</h2>{charts.stacked_bar(parts)}{table}</section>"


def _timeline(story: Story) -> str:
    batches = [(_swatch('fill="url(#bars)"'), "batch at the provider")] if story.batches else []
    key = _key(
        (_swatch('class="done"'), "result"),
        (_swatch('fill="url(#hatch)"'), "failure"),
        (_swatch('fill="url(#lost)"'), "attempt lost"),
        ('<rect width="14" height="6" y="4" fill="url(#dots)"/>', "waits for the rate limit"),
        *batches,
        ('<use href="#crash" x="7" y="7"/>', "worker crashed"),
        ('<use href="#again" x="7" y="7"/>', "chunk tried again"),
        ('<use href="#refusal" x="7" y="7"/>', "call refused and tried again"),
    )
    return f"<section><h2>Tasks over time</h2>{key}{_scroll(gantt(story), 'Tasks over time')}</section>"


def _key(*pairs: tuple[str, str]) -> str:
    marks = (f'<li><svg viewBox="0 0 14 14" aria-hidden="true">{mark}</svg>{name}</li>' for mark, name in pairs)
    return f'<ul class="key">{"".join(marks)}</ul>'


def _swatch(look: str) -> str:
    return f'<rect width="14" height="10" y="2" {look}/>'


def _tokens(story: Story) -> str:
    if not story.granted:
        return ""
    grants: dict[int, list[tuple[float, int]]] = {}
    for at, tokens, model in zip(story.granted_at, story.granted, story.granted_to, strict=True):
        grants.setdefault(model, []).append((at, tokens))
    order = sorted(grants, key=lambda model: -sum(tokens for _, tokens in grants[model]))
    parts = [_granted(story, story.models[model], grants[model]) for model in order[:MODELS]]
    if (more := len(order) - MODELS) > 0:
        parts.append(f'<p class="dim">… and {more} more models.</p>')
    note = '<p class="dim">Of each minute before: what calls reserved, less what they gave back once answered.</p>'
    return f"<section><h2>Tokens granted a minute, against the limit</h2>{note}{''.join(parts)}</section>"


def _granted(story: Story, model: str, grants: list[tuple[float, int]]) -> str:
    limits = story.runs[-1].facts.get("limits")  # logs of other versions may have anything here
    per_minute = limits.get(model) if isinstance(limits, dict) else None
    limit = float(per_minute) if isinstance(per_minute, (int, float)) and per_minute > 0 else None
    note = "" if limit else '<span class="dim">: no limit was given; the provider’s own may hold</span>'
    chart = _scroll(charts.tokens_over_time(charts.Axis(story.runs), sorted(grants), limit), f"Tokens granted: {model}")
    return f"<p>{_cut(model)}{note}</p>{chart}"


def _latency(story: Story) -> str:
    by_model = numbers.latencies(story)
    if not by_model:
        return ""
    every = sorted(value for values in by_model.values() for value in values)
    rows = []
    for model, values in by_model.items():
        quantiles = [values[0], *(percentile(values, share) for share in (0.5, 0.9, 0.95, 0.99)), values[-1]]
        cells = "".join(f'<td class="n">{format_duration(value)}</td>' for value in quantiles)
        rows.append(f'<tr><td>{escape(model)}</td><td class="n">{len(values):,}</td>{cells}</tr>')
    chart = _scroll(charts.histogram(every), "Histogram of latencies")
    head = _head_row("model", "calls", "min", "p50", "p90", "p95", "p99", "max")
    return f"<section><h2>Latency of calls</h2>{chart}{_table(head, rows)}</section>"


def _failures(story: Story) -> str:
    if not story.failures:
        return "<section><h2>Failures</h2><p>None.</p></section>"
    left = ROWS_SHOWN
    groups: list[str] = []
    named: set[int] = set()  # ids that are taken: with several models a chunk has several rows
    for cause in numbers.causes(story.failures):
        shown = cause.failures[: min(ROWS, left)]
        left -= len(shown)
        groups.append(_group(story, cause, shown, named, opened=not groups))
    return f"<section><h2>Failures by cause</h2>{''.join(groups)}</section>"


def _group(story: Story, cause: Cause, shown: Sequence[Failure], named: set[int], *, opened: bool) -> str:
    rows = []
    for failure in shown:
        name = f' id="chunk-{failure.chunk_id}"' if failure.chunk_id not in named else ""
        named.add(failure.chunk_id)
        span = story.spans.get(failure.chunk_id)
        where = f"{span[0]:,}–{span[1]:,}" if span else ""
        rows.append(
            f'<tr{name}><td class="n">{failure.chunk_id}</td><td class="t">{_cut(failure.document_id)}</td>'
            f'<td class="n">{where}</td><td class="t">{_cut(failure.model)}</td><td class="n">{failure.attempts}</td>'
            f'<td class="t why">{_cut(failure.message)}</td></tr>'
        )
    more = len(cause.failures) - len(rows)
    shell = f"mrengine show {shlex.quote(story.job_id)} --failures"
    note = f'<p class="dim">… and {more:,} more: <code>{escape(shell)}</code></p>' if more else ""
    head = '<tr><th class="n">chunk</th><th>document</th><th class="n">characters</th>'
    head += '<th>model</th><th class="n">attempts</th><th>cause</th></tr>'
    summary = f"<b>{len(cause.failures):,} × {_cut(cause.kind)}</b>: {_cut(cause.message)}"
    return f"<details{' open' if opened else ''}><summary>{summary}</summary>{_table(head, rows)}{note}</details>"


def _coverage(story: Story) -> str:
    documents = story.documents
    if not documents:
        return ""
    # Those with something missing first: a reader does not look for the complete ones.
    whole = [all(state == DONE for *_, state in spans) for _, _, spans in documents]
    order = sorted(range(len(documents)), key=whole.__getitem__)
    if whole.count(False) > DOCUMENTS:  # of these the failed ones first: those that have not begun look all alike
        order.sort(key=lambda number: (whole[number], all(state == PENDING for *_, state in documents[number][2])))
    shown = min(DOCUMENTS, max(WHOLE, whole.count(False)))
    rows = [_all_documents(documents)] if len(documents) > WHOLE else []
    for number in order[:shown]:
        name, length, spans = documents[number]
        done = sum(end - start for start, end, state in spans if state == DONE)
        share = f"{min(1.0, done / length):.1%}" if length else "–"
        rows.append(
            f'<tr><td class="t" style="width:30%">{_cut(name)}</td><td class="n">{share}</td>'
            f'<td style="width:55%">{charts.coverage_strip(length, spans)}</td></tr>'
        )
    more = len(documents) - shown
    rest = f"more, {whole.count(True):,} of them whole" if shown < whole.count(False) else "more, all whole"
    note = f'<p class="dim">… and {more:,} {rest}.</p>' if more else ""
    key = _key(
        (_swatch('class="done"'), "done"),
        (_swatch('fill="url(#hatch)"'), "failed"),
        (_swatch('class="idle"'), "nothing yet"),
    )
    return f"<section><h2>Coverage of the documents</h2>{key}{_table('', rows)}{note}</section>"


def _all_documents(documents: Sequence[Coverage]) -> str:
    """A row whose strip is made of all documents, in their order: failed, then unfinished, then done wins."""
    worst_first = (FAILED, PENDING, DONE)
    states = [min((state for *_, state in spans), key=worst_first.index, default=DONE) for _, _, spans in documents]
    strip = charts.coverage_strip(len(states), [(at, at + 1, state) for at, state in enumerate(states)])
    share = f"{states.count(DONE) / len(states):.1%}"
    return f'<tr><td><b>all {len(states):,} documents</b></td><td class="n">{share}</td><td>{strip}</td></tr>'


def _spending(story: Story) -> str:
    if not story.spending:
        return ""
    head = _head_row("model", "calls", "prompt tokens", "of these cached", "answer tokens", "cost")
    rows = []
    for model, use in story.spending.items():
        counts = (use.calls, use.usage.input_tokens, use.usage.cached_tokens, use.usage.output_tokens)
        cells = "".join(f'<td class="n">{count:,}</td>' for count in counts)
        rows.append(f'<tr><td>{escape(model)}</td>{cells}<td class="n">{_usd(use.cost_usd)}</td></tr>')
    return f"<section><h2>Tokens and money</h2>{_table(head, rows)}</section>"


def _runs(story: Story) -> str:
    head = "<tr><th>run</th><th>begun</th><th>length</th><th>ended as</th><th>pool</th></tr>"
    rows = []
    for run in story.runs:
        pool = run.facts.get("workers"), run.facts.get("slots")
        size = f"{pool[0]} workers × {pool[1]} slots" if all(isinstance(value, int) for value in pool) else ""
        reason = f" ({_cut(run.reason)})" if run.reason else ""
        length = format_duration(1000 * (run.ended - run.began))
        rows.append(
            f"<tr><td>{run.number}</td><td>{_when(run.began)}</td><td>{length}</td>"
            f"<td>{escape(run.state)}{reason}</td><td>{size}</td></tr>"
        )
    return f"<section><h2>Runs</h2>{_table(head, rows)}</section>"


def _against(story: Story, other: Story) -> str:
    """Two jobs side by side, with the ratio of the first to the second."""

    def facts(one: Story) -> list[tuple[str, float | None, str]]:
        every = sorted(value for values in numbers.latencies(one).values() for value in values)
        wall = numbers.wall_s(one)
        used = [use.usage for use in one.spending.values()]
        shares = numbers.shares(one)
        return [
            ("chunks done", one.done, ""),
            ("chunks failed", one.failed, ""),
            ("time in runs", wall * 1000, "ms"),
            ("results a second", one.tasks.ok.count(DONE) / wall if wall else None, ""),
            ("calls answered", sum(use.calls for use in one.spending.values()), ""),
            ("tokens of prompts", sum(use.input_tokens for use in used), ""),
            ("tokens of answers", sum(use.output_tokens for use in used), ""),
            ("cost", numbers.cost(one)[0], "$"),
            ("latency p50", percentile(every, 0.5) if every else None, "ms"),
            ("latency p95", percentile(every, 0.95) if every else None, "ms"),
            *((f"slot time: {share.name}", share.seconds * 1000, "ms") for share in shares),
        ]

    rows = []
    for (name, mine, unit), (_, theirs, _) in zip(facts(story), facts(other), strict=True):
        ratio = f"{mine / theirs:.2f}" if mine is not None and theirs else "–"
        cells = "".join(f'<td class="n">{_value(value, unit)}</td>' for value in (mine, theirs))
        rows.append(f'<tr><td>{escape(name)}</td>{cells}<td class="n">{ratio}</td></tr>')
    head = _head_row("", story.job_id, other.job_id, "ratio")
    return f"<section><h2>Compared with {escape(other.job_id)}</h2>{_table(head, rows)}</section>"


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "ms":
        return format_duration(value)
    return _usd(value) if unit == "$" else f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"


def _head_row(first: str, *columns: str) -> str:
    """The head of a table whose columns but the first hold numbers."""
    return f"<tr><th>{first}</th>" + "".join(f'<th class="n">{escape(name)}</th>' for name in columns) + "</tr>"


def _table(head: str, rows: Iterable[str]) -> str:
    return _scroll(f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>", "Table")


def _scroll(inner: str, label: str) -> str:
    """Wide content scrolls by itself, so that the page fits a phone; focusable, so that keys scroll it, too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{inner}</div>'


def _cut(text: str) -> str:
    return escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.4f}" if value < 1 else f"${value:,.2f}"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
