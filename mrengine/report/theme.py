"""The look of a report: style, the script that shows tips, and the policy that forbids every request."""

from __future__ import annotations

import base64
from hashlib import sha256
from importlib.resources import files

__all__ = ["marks", "policy", "script", "style"]


def _text(name: str) -> str:
    return files("mrengine.report").joinpath(name).read_text(encoding="utf-8")


def style() -> str:
    """The style sheet."""
    return _text("page.css")


def script() -> str:
    """The script, which only shows tips."""
    return _text("page.js")


def marks() -> str:
    """Patterns and shapes that the charts refer to."""
    return _text("marks.svg")


def policy(code: str) -> str:
    """A Content-Security-Policy under which the page can ask nobody for anything and runs no code but ``code``."""
    digest = base64.b64encode(sha256(code.encode()).digest()).decode()
    rules = ("default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))
