"""Writes to stderr: notes for people, and what the library and map functions log."""

from __future__ import annotations

import logging
import os
import sys

import click

from mrengine.cli.terms import in_cli_terms

__all__ = ["log_to_stderr", "say"]

CLEAR_LINE = "\r\x1b[2K"  # a progress bar may stand there; it is drawn again below


def say(text: str, *, quiet: bool = False) -> None:
    """A line for people."""
    if quiet:
        return
    try:
        click.echo((CLEAR_LINE if _redraws() else "") + text, err=True)
    except OSError:  # nobody reads it; the command's work is worth more than its notes
        pass


def _redraws() -> bool:
    return (
        sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown")
    )


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            say(in_cli_terms(text) if record.name == "mrengine" else text)
        except Exception:  # noqa: BLE001  # a record's own formatting
            self.handleError(record)


def log_to_stderr(*, quiet: bool) -> None:
    """Warnings of all loggers, and what map functions print; with ``quiet`` the library tells errors alone."""
    logging.getLogger().handlers[:] = [_Notes()]
    logging.getLogger("mrengine").setLevel(logging.ERROR if quiet else logging.WARNING)
    logging.getLogger("map_fn").setLevel(logging.WARNING if quiet else logging.INFO)
