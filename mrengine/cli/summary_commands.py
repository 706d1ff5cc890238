"""The command summarize."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import mrengine
from mrengine.cli.exits import DONE, TOO_MANY_FAILED, ended
from mrengine.cli.notes import say
from mrengine.cli.options import announce, default_models, job_options, priced, runner_settings
from mrengine.cli.outcomes import print_estimate, too_many_failed
from mrengine.cli.output import StdoutClosed, echo, print_json, writable_folder, write_whole
from mrengine.cli.sources import open_sources
from mrengine.summarizer import summary_runner

__all__ = ["summarize"]

EPILOG = """\b
Examples:
  mrengine summarize report.txt
  mrengine summarize contracts/*.pdf -o summaries --query 'notice periods'
  mrengine summarize https://example.com/report.html --model gpt-4o-mini --json
"""


@click.command(epilog=EPILOG)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Write STEM.md for each source.")
@click.option("--together", is_flag=True, help="One summary over all sources.")
@click.option("--query", default=None, help="Summarise what is said about this.")
@job_options
def summarize(sources: tuple[str, ...], output: Path | None, together: bool, query: str | None, **given: Any) -> int:
    """Summarise documents: one summary each, or one over all with --together. SOURCE is a path, a folder,
    a URL or - for stdin."""
    settings = runner_settings({**given, "sources": sources})
    skip = settings["on_source_error"] == "skip"
    documents = open_sources(sources, skip=skip, allow_private=given["allow_private"])
    chosen = "models" not in settings
    if chosen and given["prices"]:
        settings["models"] = priced(default_models(dry_run=given["dry_run"]), given["prices"]) or None
    runner = summary_runner(given["job_id"], keys=not given["dry_run"], **settings)
    if given["dry_run"]:
        say("the calls that join the summaries of chunks are not counted", quiet=given["quiet"])
        return print_estimate(runner, documents, None, as_json=given["as_json"])
    if output is not None:
        writable_folder(output)
    announce(runner, quiet=given["quiet"], chosen=chosen)
    summary = mrengine.summarize(documents, query=query, together=together, runner=runner, timeout_s=given["timeout"])
    if too_many_failed(summary.run, given["max_failed"], withheld="the summaries are withheld"):
        say(ended(summary.run.summary), quiet=given["quiet"])
        return TOO_MANY_FAILED
    texts = {"all": summary.text} if together else summary.texts
    for name in [document.id for document in documents if not together] or texts:
        if not texts.get(name):
            say(f"{name}: no summary: its chunks failed, or hold no prose")
    if output is not None:
        _write(texts, output, quiet=given["quiet"])
    try:
        _print(texts, summary.job_id, as_json=given["as_json"], as_text=output is None)
    except StdoutClosed:
        pass
    say(ended(summary.run.summary), quiet=given["quiet"])
    return DONE


def _write(texts: dict[str, str], folder: Path, *, quiet: bool) -> None:
    names = _file_names(texts)
    for source, name in names.items():
        write_whole(folder / name, texts[source] + "\n")
    if len(names) > 1:
        say(f"wrote {len(names)} summaries to {folder}", quiet=quiet)
    elif names:
        say(f"wrote {folder / next(iter(names.values()))}", quiet=quiet)


def _print(texts: dict[str, str], job_id: str, *, as_json: bool, as_text: bool) -> None:
    for name, text in texts.items():
        if as_json:
            print_json({"source": name, "summary": text, "job_id": job_id})
        elif as_text:
            echo(f"# {name}\n\n{text}\n" if len(texts) > 1 else text)


def _file_names(texts: dict[str, str]) -> dict[str, str]:
    """STEM.md each; where two sources have one stem, the later ones are numbered."""
    names: dict[str, str] = {}
    for source in texts:
        stem, number = Path(source).stem or "summary", 2
        name = f"{stem}.md"
        while name in names.values():
            name, number = f"{stem}-{number}.md", number + 1
        names[source] = name
    return names
