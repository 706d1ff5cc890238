"""Owns what an error message may say: nothing of a document, a prompt or an answer, and no key."""

from __future__ import annotations

import os
import re
import traceback as tb
from collections.abc import Iterable, Mapping

__all__ = ["describe", "scrub", "secrets", "where"]

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
LONGEST = 500
RUN = 10  # a shorter piece is a word that any message may share with any text


def scrub(message: str, texts: Iterable[str]) -> str:
    """Replace every run of ``RUN`` or more characters that also stands in one of the texts by an ellipsis."""
    message = message[:LONGEST]
    texts = [text for text in texts if text]
    out: list[str] = []
    i = 0
    while i < len(message):
        end = i
        for text in texts:
            stop = i + RUN
            while stop <= len(message) and message[i:stop] in text:
                end = max(end, stop)
                stop += 1
        if end > i:
            out.append("…")
            i = end
        else:
            out.append(message[i])
            i += 1
    return "".join(out)


def secrets(env: Mapping[str, str] = os.environ) -> list[str]:
    """The values of variables whose names say that they are secret."""
    return [value for name, value in env.items() if _SECRET.search(name)]


def describe(error: BaseException, texts: Iterable[str] = ()) -> str:
    """``Type: message`` of an exception, scrubbed of the texts, and of keys: clients of the user's own repeat them.

    Always text that can be stored: without lone surrogates.
    """
    try:
        text = scrub(str(error), [*texts, *secrets()])
    except Exception:  # noqa: BLE001  # its own __str__
        text = "its message cannot be read"
    name = type(error).__name__
    return (f"{name}: {text}" if text else name).encode("utf-8", "replace").decode()


def where(error: BaseException, *, own: str) -> str:
    """The frames of an exception below those in files under ``own``: file, line and function, no source and no
    value.
    """
    frames = [f for f in tb.extract_tb(error.__traceback__) if not f.filename.startswith(own)]
    return "\n".join(f'File "{f.filename}", line {f.lineno}, in {f.name}' for f in frames[-20:])
