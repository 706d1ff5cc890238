"""The commands that run a function of the user's choice: run, resume; and chunk, which only cuts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

import mrengine
from mrengine.cli.functions import imported, map_function, map_option, reduce_function, reduce_option
from mrengine.cli.options import announce, job_options, resume_options, runner_settings
from mrengine.cli.outcomes import print_estimate, print_run
from mrengine.cli.output import echo, print_json
from mrengine.cli.sources import open_sources
from mrengine.providers.models.model import resolve_models

__all__ = ["COMMANDS"]

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
RUN_EPILOG = """\b
Examples:
  mrengine run notes.txt --prompt 'Diagnoses, one a line: $text' --model gpt-4o-mini
  mrengine run visits.jsonl --each-line --prompt-file ask.txt --schema visit.json --json
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
@job_options
def run(sources: tuple[str, ...], each_line: bool, reduce_name: str | None, **given: Any) -> int:
    """Run a prompt or a function over the chunks of documents. SOURCE is a path or - for stdin.

    Without --reduce the results are printed in order; with --json a record for each chunk, failures too.
    """
    asked = {name: given.pop(name) for name in ("prompt", "prompt_file", "map_name", "schema", "system", "max_tokens")}
    map_fn, reduce_fn = map_function(**asked), reduce_function(reduce_name)
    documents = open_sources(sources, each_line=each_line)
    settings = runner_settings(given)
    chosen = asked["map_name"] is None and "models" not in settings
    if chosen:
        # A prompt needs a model: named here, the embedded one is fetched where it is the one that will be used.
        settings["models"] = [model.spec for model in resolve_models(None)]
    runner = mrengine.MapReduceRunner(given["job_id"], **settings)
    if given["dry_run"]:
        return print_estimate(runner, documents, map_fn)
    announce(runner, quiet=given["quiet"], chosen=chosen)
    done = runner.run(documents, map_fn, reduce_fn, timeout_s=given["timeout"])
    return print_run(done, reduced=reduce_fn is not None, max_failed=given["max_failed"], as_json=given["as_json"])


@click.command()
@click.argument("job_id", metavar="JOB")
@map_option
@reduce_option
@resume_options
def resume(job_id: str, map_name: str | None, reduce_name: str | None, **given: Any) -> int:
    """Go on with a job of a prompt or an importable function; its documents are in its folder.

    Its own prompt or function and its own models are used where none is named. What was done to its results, --reduce,
    has to be said again; a summary goes on by its own command.
    """
    map_fn, reduce_fn = imported(map_name) if map_name else None, reduce_function(reduce_name)
    runner = mrengine.MapReduceRunner(**runner_settings(given))
    announce(runner, quiet=given["quiet"])
    done = runner.resume(job_id, map_fn, reduce_fn, timeout_s=given["timeout"])
    return print_run(done, reduced=reduce_fn is not None, max_failed=given["max_failed"], as_json=given["as_json"])


@click.command()
@click.argument("source")
@click.option("--target-tokens", type=click.IntRange(1), default=6000, show_default=True)
@click.option("--overlap-tokens", type=click.IntRange(0), default=0, show_default=True)
@click.option("--encoding", default="o200k_base", show_default=True)
@click.option("--splitter", default="auto", show_default=True, help="auto, prose, markdown, code, json or dicom.")
@click.option("--json", "as_json", is_flag=True, help="The text of each chunk, too.")
def chunk(source: str, target_tokens: int, overlap_tokens: int, encoding: str, splitter: str, as_json: bool) -> None:
    """Cut a document and print its chunks: id, kind, start, end, overlap (characters), tokens."""
    document = open_sources((source,))[0]
    pieces = mrengine.read_source(document.source, name=document.id)
    for piece in mrengine.safe_chunk(
        pieces, target_tokens=target_tokens, overlap_tokens=overlap_tokens, encoding=encoding, splitter=splitter
    ):
        if as_json:
            print_json({**dataclasses.asdict(piece), "document_id": document.id})
        else:
            echo(f"{piece.id}\t{piece.kind}\t{piece.start}\t{piece.end}\t{piece.overlap}\t{piece.tokens}")


COMMANDS = (run, resume, chunk)
