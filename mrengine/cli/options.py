"""The options that several commands share, and their translation into settings of the library."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import click

import mrengine
from mrengine.cli.exits import Invocation
from mrengine.cli.job_ids import complete_models
from mrengine.cli.output import log_to_stderr, say
from mrengine.cli.sources import has_folder
from mrengine.errors import ConfigError
from mrengine.profiling import PerformanceCollector
from mrengine.providers.models.model import resolve_models
from mrengine.records import Batch, Budget, ModelSpec, Price, RateLimit
from mrengine.settings import Settings

__all__ = [
    "announce", "default_models", "job_options", "json_option", "model_option", "priced", "private_option",
    "resume_options", "runner_settings", "seconds_of", "slots_option", "state_option", "workers_option",
]  # fmt: skip

Command = TypeVar("Command", bound=Callable[..., Any])

state_option = click.option(
    "--state-dir", type=click.Path(file_okay=False), default=None, help="Where jobs are kept (MRENGINE_STATE_DIR)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")
private_option = click.option(
    "--allow-private", is_flag=True, help="Fetch URLs of the own network and of this machine, too."
)
model_option = click.option(
    "--model",
    "models",
    multiple=True,
    shell_complete=complete_models,
    help="A model's name; several take turns. See 'mrengine models'.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(1, 1024), default=None, help="Worker processes.  [default: 5]"
)
slots_option = click.option(
    "--slots", type=click.IntRange(1, 4096), default=None, help="Concurrent tasks in each.  [default: 1]"
)
ABOVE_ZERO = click.FloatRange(min=0, min_open=True)
# Defaults are None where the library has its own: an option that is not given must not beat the environment.
_INPUTS = [
    click.option("--job-id", default="auto", show_default="a digest of the inputs", help="Names the job."),
    click.option(
        "--target-tokens",
        default=None,
        help="Tokens of a chunk: a number, 'none', or 'auto': 6000, or what the model holds.  [default: auto]",
    ),
    click.option(
        "--overlap-tokens",
        type=click.IntRange(0),
        default=None,
        help="Tokens of a chunk's lead-in.  [default: 350, at most a quarter of the target]",
    ),
    click.option(
        "--on-mismatch",
        type=click.Choice(["error", "extend", "recompute", "restart"]),
        default=None,
        help="When a job of this id had other inputs.  [default: error; recompute where the id is a digest]",
    ),
    click.option(
        "--skip-unreadable",
        is_flag=True,
        help="Leave out sources that cannot be read, and say which; files of a folder are left out anyway.",
    ),
    private_option,
    click.option("--dry-run", is_flag=True, help="Count chunks, tokens and cost; call nothing."),
]
_RUNNING = [
    model_option,
    workers_option,
    slots_option,
    click.option("--priority", type=click.Choice(["P0", "P1", "P2"]), default=None, help="At a shared limit."),
    click.option("--limits", multiple=True, metavar="MODEL:tpm=N,rpm=N", help="A model's limits per minute."),
    click.option("--max-tokens-total", type=click.IntRange(1), default=None, help="Stop before more tokens are used."),
    click.option("--max-cost", type=ABOVE_ZERO, default=None, help="Stop before more US dollars are spent."),
    click.option(
        "--price",
        "prices",
        multiple=True,
        metavar="[MODEL=]IN:OUT[:CACHED[:WRITE[:WRITE_1H]]]",
        help="US dollars of a million tokens of prompts and answers, of cache reads and writes; of all models or one.",
    ),
    click.option(
        "--price-file",
        "price_file",
        type=click.Path(exists=True, dir_okay=False),
        default=None,
        metavar="FILE",
        help="A JSON file with prices, before those that are known. See 'mrengine models'.",
    ),
    click.option(
        "--batch/--no-batch",
        default=None,
        help="Ask through the provider's Batch API, at half the price, and wait.  [default: as the job was begun]",
    ),
    click.option(
        "--batch-deadline",
        default=None,
        metavar="8h",
        help="After so long the batches are cancelled, and the rest is asked directly: 8h, 90m, 45s.",
    ),
    click.option("--batch-poll", type=ABOVE_ZERO, default=None, metavar="S", help="Between two looks.  [default: 60]"),
    click.option(
        "--answers",
        default=None,
        metavar="job|shared|FILE",
        help="Where answers to identical calls are looked for: in the job, or in a file that jobs share.",
    ),
    click.option("--single-flight", is_flag=True, help="Make identical calls of the job once."),
    click.option("--max-failed", type=click.IntRange(0), default=0, show_default=True, help="Failed chunks to accept."),
    click.option(
        "--timeout",
        type=ABOVE_ZERO,
        default=None,
        metavar="S",
        help="Start nothing after so many seconds; calls in flight have 10 more.",
    ),
    click.option(
        "--wait", is_flag=True, help="Where another process runs the job, wait for its end: --timeout at most."
    ),
    click.option(
        "--profile",
        type=click.Path(dir_okay=False, path_type=Path),
        default=None,
        metavar="FILE",
        help="Write how long the stages of the run took to a JSON file, also where the run fails.",
    ),
    state_option,
    click.option("--json", "as_json", is_flag=True, help="A line of JSON for each source or record."),
    click.option("--quiet", is_flag=True, help="No progress, no notes."),
]


def _with(options: Sequence[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    # click lists options in the order of decorators, the outermost first.
    return lambda command: functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


job_options = _with([*_INPUTS, *_RUNNING])
"""The options of a command that starts a job."""
resume_options = _with(_RUNNING)
"""Those without what the job is made of: that is in its log."""


def runner_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of a MapReduceRunner. Raises BadParameter, ConfigError.

    An option that was not given is left out, so that the environment or the library's default decides.
    """
    settings: dict[str, Any] = {
        "limits": dict(_limit(text) for text in options["limits"]) or None,
        "budget": _budget(options["max_tokens_total"], options["max_cost"]),
        "progress": False if options["quiet"] else None,  # None: a bar on a terminal
        "keep": "always",  # or export, show and report would find nothing after a success
        # Nobody has said of a folder's files that all can be read; of a source that was named, the user has.
        "on_source_error": "skip"
        if options.get("skip_unreadable") or has_folder(options.get("sources", ()))
        else "fail",
    }
    answers = options["answers"] or None
    optional = {
        **{name: options.get(name) for name in ("workers", "slots", "priority", "overlap_tokens", "on_mismatch")},
        "state_dir": options["state_dir"],
        "on_busy": "wait" if options["wait"] else None,
        "batch": _batch(options),
        "answers": answers if answers in (None, "job", "shared") else Path(answers),
        "single_flight": options["single_flight"] or None,
        "collector": _profiled(options["profile"]) if options["profile"] else None,
        "prices": options["price_file"],
    }
    settings |= {name: value for name, value in optional.items() if value is not None}
    if options.get("target_tokens") is not None:
        settings["target_tokens"] = _target(options["target_tokens"])
    if models := list(options["models"]) or Settings.of({}).models:
        settings["models"] = priced(models if isinstance(models, list) else [models], options["prices"])
    return settings


