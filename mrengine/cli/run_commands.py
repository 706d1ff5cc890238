"""The commands around a function of the user's choice: run, resume, diff (what a run would ask again), chunk."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import click

import mrengine
from mrengine.cli.exits import DONE, WAITING
from mrengine.cli.functions import imported, map_function, map_option, reduce_function, reduce_option
from mrengine.cli.job_ids import find_job, job_argument
from mrengine.cli.options import (
    announce,
    default_models,
    job_options,
    json_option,
    priced,
    resume_options,
    runner_settings,
    state_option,
)
from mrengine.cli.outcomes import print_diff, print_estimate, print_pilot, print_run, printing_done
from mrengine.cli.output import echo, log_to_stderr, print_json, say
from mrengine.cli.sources import open_sources
from mrengine.errors import JobWaiting
from mrengine.host.stored import stored_job
from mrengine.outputs.files import check_path

__all__ = ["COMMANDS"]

detach_option = click.option(
    "--detach", is_flag=True, help="With --batch: return when the batches are under way; resume collects them."
)

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
RUN_EPILOG = """\b
Examples:
  mrengine run notes.txt --prompt 'Diagnoses, one a line: $text' --model gpt-4o-mini
  mrengine run visits.jsonl --each-line --prompt-file ask.txt --schema visit.json --json
  mrengine run visits.csv --text-column note --id-column visit --prompt 'Diagnoses: $text' -o out.csv
  mrengine run big.log --map triage:classify --reduce collect --workers 8
  mrengine run notes.txt --prompt '…' --limits gpt-4o:tpm=60000,rpm=500 --model gpt-4o
