"""The command summarize."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

import mrengine
from mrengine import Document
from mrengine.cli.exits import DONE, TOO_MANY_FAILED, ended
from mrengine.cli.options import announce, default_models, job_options, priced, runner_settings
from mrengine.cli.outcomes import print_estimate, too_many_failed
from mrengine.cli.output import StdoutClosed, echo, print_json, printable, say, writable_folder, write_whole
from mrengine.cli.sources import open_sources
from mrengine.summaries.footnotes import footnotes, in_markdown, of_document
from mrengine.summarizer import METHODS, summary_runner

__all__ = ["summarize"]

EPILOG = """\b
Examples:
  mrengine summarize report.txt
  mrengine summarize contracts/*.pdf -o summaries --query 'notice periods' --cite
  mrengine summarize report.txt --query 'side effects' --top-k 8
  mrengine summarize notes.txt --method extract
  mrengine summarize https://example.com/report.html --model gpt-4o-mini --json
"""


@click.command(epilog=EPILOG)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Write STEM.md for each source.")
@click.option("--together", is_flag=True, help="One summary over all sources.")
@click.option("--query", default=None, help="Summarise what is said about this.")
@click.option("--cite", is_flag=True, help="Name the passages that statements rest on, looked up; footnotes say where.")
@click.option("--top-k", type=click.IntRange(1), default=None, help="Ask about the K chunks nearest to --query alone.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="map_reduce",
    show_default=True,
    help="refine: a running summary, in order. extract: sentences of the text, no model.",
)
@click.option(
    "--strategy",
    type=click.Choice(["parallel", "streaming", "sequential"]),
    default=None,
    help="How calls are made; results are the same.  [default: parallel]",
)
@click.option(
    "--max-tokens", type=click.IntRange(1), default=None, help="Of each answer.  [default: as its text needs]"
)
@click.option(
    "--stream", "live", is_flag=True, help="Show the text as the model writes it (one source, or --together)."
)
@click.option("--by-heading", is_flag=True, help="Join sections first.")
@job_options
def summarize(
    sources: tuple[str, ...],
    output: Path | None,
    together: bool,
    query: str | None,
    cite: bool,
    top_k: int | None,
    method: Any,
    strategy: str | None,
    max_tokens: int | None,
    live: bool,
    by_heading: bool,
    **options: Any,
) -> int:
    """Summarise documents: one summary each, or one over all with --together. SOURCE is a path, a folder,
    a URL or - for stdin."""
    settings = runner_settings({**options, "sources": sources}) | ({} if strategy is None else {"strategy": strategy})
    skip = settings["on_source_error"] == "skip"
    documents = open_sources(sources, skip=skip, allow_private=options["allow_private"])
    chosen = "models" not in settings and method != "extract"
    if chosen and options["prices"]:
        settings["models"] = priced(default_models(dry_run=options["dry_run"]), options["prices"]) or None
    runner = summary_runner(options["job_id"], method=method, keys=not options["dry_run"], **settings)
    if options["dry_run"]:
        # How many merges there are depends on the length of summaries that nobody has written yet.
        say("the calls that join the summaries of chunks are not counted", quiet=options["quiet"])
        return print_estimate(runner, documents, None, as_json=options["as_json"])
    if output is not None:
        writable_folder(output)
    announce(runner, quiet=options["quiet"], chosen=chosen)
    if live:
        _check_live(documents, output, together=together, as_json=options["as_json"])
    together = together or live  # a stream has one text; of one source that is the same
    how: dict[str, Any] = {
        "query": query,
        "method": method,
        "cite": cite,
        "top_k": top_k,
        "together": together,
        "max_tokens": max_tokens,
        "group_by": "heading" if by_heading else None,
        "runner": runner,
        "timeout_s": options["timeout"],
    }
    if live:
        summary = _live(mrengine.summarize(documents, stream=True, **how), cite=cite)
    else:
        summary = mrengine.summarize(documents, **how)
    if too_many_failed(summary.run, options["max_failed"], withheld="the summaries are withheld"):
        say(ended(summary.run.summary), quiet=options["quiet"])
        return TOO_MANY_FAILED
    parts = {"all": summary} if together else {name: of_document(summary, name) for name in summary.texts}
    _say_what_is_missing(summary, parts, None if together else [document.id for document in documents])
    if output is not None:
        _write(parts, output, quiet=options["quiet"], cite=cite)
    with suppress(StdoutClosed):
        _print(parts, as_json=options["as_json"], as_text=output is None and not live, cite=cite)
    _report(summary, quiet=options["quiet"], cite=cite)
    return DONE


def _say_what_is_missing(
    summary: mrengine.Summary, parts: Mapping[str, mrengine.Summary], names: list[str] | None
) -> None:
    """Tell which documents have no summary, and why. ``names`` None: there is one summary of all."""
    unread = {error.document_id or error.source for error in summary.run.unread}
    for name in names or parts:
        if (name not in parts or not parts[name].text) and name not in unread:  # those are reported as unreadable
            say(f"{printable(name)}: no summary: {_why_none(summary, None if names is None else name)}")


def _why_none(summary: mrengine.Summary, name: str | None) -> str:
    """Why the document ``name`` has no summary; None: why the whole has none."""
    results = [result for result in summary.run.results if name in (None, result.document_id)]
    failed = [failure for failure in summary.run.failures if name in (None, failure.document_id)]
    if failed and not results:
        return f"its chunks failed ({failed[0].kind})"
    if not results:
        return "it has no text"
    if all(result.chunk_id in summary.left_out for result in results):
        return "--top-k left it out"
    return "nothing was found in it that could be said, or verified"


def _check_live(documents: Sequence[Document], output: Path | None, *, together: bool, as_json: bool) -> None:
    if as_json or output is not None or (len(documents) > 1 and not together):
        raise click.UsageError("--stream prints one text: without --json and -o, over one source or with --together")


def _live(stream: mrengine.SummaryStream, *, cite: bool) -> mrengine.Summary:
    """Print the text as it comes, then its footnotes. Where it begins anew, a rule is printed between."""
    with stream:
        begun = False
        for one in stream:
            if isinstance(one, str):
                begun = True
                echo(printable(one), end="")
            elif one.stage == "again" and begun:
                echo("\n\n---\n")
    notes = footnotes(stream.summary) if cite else ""
    echo(f"\n\n{printable(notes)}" if notes else "")
    return stream.summary


_REPORTED = (
    ("unsupported", "sentence has no verified claim (unsupported)", "sentences have no verified claim (unsupported)"),
    ("uncovered", "chunk has no trace in it (uncovered)", "chunks have no trace in it (uncovered)"),
    ("contradictions", "pair of statements is a contradiction", "pairs of statements contradict each other"),
    ("left_out", "chunk was left out by --top-k", "chunks were left out by --top-k"),
)


def _report(summary: mrengine.Summary, *, quiet: bool, cite: bool) -> None:
    """Print what a reader should know about the statements, and how the run ended."""
    for field, one, many in _REPORTED:
        number = len(getattr(summary, field))
        # An extract has claims without being asked for them; only with --cite is its evidence the reader's concern.
        if number and (cite or field not in ("unsupported", "uncovered")):
            what, names = (one, "it") if number == 1 else (many, "them")
            say(f"{number} {what}{'' if quiet else f'; --json names {names}'}", quiet=quiet)
    say(ended(summary.run.summary), quiet=quiet)


def _write(parts: dict[str, mrengine.Summary], folder: Path, *, quiet: bool, cite: bool) -> None:
    names = _file_names({source: part for source, part in parts.items() if part.text})
    for source, name in names.items():
        # Viewers of Markdown load images and run tags: a document, or a model, may have put some there.
        write_whole(folder / name, in_markdown(_text(parts[source], cite=cite, breaks="  \n")) + "\n")
    if len(names) > 1:
        say(f"wrote {len(names)} summaries to {folder}", quiet=quiet)
    elif names:
        say(f"wrote {folder / next(iter(names.values()))}", quiet=quiet)


def _text(part: mrengine.Summary, *, cite: bool, breaks: str = "\n") -> str:
    """The text with its footnotes. ``breaks``: the line end before a footnote; Markdown joins lines without it."""
    notes = footnotes(part) if cite else ""
    return printable(part.text if not notes else f"{part.text}\n\n{notes}".replace("\n[", f"{breaks}["))


def _print(parts: dict[str, mrengine.Summary], *, as_json: bool, as_text: bool, cite: bool) -> None:
    for name, part in parts.items():
        if as_json:
            more = part.evidence() if cite or part.left_out or part.claims else {}
            print_json({"source": name, "summary": part.text, "job_id": part.job_id, **more})
        elif as_text:
            text = _text(part, cite=cite)
            echo(f"# {printable(name)}\n\n{text}\n" if len(parts) > 1 else text)


def _file_names(texts: Iterable[str]) -> dict[str, str]:
    """The file of each source: STEM.md; where two have the same stem, the later ones are numbered."""
    names: dict[str, str] = {}
    for source in texts:
        stem, number = Path(source).stem or "summary", 2
        name = f"{stem}.md"
        while name in names.values():
            name, number = f"{stem}-{number}.md", number + 1
        names[source] = name
    return names
