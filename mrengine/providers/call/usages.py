"""What a call has used: as a client of the user's own says it, and by our own count where a provider does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mrengine.errors import ConfigError
from mrengine.providers.call.counting import usage_in
from mrengine.records import Completion, Usage

__all__ = ["completed", "usage_of"]

_BYTES_A_TOKEN = 3  # of a text of which nothing is known


def usage_of(reported: Any) -> Usage:
    """A ``Usage``, a number of tokens, or the usage (or the whole answer) of OpenAI, Anthropic, Google, LangChain, …

    Objects, pydantic models and dicts alike. ConfigError, without any value: there is no count in it.
    """
    if isinstance(reported, Usage):
        return reported
    if isinstance(reported, int) and not isinstance(reported, bool) and reported >= 0:
        return Usage(reported, 0)
    for inner in ("usage", "usage_metadata", "usageMetadata"):
        found = reported.get(inner) if isinstance(reported, Mapping) else getattr(reported, inner, None)
        if found is not None and not callable(found):
            return usage_of(found)
    usage = usage_in(reported)
    if usage is None:
        raise ConfigError(
            f"used() takes a Usage, a number of tokens, or a provider's usage; not {type(reported).__name__}",
            setting="usage",
        )
    return replace(usage, estimated=False)


def completed(completion: Completion, input_tokens: int, max_tokens: int) -> Completion:
    """The completion with our own count of what its provider did not say. ``input_tokens``: our count of the prompt.

    A usage of nothing would be paid again and again out of the same Budget.
    """
    usage, text = completion.usage, completion.text
    answered = usage.output_tokens or min(_tokens_of(text), max_tokens)
    if completion.finish_reason == "length" and not usage.output_tokens:
        answered = max_tokens
    if usage.input_tokens and not usage.output_tokens and not usage.estimated and text:
        answered = min(answered, usage.input_tokens - 1)  # only a total was given
        given = usage.input_tokens - answered
    elif usage.estimated or not usage.input_tokens:
        given = usage.input_tokens or input_tokens
    else:
        return completion
    return replace(completion, usage=replace(usage, input_tokens=given, output_tokens=answered, estimated=True))


def _tokens_of(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN)