def _profiled(path: Path) -> PerformanceCollector:
    """A collector whose statistics are written when the command ends, also with an error."""
    if not path.parent.is_dir():  # before the run, which would be profiled in vain
        raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}", setting="--profile")
    collector = PerformanceCollector()

    def write() -> None:
        try:
            collector.export(path)
        except OSError as error:  # the run itself has ended: its exit code stays
            say(f"{path} cannot be written: {error.strerror or error}")

    click.get_current_context().call_on_close(write)
    return collector


def _batch(options: dict[str, Any]) -> bool | Batch | None:
    deadline, poll_s = options["batch_deadline"], options["batch_poll"]
    if deadline is None and poll_s is None:
        return cast("bool | None", options["batch"])
    # Either option means batches, also without --batch.
    if options["batch"] is False:
        raise click.BadParameter("there are no batches to wait for", param_hint="--no-batch")
    times: dict[str, Any] = {} if poll_s is None else {"poll_s": poll_s}
    if deadline is not None:
        times["deadline_s"] = seconds_of(deadline, "--batch-deadline", example="8h, 90m or 45s")
    return Batch(**times)


def seconds_of(text: str, option: str, *, example: str) -> float:
    """The seconds that an option's "90m" means. BadParameter: it is no number with a unit."""
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if match is None:
        raise click.BadParameter(f"{text!r}: write {example}", param_hint=option)
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]]


def default_models(*, dry_run: bool) -> list[ModelSpec]:
    """The models that are used where the user names none. ConfigError: none is set up, and it is no dry run."""
    try:
        return [model.spec for model in resolve_models(None)]
    except ConfigError:
        if dry_run:
            return []
        raise


