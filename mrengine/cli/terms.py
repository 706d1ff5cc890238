"""Rephrases the library's messages for the command line: settings become options, remedies become commands."""

from __future__ import annotations

import re

from mrengine.errors import SourceError

__all__ = ["in_cli_terms", "piped"]

_OPTIONS = {
    "on_mismatch": "--on-mismatch",
    "timeout_s": "--timeout",
    "state_dir": "--state-dir",
    "job_id": "--job-id",
    "target_tokens": "--target-tokens",
    "overlap_tokens": "--overlap-tokens",
    "calls_per_chunk": "--calls-per-chunk",
    "sample": "--sample",
}
# Replaced in this order: a longer phrase comes before one that it contains.
_WAYS_OUT = (
    ("name one with models=", "name one with --model"),
    ("models=", "--model "),
    ("models is empty: name at least one", "no model is named: --model names one"),
    ("models names", "--model names"),
    ("max_cost_usd needs", "--max-cost needs"),
    (
        "give it as ModelSpec(price=Price(...)), or limit max_tokens instead",
        "give it with --price IN:OUT, or limit --max-tokens-total instead",
    ),
    ("; for others give ModelSpec(name, provider=…, base_url=…)", ""),
    ("results.failures, or 'mrengine", "'mrengine"),
    ("partial=True merges", "--partial merges"),
    ("keep both with duplicates='keep'", "keep both with --keep-duplicates"),
    ("with a larger Budget goes on", "with a larger --max-tokens-total or --max-cost goes on"),
    ("a smaller max_tokens", "a smaller --max-tokens"),
    ("limits names", "--limits names"),
    ("base_url must", "the address of a model must"),
    (": use headers= or api_key_env=", ""),
    (
        "response_model must be a pydantic model class, a dataclass or a JSON schema (a dict)",
        "--schema must hold a JSON schema",
    ),
    ("response_model is no JSON schema", "--schema holds no JSON schema"),
    ("on_busy='wait'", "--wait"),
    ("give map_fn, or run the program that started it again", "name it with --map, or run the same command again"),
    ("on_source_error='skip'", "--skip-unreadable"),
    ("map_fn", "the function of --map"),
)
# A setting's name with its "=", but not within an option that stands there already, nor before a ":" (a key of JSON).
_SETTING = re.compile(rf"\b(?<!-)({'|'.join(_OPTIONS)})\b(?!:)(=? ?)")


def in_cli_terms(text: str) -> str:
    """A message of the library with options for its settings, and commands for its remedies."""
    for ours, theirs in _WAYS_OUT:
        text = text.replace(ours, theirs)
    return _SETTING.sub(lambda match: _OPTIONS[match[1]] + " " * bool(match[2]), text)


def piped(error: SourceError) -> str:
    """The message of a source that cannot be read; a command that makes text of it is shown as a pipe to mrengine."""
    text = in_cli_terms(str(error))
    for one in error.errors or (error,):
        if one.command:
            text = text.replace(f"'{one.command}'", f"'{one.command} | mrengine … -'")
    return text
