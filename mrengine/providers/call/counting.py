"""How each vendor counts tokens, in one table, and the reading of any usage as our ``Usage``.

Ours: ``input_tokens`` is the whole prompt, whatever came from or went into a cache; ``output_tokens`` is the whole
answer, reasoning included. Vendors differ in what their numbers leave out ("beside") or hold ("inside"):

==================  ============================  ==================  ==================  ===========================
who                 input, output                 cache read, write   reasoning           source
==================  ============================  ==================  ==================  ===========================
OpenAI, Azure,      prompt_tokens,                inside              inside              platform.openai.com/docs/
Groq, Mistral,      completion_tokens                                                     api-reference/chat/object
Fireworks, vLLM, …
OpenAI Responses    input_tokens, output_tokens   inside              inside              …/api-reference/responses
DeepSeek            as OpenAI                     inside              inside              api-docs.deepseek.com/
                                                  (hit + miss)                            api/create-chat-completion
Moonshot            as OpenAI                     inside              inside              platform.moonshot.ai/docs
                                                  (cached_tokens)
OpenRouter          as OpenAI                     inside              inside              openrouter.ai/docs/
                                                                                          use-cases/usage-accounting
LiteLLM proxy       as OpenAI                     inside              inside              docs.litellm.ai/docs/
                                                                                          completion/prompt_caching
xAI                 as OpenAI                     inside              beside, in total    docs.x.ai/docs/guides/
                                                                                          reasoning
Gemini, as OpenAI   as OpenAI                     inside              beside, in total    ai.google.dev/gemini-api/
                                                                                          docs/openai
Gemini              promptTokenCount,             inside              beside              ai.google.dev/api/
                    candidatesTokenCount                              (thoughtsTokens…)   generate-content
                    + toolUsePromptTokenCount
Perplexity          as OpenAI                     –                   beside (top level)  docs.perplexity.ai/api-
                                                                                          reference
Anthropic           input_tokens, output_tokens   beside              inside              platform.claude.com/docs/en/
                                                                                          build-with-claude/
                                                                                          prompt-caching
Bedrock Converse    inputTokens, outputTokens     beside              inside              docs.aws.amazon.com/bedrock/
                                                                                          latest/APIReference/
                                                                                          API_runtime_TokenUsage.html
Cohere              billed_units.input_tokens,    –                   inside              docs.cohere.com/reference/
                    .output_tokens                                                        chat
Ollama              prompt_eval_count, eval_count –                   inside              docs.ollama.com/api
LangChain           input_tokens, output_tokens   inside              inside              reference.langchain.com
                                                                                          (UsageMetadata)
==================  ============================  ==================  ==================  ===========================

Audio tokens (``*_tokens_details.audio_tokens``) and rejected predictions are inside input and output everywhere.

Gateways mix these, so the total decides where there is one: it is the sum of the parts that are counted apart. A total
that holds the cache a second time is no answer of ten thousand tokens, and one that is larger than all that is named
holds thoughts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrengine.records import Usage

__all__ = ["count", "usage_in"]

_MOST = 2**53  # what is more was never counted


@dataclass(frozen=True, slots=True)
class _Way:
    """One row: dotted names. ``cache_beside``, ``reasoning_beside``: not part of input, of output."""

    input: str
    output: str
    cached: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    also_input: str = ""
    total: str = "total_tokens"
    cache_beside: bool = False
    reasoning_beside: bool = False


_READ = ("cache_read_input_tokens", "cached_tokens", "prompt_cache_hit_tokens")
_WRITTEN = ("cache_creation_input_tokens", "cache_write_tokens")
# Anthropic's two lifetimes of a cache, which cost differently.
_WRITTEN_5M, _WRITTEN_1H = "cache_creation.ephemeral_5m_input_tokens", "cache_creation.ephemeral_1h_input_tokens"


def _inside(details: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{details}.{name}" for name in names)


_WAYS = (
    _Way(  # OpenAI's Chat Completions, and all who copy it
        "prompt_tokens",
        "completion_tokens",
        (*_inside("prompt_tokens_details", "cached_tokens", "cache_read_tokens"), *_READ),
        (*_inside("prompt_tokens_details", "cache_write_tokens", "cache_creation_tokens", *_WRITTEN[:1]), *_WRITTEN),
        (*_inside("completion_tokens_details", "reasoning_tokens"), "reasoning_tokens"),
    ),
    _Way(  # LangChain; before Anthropic, whose names it has
        "input_tokens",
        "output_tokens",
        _inside("input_token_details", "cache_read"),
        _inside("input_token_details", "cache_creation"),
        _inside("output_token_details", "reasoning"),
    ),
    _Way(  # OpenAI's Responses
        "input_tokens",
        "output_tokens",
        _inside("input_tokens_details", "cached_tokens"),
        _inside("input_tokens_details", "cache_write_tokens"),
        _inside("output_tokens_details", "reasoning_tokens"),
    ),
    _Way(  # Anthropic's Messages
        "input_tokens",
        "output_tokens",
        ("cache_read_input_tokens",),
        ("cache_creation_input_tokens", _WRITTEN_5M, _WRITTEN_1H),
        _inside("output_tokens_details", "thinking_tokens"),
        cache_beside=True,
    ),
    _Way(  # Gemini
        "promptTokenCount",
        "candidatesTokenCount",
        ("cachedContentTokenCount",),
        (),
        ("thoughtsTokenCount",),
        "toolUsePromptTokenCount",
        "totalTokenCount",
        reasoning_beside=True,
    ),
    _Way(
        "prompt_token_count",
        "candidates_token_count",
        ("cached_content_token_count",),
        (),
        ("thoughts_token_count",),
        "tool_use_prompt_token_count",
        "total_token_count",
        reasoning_beside=True,
    ),
    _Way(  # Bedrock's Converse
        "inputTokens",
        "outputTokens",
        ("cacheReadInputTokens", "cacheReadInputTokenCount"),
        ("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
        total="totalTokens",
        cache_beside=True,
    ),
    _Way("billed_units.input_tokens", "billed_units.output_tokens"),  # Cohere
    _Way("prompt_eval_count", "eval_count"),  # Ollama
)


def usage_in(reported: Any) -> Usage | None:
    """The usage that a provider reported, an object or a mapping; None: it reported none.

    ``estimated`` is True, and the number 0, where only one of input and output was given (no prompt has 0 tokens:
    servers leave out what came from their cache): the other is to be estimated.
    """
    way = _way(reported)
    if way is None:
        total = next((count(found) for way in _WAYS if (found := _get(reported, way.total)) is not None), 0)
        return Usage(total, 0) if total else None
    given, answered = _get(reported, way.input), _get(reported, way.output)
    found = _Counts(
        count(given) + (count(_get(reported, way.also_input)) if way.also_input else 0),
        count(answered),
        _first(reported, way.cached),
        max(_first(reported, way.written), count(_get(reported, _WRITTEN_5M)) + count(_get(reported, _WRITTEN_1H))),
        _first(reported, way.reasoning),
    )
    total = count(_get(reported, way.total))
    if total and answered is None and total > found.input:
        found = _Counts(found.input, total - found.input, found.cached, found.written, found.reasoning)
        answered = found.output
    cache_beside, reasoning = _beside(found, way, total)
    return _usage(
        found, cache_beside, reasoning, count(_get(reported, _WRITTEN_1H)), not count(given) or answered is None
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """As they were reported."""

    input: int
    output: int
    cached: int
    written: int
    reasoning: int


def _way(reported: Any) -> _Way | None:
    """The row whose names fit best: of those whose input or output is there, the one whose details are, too."""
    fitting = [way for way in _WAYS if any(_get(reported, name) is not None for name in (way.input, way.output))]

    def details(way: _Way) -> int:
        return sum(_get(reported, name) is not None for name in (*way.cached, *way.written, *way.reasoning))

    return max(fitting, key=details, default=None)


def _beside(found: _Counts, way: _Way, total: int) -> tuple[int, int]:
    """(cache tokens that input leaves out, reasoning tokens that output leaves out). The total decides, if it can."""
    cache, thought = found.cached + found.written, found.reasoning
    rest = total - found.input - found.output
    if rest >= 0 and total:
        for cache_part in dict.fromkeys((0, cache, found.cached, found.written)):
            for thought_part in dict.fromkeys((0, thought)):
                if rest == cache_part + thought_part and found.input + cache_part >= cache:
                    return cache_part, max(thought_part, thought if thought > found.output else 0)
        if not thought and rest > 0:  # thoughts that are nowhere but in the total
            return (cache, rest - cache) if way.cache_beside and rest >= cache else (0, rest)
    outside = cache if way.cache_beside or cache > found.input else 0
    return outside, thought if way.reasoning_beside or thought > found.output else 0


def _usage(found: _Counts, cache_beside: int, thought_beside: int, written_1h: int, partly: bool) -> Usage:
    given = found.input + cache_beside
    cached = min(found.cached, given)
    written = min(found.written, given - cached)
    output = found.output + thought_beside
    thought = min(max(found.reasoning, thought_beside), output)
    return Usage(given, output, cached, written, thought, min(written_1h, written), partly)


def count(value: Any) -> int:
    """A number of tokens as JSON gives it; 0 for what is none."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value < _MOST else 0


def _first(reported: Any, names: tuple[str, ...]) -> int:
    """The largest value under several names: some servers write 0 under the one that they do not use."""
    return max((count(_get(reported, name)) for name in names), default=0)


def _get(reported: Any, path: str) -> Any:
    for name in path.split("."):
        reported = reported.get(name) if isinstance(reported, Mapping) else getattr(reported, name, None)
        if reported is None or callable(reported):
            return None
    return reported