def priced(models: Sequence[Any], prices: Sequence[str]) -> list[Any]:
    """The models, names or ModelSpecs, with the prices of --price. BadParameter: a price is for none of them."""
    by_name = dict(map(_price, prices))
    if not by_name:
        return list(models)
    specs = [model if isinstance(model, ModelSpec) else ModelSpec(model) for model in models]
    # "http://host/v1#name" may be called by its name alone: the address is long.
    short = {spec.name: spec.name.rpartition("#")[2] for spec in specs}
    if unknown := sorted(by_name.keys() - short.keys() - {*short.values(), ""}):
        message = f"{unknown[0]!r} is none of the models of this job: {', '.join(short)}"
        raise click.BadParameter(message, param_hint="--price")
    every = by_name.get("")
    return [replace(s, price=by_name.get(s.name) or by_name.get(short[s.name]) or every or s.price) for s in specs]


_PRICED = ("input", "output", "cached", "cache_write", "cache_write_1h")


def _price(text: str) -> tuple[str, Price]:
    model, _, rest = text.rpartition("=")
    try:
        numbers = [float(part) for part in rest.split(":")]
        if 2 <= len(numbers) <= 5 and all(0 <= number < math.inf for number in numbers):
            rates: dict[str, Any] = dict(zip(_PRICED, numbers, strict=False))
            return model, Price(**rates)
    except ValueError:
        pass  # the same message as for too many numbers
    message = (
        f"{text!r}: write IN:OUT, US dollars of a million tokens of prompts and of answers, as 0.15:0.60; then, where "
        "they are known, those of cache reads, of cache writes, and of cache writes for 1 h"
    )
    raise click.BadParameter(message, param_hint="--price")


def announce(runner: mrengine.MapReduceRunner, *, quiet: bool, chosen: bool = False) -> None:
    """Print what happens in a run: the job's id and how to resume it, its batches; and show log records.

    ``chosen``: the user named no model, so that the one which was taken is printed.
    """
    log_to_stderr(quiet=quiet)
    invocation: Invocation = click.get_current_context().find_root().obj
    invocation.quiet = quiet

    def started(event: Any) -> None:
        invocation.resumes = "; the same command resumes"  # not before: until then there is no job
        so_far = " so far" * event.total_so_far
        chunks = f"job {event.job_id}: {event.total} chunk{'' if event.total == 1 else 's'}{so_far}"
        finished = event.resumed == event.total
        say(f"{chunks}, {event.resumed} done{' already' if finished else invocation.resumes}", quiet=quiet)
        if chosen:
            names = ", ".join(model.name for model in runner.models)
            say(f"model: {names}, as none was named; --model names another", quiet=quiet)

    def submitted(event: Any) -> None:
        say(f"batch {event.batch_id}: {event.requests} requests to {event.model}", quiet=quiet)

    def over(event: Any) -> None:
        refused = f", {event.refused} refused" if event.refused else ""
        shown = f"{event.state}: {event.answered} of {event.requests} answered{refused}"
        say(f"batch {event.batch_id} {shown}", quiet=quiet)

    runner.on("job:start", started)
    runner.on("batch:submitted", submitted)
    runner.on("batch:ended", over)
    runner.on("job:end", invocation.run_ended)


def _target(text: str) -> int | str | None:
    if text in ("auto", "fit", "none"):
        return None if text == "none" else text
    if re.fullmatch(r"[1-9][0-9]{0,11}", text) is None:
        raise click.BadParameter(f"{text!r} is no number of tokens, nor 'auto' or 'none'", param_hint="--target-tokens")
    return int(text)


def _limit(text: str) -> tuple[str, RateLimit]:
    model, _, rest = text.rpartition(":")  # the last colon: addresses of models contain others
    fields: dict[str, Any] = {}
    for part in rest.split(","):
        match = re.fullmatch(r"(tpm|rpm|rps|input_tpm|output_tpm|concurrent|burst_s|shared)=(.+)", part)
        if not model or match is None:
            raise click.BadParameter(f"{text!r}: write MODEL:tpm=60000,rpm=500", param_hint="--limits")
        name, value = match.groups()
        try:
            fields[name] = value if name == "shared" else float(value) if name in ("burst_s", "rps") else int(value)
        except ValueError:
            raise click.BadParameter(f"{text!r}: {value!r} is no number", param_hint="--limits") from None
    return model, RateLimit(**fields)


def _budget(tokens: int | None, cost: float | None) -> Budget | None:
    return None if tokens is None and cost is None else Budget(max_tokens=tokens, max_cost_usd=cost)
