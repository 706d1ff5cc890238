"""Ends a command: an error becomes one clear line on stderr and an exit code; SIGTERM acts like Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import sysconfig
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from mrengine.cli.output import StdoutClosed, say
from mrengine.cli.terms import in_cli_terms, piped
from mrengine.errors import (
    BudgetExhausted,
    ChunkingError,
    ConfigError,
    JobBusy,
    JobCancelled,
    JobFailed,
    JobTimeout,
    MrengineError,
    SourceError,
)
from mrengine.events import JobEnd
from mrengine.records import RunSummary

__all__ = ["DONE", "FAILED", "TOO_MANY_FAILED", "Group", "Invocation", "ended", "place_of", "with_debug"]

# 2 is click's own; 130 and 143 are what shells give for SIGINT and SIGTERM (128 + the signal).
DONE, FAILED, USAGE, TOO_MANY_FAILED, STOPPED, BUSY, WAITING, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 5, 6, 130, 143

# Frames below these folders are not the user's own code.
_INSTALLED = tuple(dict.fromkeys(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")))


class Terminated(BaseException):
    """SIGTERM came. A run drains, as after Ctrl-C; a second one ends it at once."""


@dataclass(slots=True)
class Invocation:
    """The state of one command. ``resumes``: how its job is continued, once there is one. ``end``: the last line of
    its run, from ``job:end``, for whatever ends the command.
    """

    debug: bool = False
    quiet: bool = False
    resumes: str = ""
    end: str = ""

    def run_ended(self, event: JobEnd) -> None:
        """Keep the last line of a run that is over."""
        if event.summary.total_chunks:  # 0: it was refused before it began, and the error says why
            self.end = ended(event.summary, event.state if event.state in ("done", "failed") else "stopped")


def _terminate(_signum: int, _frame: Any) -> NoReturn:
    raise Terminated


def _debug(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    context.find_root().obj.debug |= wanted


def with_debug(command: click.Command) -> click.Command:
    """Add the option that shows tracebacks: at every command, as users type it where they are."""
    option = click.option("--debug", is_flag=True, expose_value=False, callback=_debug, help="Show tracebacks.")
    option(command)
    return command


class Group(click.Group):
    """The commands, with one place where errors end."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """A context whose object, which those of all commands inherit, is the Invocation."""
        return super().make_context(*args, obj=Invocation(), **kwargs)

    def invoke(self, context: click.Context) -> NoReturn:
        """Run a command and exit with its code."""
        # By default SIGTERM ends Python at once: the run would not drain, nor say how it goes on.
        signal.signal(signal.SIGTERM, _terminate)
        invocation: Invocation = context.obj
        try:
            code = super().invoke(context)
        except (click.ClickException, click.exceptions.Exit):
            raise  # click prints these itself
        except KeyboardInterrupt:
            _say_end(invocation)
            say(f"interrupted{invocation.resumes}")
            code = INTERRUPTED
        except Terminated:
            _say_end(invocation)
            say(f"terminated{invocation.resumes}")
            code = TERMINATED
        except StdoutClosed:
            code = DONE  # "mrengine jobs | head" has done what it should
        except Exception as error:  # noqa: BLE001  # of the library, of a user's function, of the system: all end here
            if invocation.debug:
                traceback.print_exception(error)
            _say_end(invocation)
            say(f"mrengine: {line_of(error)}")
            code = code_of(error)
        context.exit(code if isinstance(code, int) else DONE)


def _say_end(invocation: Invocation) -> None:
    say(invocation.end, quiet=invocation.quiet or not invocation.end)


def line_of(error: Exception) -> str:
    """The line for people that an error becomes, with the command that helps where there is one."""
    if isinstance(error, JobCancelled):
        return f"job {error.job_id} was cancelled; 'mrengine uncancel {error.job_id}' lets it run again"
    if isinstance(error, (BudgetExhausted, JobTimeout)) and len(error.results):
        return f"{in_cli_terms(str(error))}; 'mrengine export {error.job_id}' prints what is done"
    if isinstance(error, SourceError):  # a MrengineError, too: it must be looked at first
        return piped(error)
    if isinstance(error, JobFailed) and len(error.failures):
        line = f"{error}{place_of(error.failures[0].traceback)}"
        return f"{in_cli_terms(line)}; 'mrengine export {error.job_id}' has every failure"
    if isinstance(error, MrengineError):
        return in_cli_terms(str(error))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (--debug shows where)"


def ended(summary: RunSummary, state: str = "done") -> str:
    """The last line of a run: chunks, seconds, tokens, cost, and the job's id."""
    total, failed = summary.total_chunks, summary.failed_chunks
    done = summary.processed_chunks + summary.resumed_chunks
    words = [f"{done} of " * (done < total) + f"{total} chunk{'s' * (total != 1)}"]  # "3 of 5 chunks", or "5 chunks"
    if summary.resumed_chunks:
        words.append(f"{summary.resumed_chunks} of earlier runs")
    if failed:
        words.append(f"{failed} failed")
    words.append(f"{summary.duration_ms / 1e3:.1f} s")
    tokens = sum(usage.total_tokens for usage in summary.usage.values())
    cost = "cost unknown" if summary.cost_usd is None else f"${summary.cost_usd:.4f}"
    words += [f"{tokens:,} tokens", cost] if tokens else ["no tokens"]
    return f"{state}: {', '.join(words)}; job {summary.job_id}"


def place_of(traceback: str | None) -> str:
    """ " at FILE:LINE" of the last frame of the user's own code, as ``ChunkFailure.traceback`` has it; or nothing."""
    # The message alone ("KeyError: 'x'") does not lead a user to the line of their map function.
    frames = re.findall(r'^File "(.+)", line (\d+), in ', traceback or "", re.MULTILINE)
    own = [frame for frame in frames if not frame[0].startswith(_INSTALLED)]
    if not own:
        return ""
    path, line = own[-1]
    relative = os.path.relpath(path)
    return f" at {path if relative.startswith(os.pardir) else relative}:{line}"


def code_of(error: Exception) -> int:
    """The exit code of an error."""
    if isinstance(error, JobBusy):
        return BUSY
    if isinstance(error, (BudgetExhausted, JobTimeout, JobCancelled)):
        return STOPPED
    # Settings that cannot work are errors of usage, like the ones that click finds itself.
    return USAGE if isinstance(error, (ConfigError, ChunkingError)) else FAILED
