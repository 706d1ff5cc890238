"""Owns how a command ends: the library's errors become one clear line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from mrengine.errors import (
    BudgetExhausted,
    ConfigError,
    JobBusy,
    JobCancelled,
    JobFailed,
    JobTimeout,
    MrengineError,
)

__all__ = ["DONE", "FAILED", "TOO_MANY_FAILED", "Group", "Terminated", "say"]

DONE, FAILED, USAGE, TOO_MANY_FAILED, STOPPED, BUSY, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 5, 130, 143


class Terminated(BaseException):
    """SIGTERM came; what was in flight has ended, and is in the log."""


def say(text: str, *, quiet: bool = False) -> None:
    """A line for people, on stderr."""
    if not quiet:
        click.echo(text, err=True)


class Group(click.Group):
    """The commands, with one place where errors end."""

    def main(self, args: Sequence[str] | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Run a command; leaves with its exit code."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(args, **kwargs)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            say("interrupted; the same command resumes")
            code = INTERRUPTED
        except Terminated:
            say("terminated; the same command resumes")
            code = TERMINATED
        except BrokenPipeError:
            # Whoever read stdout has gone; python would complain once more when it closes it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        except MrengineError as error:
            if "--debug" in sys.argv:
                raise
            say(f"mrengine: {error}")
            code = code_of(error)
        sys.exit(code if isinstance(code, int) else DONE)


def code_of(error: MrengineError) -> int:
    """The exit code of an error."""
    if isinstance(error, JobBusy):
        return BUSY
    if isinstance(error, (BudgetExhausted, JobTimeout, JobCancelled)):
        return STOPPED
    if isinstance(error, JobFailed) and error.failures and len(error.results):
        return TOO_MANY_FAILED
    return USAGE if isinstance(error, ConfigError) else FAILED
