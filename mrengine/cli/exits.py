"""Owns how a command ends: errors become one clear line on stderr and an exit code; SIGTERM ends like Ctrl-C."""

from __future__ import annotations

import signal
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from mrengine.cli.notes import say
from mrengine.cli.output import StdoutClosed
from mrengine.errors import (
    BudgetExhausted,
    ChunkingError,
    ConfigError,
    JobBusy,
    JobCancelled,
    JobTimeout,
    MrengineError,
)

__all__ = ["DONE", "FAILED", "TOO_MANY_FAILED", "Group", "Invocation", "with_debug"]

DONE, FAILED, USAGE, TOO_MANY_FAILED, STOPPED, BUSY, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 5, 130, 143


class Terminated(BaseException):
    """SIGTERM came. A run drains, as after Ctrl-C; a second one ends it at once."""


@dataclass(slots=True)
class Invocation:
    """What the end of a command has to know: ``resumes`` says how its job goes on, once there is one."""

    debug: bool = False
    resumes: str = ""


def _terminate(_signum: int, _frame: Any) -> NoReturn:
    raise Terminated


def _debug(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    context.find_root().obj.debug |= wanted


def with_debug(command: click.Command) -> click.Command:
    """The command with an option that shows tracebacks."""
    option = click.option("--debug", is_flag=True, expose_value=False, callback=_debug, help="Show tracebacks.")
    option(command)
    return command


class Group(click.Group):
    """The commands, with one place where errors end."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """A context whose object is the Invocation."""
        return super().make_context(*args, obj=Invocation(), **kwargs)

    def invoke(self, context: click.Context) -> NoReturn:
        """Run a command; leaves with its exit code."""
        signal.signal(signal.SIGTERM, _terminate)
        told: Invocation = context.obj
        try:
            code = super().invoke(context)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            say(f"interrupted{told.resumes}")
            code = INTERRUPTED
        except Terminated:
            say(f"terminated{told.resumes}")
            code = TERMINATED
        except StdoutClosed:
            code = DONE
        except Exception as error:  # noqa: BLE001  # of the library, of a user's function, of the system: all end here
            if told.debug:
                traceback.print_exception(error)
            say(f"mrengine: {line_of(error)}")
            code = code_of(error)
        context.exit(code if isinstance(code, int) else DONE)


def line_of(error: Exception) -> str:
    """One line for people."""
    if isinstance(error, JobCancelled):
        return f"job {error.job_id} was cancelled; 'mrengine uncancel {error.job_id}' lets it run again"
    if isinstance(error, (BudgetExhausted, JobTimeout)) and len(error.results):
        return f"{error}; 'mrengine export {error.job_id}' prints what is done"
    if isinstance(error, MrengineError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (--debug shows where)"


def code_of(error: Exception) -> int:
    """The exit code of an error."""
    if isinstance(error, JobBusy):
        return BUSY
    if isinstance(error, (BudgetExhausted, JobTimeout, JobCancelled)):
        return STOPPED
    return USAGE if isinstance(error, (ConfigError, ChunkingError)) else FAILED
