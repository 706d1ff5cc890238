"""The commands that run a job: summarize, run, resume; and chunk, which only cuts."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import mrengine
from mrengine.cli.exits import DONE, TOO_MANY_FAILED, say
from mrengine.cli.options import job_options, open_sources, runner_settings, state_option, stopped_by_sigterm
from mrengine.cli.output import print_json, record_of, write_whole
from mrengine.errors import ConfigError
from mrengine.providers.models import resolve_models
from mrengine.records import Document, RunResult
from mrengine.summarizer import summary_runner

__all__ = ["COMMANDS"]

REDUCERS = ("collect", "concatenate", "medical_report_aggregator", "consensus_aggregator")


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Write STEM.md for each source.")
@click.option("--together", is_flag=True, help="One summary over all sources.")
@click.option("--query", default=None, help="Summarise what is said about this.")
@job_options
def summarize(sources: tuple[str, ...], output: Path | None, together: bool, query: str | None, **given: Any) -> int:
    """Summarise documents: one summary each, or one over all with --together. SOURCE is a path or - for stdin."""
    documents = open_sources(sources)
    runner = summary_runner(given["job_id"], **runner_settings(given))
    if given["dry_run"]:
        return _print_estimate(runner, documents, None)
    _announce(runner, given)
    with stopped_by_sigterm(runner.stop):
        summary = mrengine.summarize(
            documents, query=query, together=together, runner=runner, timeout_s=given["timeout"]
        )
    if _too_many(summary.run, given):
        return TOO_MANY_FAILED
    texts = {"all": summary.text} if together else summary.texts
    _write_summaries(texts, output, given, summary.run)
    return DONE


def _write_summaries(texts: dict[str, str], output: Path | None, given: dict[str, Any], run: RunResult) -> None:
    names = _file_names(texts) if output is not None else {}
    for name, text in texts.items():
        if output is not None:
            path = output / names[name]
            write_whole(path, text + "\n")
            say(f"wrote {path}", quiet=given["quiet"])
        if given["as_json"]:
            print_json({"source": name, "summary": text, "job_id": run.job_id})
        elif output is None:
            heading = f"# {name}\n\n" if len(texts) > 1 else ""
            click.echo(f"{heading}{text}" + ("\n" if len(texts) > 1 else ""))


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


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--prompt", default=None, help="The prompt; $text stands for the chunk.")
@click.option(
    "--prompt-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The same, in a file."
)
@click.option("--map", "map_name", default=None, metavar="MODULE:FUNCTION", help="A map function (chunk, context).")
@click.option(
    "--reduce", "reduce_name", default=None, metavar="NAME", help=f"{', '.join(REDUCERS)}, or MODULE:FUNCTION."
)
@click.option(
    "--schema", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JSON schema of answers."
)
@click.option("--system", default=None, help="The system prompt.")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Of each answer.")
@click.option("--each-line", is_flag=True, help="Every line of a source is a document.")
@job_options
def run(sources: tuple[str, ...], each_line: bool, **given: Any) -> int:
    """Run a prompt or a function over the chunks of documents. SOURCE is a path or - for stdin.

    Without --reduce the results are printed in order; with --json a record for each chunk, failures too.
    """
    map_fn = _map_function(given)
    reduce_fn = _reduce_function(given["reduce_name"])
    documents = open_sources(sources, each_line=each_line)
    runner = _runner(given)
    if given["dry_run"]:
        return _print_estimate(runner, documents, map_fn)
    _announce(runner, given)
    with stopped_by_sigterm(runner.stop):
        done = runner.run(documents, map_fn, reduce_fn, timeout_s=given["timeout"])
    return _print_run(done, reduce_fn, given)


@click.command()
@click.argument("job_id")
@click.option("--map", "map_name", default=None, metavar="MODULE:FUNCTION", help="The map function, where it moved.")
@click.option(
    "--reduce", "reduce_name", default=None, metavar="NAME", help=f"{', '.join(REDUCERS)}, or MODULE:FUNCTION."
)
@click.option("--model", "models", multiple=True, help="The job's models, where their names do not say enough.")
@click.option("--workers", type=click.IntRange(1, 1024), default=None)
@click.option("--slots", type=click.IntRange(1, 4096), default=None)
@click.option("--max-failed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--timeout", type=float, default=None, metavar="S")
@state_option
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each record.")
@click.option("--quiet", is_flag=True)
def resume(job_id: str, map_name: str | None, reduce_name: str | None, **given: Any) -> int:
    """Go on with a job of a prompt or an importable function; its documents are in its folder."""
    from mrengine.host.stored import import_function

    settings = {name: given[name] for name in ("workers", "slots", "state_dir") if given[name] is not None}
    if given["models"]:
        settings["models"] = list(given["models"])
    _import_from_here(map_name)
    runner = mrengine.MapReduceRunner(progress=False if given["quiet"] else None, keep="always", **settings)
    map_fn = import_function(map_name) if map_name else None
    reduce_fn = _reduce_function(reduce_name)
    with stopped_by_sigterm(runner.stop):
        done = runner.resume(job_id, map_fn, reduce_fn, timeout_s=given["timeout"])
    return _print_run(done, reduce_fn, given)


@click.command()
@click.argument("source")
@click.option("--target-tokens", type=click.IntRange(1), default=6000, show_default=True)
@click.option("--overlap-tokens", type=click.IntRange(0), default=0, show_default=True)
@click.option("--encoding", default="o200k_base", show_default=True)
@click.option("--splitter", default="auto", show_default=True, help="auto, or a kind of text.")
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
            click.echo(f"{piece.id}\t{piece.kind}\t{piece.start}\t{piece.end}\t{piece.overlap}\t{piece.tokens}")


def _runner(given: dict[str, Any]) -> mrengine.MapReduceRunner:
    settings = runner_settings(given)
    if given["map_name"] is None and "models" not in settings and not os.environ.get("MRENGINE_MODELS"):
        # A prompt needs a model: named here, the embedded one is fetched where it is the one that will be used.
        settings["models"] = [model.spec for model in resolve_models(None)]
    return mrengine.MapReduceRunner(given["job_id"], **settings)


def _announce(runner: mrengine.MapReduceRunner, given: dict[str, Any]) -> None:
    def told(event: Any) -> None:
        say(
            f"job {event.job_id}: {event.total} chunks, {event.resumed} done; the same command resumes",
            quiet=given["quiet"],
        )

    runner.on("job:start", told)


def _map_function(given: dict[str, Any]) -> Callable[..., Any]:
    from mrengine.host.stored import import_function

    ways = [given["prompt"], given["prompt_file"], given["map_name"]]
    if sum(way is not None for way in ways) != 1:
        raise click.UsageError("give one of --prompt, --prompt-file, --map")
    if given["map_name"] is not None:
        _import_from_here(given["map_name"])
        return import_function(given["map_name"])
    template = given["prompt"] if given["prompt"] is not None else given["prompt_file"].read_text(encoding="utf-8")
    schema = None
    if given["schema"] is not None:
        try:
            schema = json.loads(given["schema"].read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{given['schema']} is not JSON: {error}", setting="schema") from None
    return mrengine.map_prompt(template, system=given["system"], max_tokens=given["max_tokens"], response_model=schema)


def _reduce_function(name: str | None) -> Callable[[Any], Any] | None:
    if name is None:
        return None
    if ":" in name:
        from mrengine.host.stored import import_function

        _import_from_here(name)
        return import_function(name)
    if name not in REDUCERS:
        raise click.BadParameter(f"{name!r} is none of {', '.join(REDUCERS)}", param_hint="--reduce")
    reducer: Callable[[Any], Any] = getattr(mrengine, name)
    return reducer


def _import_from_here(name: str | None) -> None:
    """Functions are looked for in the current folder, too, as ``python -m`` does."""
    if name is not None and "" not in sys.path:
        sys.path.insert(0, "")


def _too_many(run: RunResult, given: dict[str, Any]) -> bool:
    failures: Sequence[Any] = run.failures
    if len(failures) <= given["max_failed"]:
        return False
    for failure in failures[:5]:
        say(f"chunk {failure.chunk_id} of {failure.document_id} failed ({failure.kind}): {failure.message}")
    told = f"{len(failures)} of {run.summary.total_chunks} chunks failed, --max-failed is {given['max_failed']}"
    say(f"mrengine: {told}; the answer is withheld. The same command tries them again")
    return True


def _print_run(done: RunResult, reduce_fn: Any, given: dict[str, Any]) -> int:
    too_many = _too_many(done, given)
    if reduce_fn is None:
        if given["as_json"]:
            for outcome in (*done.results, *done.failures):
                print_json(record_of(outcome))
        else:
            for result in done.results:
                _print_value(result.result)
    elif not too_many:
        print_json(done.result) if given["as_json"] else _print_value(done.result)
    return TOO_MANY_FAILED if too_many else DONE


def _print_value(value: Any) -> None:
    if isinstance(value, str):
        click.echo(value)
    else:
        print_json(value)


def _print_estimate(runner: mrengine.MapReduceRunner, documents: list[Document], map_fn: Any) -> int:
    estimate = runner.estimate(documents, map_fn)
    print_json(dataclasses.asdict(estimate))
    return DONE


COMMANDS = (summarize, run, resume, chunk)