"""


@click.command(epilog=RUN_EPILOG)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--prompt",
    default=None,
    help="The prompt; $text stands for the chunk, fenced as data; without it the chunk comes at the end.",
)
@click.option("--prompt-file", type=FILE, help="The same, in a file.")
@map_option
@reduce_option
@click.option("--schema", type=FILE, help="A JSON schema of answers: results are validated values.")
@click.option("--system", default=None, help="The system prompt.")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Of each answer.")
@click.option(
    "--each-line",
    is_flag=True,
    help="Every line of a source that is not blank is a document, with an id FILE:LINE; a long one has many chunks.",
)
@click.option(
    "--text-column",
    default=None,
    metavar="NAME",
    help="Every row of a CSV, TSV or Parquet source is a document: the text in this column; the others are its fields.",
)
@click.option(
    "--id-column",
    default=None,
    metavar="NAME",
    help="With --text-column: the column of ids; with --each-line: the field, in JSON Lines; FILE:ID each.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write the results to a .csv, .tsv, .jsonl or .parquet file, a row for each chunk, failures too.",
)
@click.option(
    "--calls-per-chunk", type=click.FloatRange(0), default=None, help="With --dry-run: how many calls --map makes."
)
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="With --dry-run: run --map over N chunks, answered by a fake model, and count its calls.",
)
@detach_option
@click.option(
    "--pilot",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Run N chunks spread over the input, keep them, and say what the whole will cost and take.",
)
@job_options
def run(sources: tuple[str, ...], each_line: bool, reduce_name: str | None, detach: bool, **options: Any) -> int:
    """Run a prompt or a function over the chunks of documents. SOURCE is a path, a folder, a URL or - for stdin.

    Text, PDF, HTML, DOCX, PPTX, XLSX, Parquet and DICOM are read, packed with gzip or zstd or not. Without --reduce
    the results are printed in order; with --json a record for each chunk, failures too; with -o they go to a file.
    """
    output, columns = options.pop("output"), {name: options.pop(f"{name}_column") for name in ("text", "id")}
    if output is not None:
        check_path(output)  # its suffix and folder, before anything is paid for
    options["sources"] = sources
    log_to_stderr(quiet=options["quiet"])  # now: reading the sources may already warn
    prompting = {
        name: options.pop(name) for name in ("prompt", "prompt_file", "map_name", "schema", "system", "max_tokens")
    }
    map_fn, reduce_fn = map_function(**prompting), reduce_function(reduce_name)
    settings = runner_settings(options)
    documents = open_sources(
        sources,
        each_line=each_line,
        skip=settings["on_source_error"] == "skip",
        allow_private=options["allow_private"],
        text=columns["text"],
        id_column=columns["id"],
    )
    chosen = prompting["map_name"] is None and "models" not in settings
    if chosen or (options["prices"] and "models" not in settings):
        # A prompt needs a model: named here, the embedded one is fetched where it is the one that will be used.
        settings["models"] = priced(default_models(dry_run=options["dry_run"]), options["prices"]) or None
    runner = mrengine.MapReduceRunner(options["job_id"], **settings)
    if options["dry_run"]:
        how = {name: options[name] for name in ("calls_per_chunk", "sample")}
        return print_estimate(runner, documents, map_fn, as_json=options["as_json"], **how)
    announce(runner, quiet=options["quiet"], chosen=chosen)
    if detach:
        _say_waiting(runner.submit(documents, map_fn, timeout_s=options["timeout"]))
        return DONE
    if options["pilot"]:
        pilot = runner.pilot(documents, map_fn, options["pilot"], timeout_s=options["timeout"])
        return print_pilot(pilot, as_json=options["as_json"])
    with printing_done(reduced=reduce_fn is not None, as_json=options["as_json"]):
        done = runner.run(documents, map_fn, reduce_fn, timeout_s=options["timeout"])
    if output is not None:
        say(f"wrote {done.export(output)}", quiet=options["quiet"])
    lines = each_line or columns["text"] is not None
    how = _printing(options)
    return print_run(done, reduced=reduce_fn is not None, written=output is not None, each_line=lines, **how)


@click.command()
@job_argument
@map_option
@reduce_option
@click.option(
    "--api-key-env", default=None, metavar="NAME", help="The variable with the key of a model at an address of its own."
)
@click.option(
    "--on-mismatch",
    type=click.Choice(["error", "recompute", "restart"]),
    default=None,
    help="When the function was mended, or another model is named: recompute keeps what still fits.  [default: error]",
)
@detach_option
@resume_options
def resume(
    job_id: str, map_name: str | None, reduce_name: str | None, api_key_env: str | None, detach: bool, **options: Any
) -> int:
    """Go on with a job of a prompt or an importable function; its documents are in its folder.

    Its own prompt or function and its own models are used where none is named. What was done to its results, --reduce,
    has to be said again; a summary goes on by its own command.
    """
    log_to_stderr(quiet=options["quiet"])
    map_fn, reduce_fn = imported(map_name) if map_name else None, reduce_function(reduce_name)
    job = find_job(job_id, options["state_dir"])
    settings = runner_settings(options)
    if options["prices"] and "models" not in settings:  # the prices are those of the job's own models
        with mrengine.ResumeEngine(job.folder) as view:
            stored = stored_job(view, job.job_id).models(None)
        settings["models"] = priced([model.spec for model in stored], options["prices"])
    runner = mrengine.MapReduceRunner(**settings)
    announce(runner, quiet=options["quiet"])
    how = {"timeout_s": options["timeout"], "api_key_env": api_key_env, "detach": detach}
    with printing_done(reduced=reduce_fn is not None, as_json=options["as_json"]):
        try:
            done = runner.resume(job.job_id, map_fn, reduce_fn, **how)
        except JobWaiting:  # a JobError, but what it has done is printed by the resume that collects the rest
            _say_waiting(job)
            return WAITING
    # The log does not say that documents were lines of a source; their ids do.
    lines = all(re.search(r":\d+$", outcome.document_id) for outcome in (*done.results[:1], *done.results[-1:]))
    return print_run(done, reduced=reduce_fn is not None, written=False, each_line=lines, **_printing(options))


def _say_waiting(job: mrengine.Job) -> None:
    """Say that a job was left to its batches, or is done without them: stored answers were enough."""
    done = job.status().state == "done"
    say(f"job {job.job_id} is done" if done else f"job {job.job_id} waits for its batches; nothing need stay alive")
    say(f"'mrengine resume {job.job_id}' {'prints' if done else 'collects'} the results")


def _printing(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("max_failed", "as_json", "quiet")}


@click.command()
@click.argument("source")
@click.option("--target-tokens", type=click.IntRange(1), default=6000, show_default=True)
@click.option("--overlap-tokens", type=click.IntRange(0), default=0, show_default=True)
@click.option("--encoding", default="o200k_base", show_default=True)
@click.option("--splitter", default="auto", show_default=True, help="auto, or a kind of text (see the reference).")
@click.option("--json", "as_json", is_flag=True, help="The text of each chunk, too.")
def chunk(source: str, target_tokens: int, overlap_tokens: int, encoding: str, splitter: str, as_json: bool) -> None:
    """Cut a document and print its chunks: id, kind, start, end, overlap (characters), tokens."""
    document = open_sources((source,))[0]
    pieces = mrengine.read_source(document.source, name=document.id)
    for piece in mrengine.safe_chunk(
        pieces,
        target_tokens=target_tokens,
        overlap_tokens=overlap_tokens,
        encoding=encoding,
        splitter=splitter,
        document_id=document.id,
    ):
        if as_json:
            print_json({**dataclasses.asdict(piece), "document_id": document.id})
        else:
            echo(f"{piece.id}\t{piece.kind}\t{piece.start}\t{piece.end}\t{piece.overlap}\t{piece.tokens}")


@click.command()
@job_argument
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--each-line", is_flag=True, help="As in the run: every line is a document.")
@click.option("--text-column", default=None, metavar="NAME", help="As in the run: every row of a table is one.")
@click.option("--id-column", default=None, metavar="NAME", help="As in the run.")
@state_option
@json_option
def diff(
    job_id: str,
    sources: tuple[str, ...],
    each_line: bool,
    text_column: str | None,
    id_column: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Say what a job would ask again, and what that would cost, with SOURCE as it is now. Nothing is called.

    The run itself is that of before, with --on-mismatch recompute.
    """
    job = find_job(job_id, state_dir)
    print_diff(job.diff(open_sources(sources, each_line=each_line, text=text_column, id_column=id_column)), as_json)


COMMANDS = (run, resume, diff, chunk)
