"""Owns what commands print and write: records as JSON, files that appear whole or not at all."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

__all__ = ["as_json", "print_json", "record_of", "write_whole"]


def as_json(value: Any) -> str:
    """One line of JSON; bytes are base64, lone surrogates escaped."""
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=True, default=_plain)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def print_json(value: Any) -> None:
    """A line on stdout."""
    click.echo(as_json(value))


def record_of(outcome: Any) -> dict[str, Any]:
    """A result or failure as a record."""
    record = dataclasses.asdict(outcome)
    record["type"] = "result" if hasattr(outcome, "result") else "failure"
    return record


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name and give it its own when it is all there. Its permissions follow the umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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
