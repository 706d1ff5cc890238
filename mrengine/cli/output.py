"""Writes stdout (data, records as JSON), stderr (notes for people, log records), and files, whole or not at all."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import logging
import math
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mrengine.cli.terms import in_cli_terms
from mrengine.log.format.values import Unstorable, normalise

__all__ = [
    "StdoutClosed", "as_json", "echo", "log_to_stderr", "print_json", "print_value", "printable", "record_of",
    "rounded", "say", "some_of", "writable_folder", "write_whole",
]  # fmt: skip


SHOWN = 5  # names in a message
# Ends of lines to str.splitlines and some editors; JSON leaves them as they are, and JSON Lines should be read by all.
LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


# Not an Exception: no handler for errors of a command or of a user's function may take it for one.
class StdoutClosed(BaseException):
    """The reader of stdout has gone, as ``head`` does: no error, and nothing more to print."""


# What moves a cursor, sets a title, turns text around or hides it: nothing that a text from elsewhere may do.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
# CSI ("\x1b[31m"), strings up to their end or the text's (titles, links), and the sequences of two characters.
_SEQUENCE = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?|[@-Z\\\\^_])")


def printable(text: str) -> str:
    """The text without control characters and terminal sequences; line ends and tabs stay."""
    return _UNSEEN.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n")))


def echo(text: str, *, end: str = "\n") -> None:
    """Print a line on stdout, or a part of one. Raises StdoutClosed, OSError.

    What its encoding lacks (a lone surrogate) is escaped, and a terminal gets no control characters.
    """
    if sys.stdout is None:  # ">&-"
        raise OSError(errno.EBADF, "it is closed", "stdout")
    # Only a terminal obeys control characters; a file or a pipe gets the answer as the model gave it.
    if sys.stdout.isatty():
        text = printable(text)
    try:
        encoding = sys.stdout.encoding or "utf-8"
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding) + end, nl=False)
    except OSError as error:
        # Otherwise Python flushes stdout again when it exits, fails again, and prints a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Any other error (a full disk) is one: a user would take what is there for all.
        if isinstance(error, BrokenPipeError):
            raise StdoutClosed from None
        raise OSError(error.errno, error.strerror, "stdout") from None


def as_json(value: Any) -> str:
    """One line of JSON. Bytes are base64; what JSON lacks is null (NaN, infinities) or escaped."""
    # Values are searched for NaN, and text for surrogates, only where the quick way fails: both are rare.
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, default=_plain)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text))  # lone surrogates, as ASCII escapes
    return text.translate(LINE_ENDS)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    try:
        return normalise(value)
    except Unstorable:
        return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def print_json(value: Any) -> None:
    """A line on stdout."""
    echo(as_json(value))


def print_value(value: Any) -> None:
    """Text as it is, everything else as JSON."""
    echo(value) if isinstance(value, str) else print_json(value)


def record_of(outcome: Any) -> dict[str, Any]:
    """A result or failure as a record."""
    record = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}
    if "cost_usd" in record:
        record["cost_usd"] = rounded(record["cost_usd"])
    record["type"] = "result" if hasattr(outcome, "result") else "failure"
    return record


def rounded(cost_usd: float | None) -> float | None:
    """US dollars without the noise of binary fractions; a billionth is less than any token costs."""
    return None if cost_usd is None else round(cost_usd, 9)


def some_of(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def writable_folder(folder: Path) -> Path:
    """Make a folder for the output. BadParameter before the work, rather than after it was paid for."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise click.BadParameter(f"{folder} cannot be made or written: {error.strerror}", param_hint="-o") from None
    return folder


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name, and rename it when it is complete. Its permissions follow the umask."""
    # In the same folder: a rename is atomic only within a file system.
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:200]}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)  # it can only be read by setting it; mkstemp has ignored it and made the file 0600
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


CLEAR_LINE = "\r\x1b[2K"  # a progress bar may stand there; it is drawn again below


def say(text: str, *, quiet: bool = False) -> None:
    """Print a line for people on stderr."""
    if quiet:
        return
    try:
        click.echo((CLEAR_LINE if _redraws() else "") + text, err=True)
    except OSError:
        pass  # stderr is closed; the command's work is worth more than its notes


def _redraws() -> bool:
    capable = os.environ.get("TERM") not in (None, "", "dumb", "unknown")
    return capable and sys.stderr is not None and sys.stderr.isatty()


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            say(in_cli_terms(text) if record.name == "mrengine" else text)
        except Exception:  # noqa: BLE001  # a record of user code may not format; logging reports it and goes on
            self.handleError(record)


def log_to_stderr(*, quiet: bool) -> None:
    """Show warnings of all loggers, and what map functions print; with ``quiet`` the library's errors alone."""
    # Replaced, not added: a command may call this twice, and every note would be printed twice.
    logging.getLogger().handlers[:] = [_Notes()]
    logging.getLogger("mrengine").setLevel(logging.ERROR if quiet else logging.WARNING)
    logging.getLogger("map_fn").setLevel(logging.WARNING if quiet else logging.INFO)
