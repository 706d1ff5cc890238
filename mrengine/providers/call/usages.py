"""What a client of a user's own says that a call has used, in whatever form, as our ``Usage``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrengine.errors import ConfigError
from mrengine.providers.http.apis import count
from mrengine.records import Usage

__all__ = ["usage_of"]

_INPUT = ("input_tokens", "prompt_tokens", "prompt_token_count", "inputTokens")
_OUTPUT = ("output_tokens", "completion_tokens", "candidates_token_count", "outputTokens")
_TOTAL = ("total_tokens", "total_token_count")
_CACHED = ("cached_content_token_count", "cache_read_input_tokens")
_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens")  # Anthropic's input leaves them out


def usage_of(said: Any) -> Usage:
    """A ``Usage``, a number of tokens, or the usage (or the whole answer) of OpenAI, Anthropic, Google, LangChain, …

    Objects, pydantic models and dicts alike. ConfigError, without any value: there is no count in it.
    """
    if isinstance(said, Usage):
        return said
    if isinstance(said, int) and not isinstance(said, bool) and said >= 0:
        return Usage(said, 0)
    for inner in ("usage", "usage_metadata"):
        if (found := _get(said, inner)) is not None and not callable(found):
            return usage_of(found)
    given, answered, total = _first(said, _INPUT), _first(said, _OUTPUT), _first(said, _TOTAL)
    if given is None and answered is None:
        if total is not None:
            return Usage(total, 0)
        raise ConfigError(
            f"used() takes a Usage, a number of tokens, or a provider's usage; not {type(said).__name__}",
            setting="usage",
        )
    beside = sum(count(_get(said, name)) for name in _BESIDE)
    total_in = (given or 0) + beside
    thought = (total or 0) - total_in  # where thinking is counted in the total alone
    return Usage(total_in, max(answered or 0, thought), _cached(said))


def _cached(said: Any) -> int:
    details = next((found for name in _DETAILS if (found := _get(said, name)) is not None), None)
    return _first(said, _CACHED) or count(_get(details, "cached_tokens")) or count(_get(details, "cache_read"))


def _get(said: Any, name: str) -> Any:
    return said.get(name) if isinstance(said, Mapping) else getattr(said, name, None)


def _first(said: Any, names: tuple[str, ...]) -> int | None:
    return next((count(found) for name in names if (found := _get(said, name)) is not None), None)
