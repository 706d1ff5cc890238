"""Writes stdout and output files: records as JSON, and files that appear complete or not at all."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from mrengine.log.format.values import Unstorable, normalise

__all__ = [
    "StdoutClosed",
    "as_json",
    "echo",
    "print_json",
    "print_value",
    "printable",
    "record_of",
    "rounded",
    "writable_folder",
    "write_whole",
]


# Ends of lines to str.splitlines and some editors; JSON leaves them as they are, and JSON Lines should be read by all.
LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


class StdoutClosed(BaseException):
    """Whoever read stdout has gone: nothing is wrong, and nothing more need be said."""


# What moves a cursor, sets a title, turns text around or hides it: nothing that a text from elsewhere may do.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SEQUENCE = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?|[@-Z\\\\^_])")


def printable(text: str) -> str:
    """The text without control characters and terminal sequences; line ends and tabs stay."""
    return _UNSEEN.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n")))


def echo(text: str, *, end: str = "\n") -> None:
    """A line on stdout, or a part of one. What its encoding cannot say (a lone surrogate) is escaped, and a terminal
    gets no control characters. StdoutClosed, OSError.
    """
    if sys.stdout is None:  # ">&-"
        raise OSError(errno.EBADF, "it is closed", "stdout")
    if sys.stdout.isatty():
        text = printable(text)
    try:
        encoding = sys.stdout.encoding or "utf-8"
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding) + end, nl=False)
    except OSError as error:
        # Python would try, and complain, once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise StdoutClosed from None
        raise OSError(error.errno, error.strerror, "stdout") from None


def as_json(value: Any) -> str:
    """One line of JSON. Bytes are base64; what JSON cannot say is null (NaN, infinities) or escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, default=_plain)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text))
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


def writable_folder(folder: Path) -> Path:
    """Make a folder where files shall be written later; BadParameter now, and not after the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise click.BadParameter(f"{folder} cannot be made or written: {error.strerror}", param_hint="-o") from None
    return folder


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name and give it its own when it is all there. Its permissions follow the umask."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:200]}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
