"""How each vendor counts tokens, in one table; reads any usage as our ``Usage``.

Here ``input_tokens`` is the whole prompt, whatever a cache held of it, and ``output_tokens`` the whole answer,
reasoning included. Vendors differ in what their numbers leave out ("beside") or include ("inside"):

======================  ==========================================  ==================  ======================
who                     input, output                               cache read, write   reasoning
======================  ==========================================  ==================  ======================
OpenAI, Groq, vLLM, …   prompt_tokens, completion_tokens            inside              inside
OpenAI Responses        input_tokens, output_tokens                 inside              inside
DeepSeek                as OpenAI                                   inside (hit, miss)  inside
Moonshot, OpenRouter,   as OpenAI                                   inside              inside
LiteLLM's proxy
xAI, Gemini as OpenAI   as OpenAI                                   inside              beside, in total
Perplexity              as OpenAI                                   –                   beside (top level)
Gemini                  promptTokenCount, candidatesTokenCount      inside              beside
Anthropic               input_tokens, output_tokens                 beside              inside
Bedrock Converse        inputTokens, outputTokens                   beside              inside
Cohere                  billed_units.input_tokens, .output_tokens   –                   inside
Ollama                  prompt_eval_count, eval_count               –                   inside
LangChain               input_tokens, output_tokens                 inside              inside
======================  ==========================================  ==================  ======================

Audio tokens (``*_tokens_details.audio_tokens``) and rejected predictions are inside input and output everywhere.

Gateways mix these, so that the total decides, if there is one: it is the sum of the parts that are counted apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mrengine.errors import ConfigError
from mrengine.records import Completion, Usage

__all__ = ["billed", "completed", "count", "reported_usage", "usage_in", "usage_of"]

_MOST = 2**53  # a larger number is no count
_BYTES_A_TOKEN = 3  # for text we know nothing about


@dataclass(frozen=True, slots=True)
class _Way:
    """One row of the table, as dotted names. ``cache_beside``: cached tokens are not part of the input;
    ``reasoning_beside``: reasoning tokens are not part of the output.
    """

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
    # OpenAI's Chat Completions: platform.openai.com/docs/api-reference/chat/object. Those who copy it:
    # api-docs.deepseek.com/api/create-chat-completion, platform.moonshot.ai/docs, docs.perplexity.ai/api-reference,
    # openrouter.ai/docs/use-cases/usage-accounting, docs.litellm.ai/docs/completion/prompt_caching,
    # docs.x.ai/docs/guides/reasoning, ai.google.dev/gemini-api/docs/openai.
    _Way(
        "prompt_tokens", "completion_tokens",
        (*_inside("prompt_tokens_details", "cached_tokens", "cache_read_tokens"), *_READ),
        (*_inside("prompt_tokens_details", "cache_write_tokens", "cache_creation_tokens", *_WRITTEN[:1]), *_WRITTEN),
        (*_inside("completion_tokens_details", "reasoning_tokens"), "reasoning_tokens"),
    ),
    _Way(  # LangChain: reference.langchain.com (UsageMetadata); before Anthropic, whose names it has
        "input_tokens", "output_tokens", _inside("input_token_details", "cache_read"),
        _inside("input_token_details", "cache_creation"), _inside("output_token_details", "reasoning"),
    ),
    _Way(  # platform.openai.com/docs/api-reference/responses
        "input_tokens", "output_tokens", _inside("input_tokens_details", "cached_tokens"),
        _inside("input_tokens_details", "cache_write_tokens"), _inside("output_tokens_details", "reasoning_tokens"),
    ),
    _Way(  # platform.claude.com/docs/en/build-with-claude/prompt-caching
        "input_tokens", "output_tokens", ("cache_read_input_tokens",),
        ("cache_creation_input_tokens", _WRITTEN_5M, _WRITTEN_1H), _inside("output_tokens_details", "thinking_tokens"),
        cache_beside=True,
    ),
    _Way(  # ai.google.dev/api/generate-content
        "promptTokenCount", "candidatesTokenCount", ("cachedContentTokenCount",), (), ("thoughtsTokenCount",),
        "toolUsePromptTokenCount", "totalTokenCount", reasoning_beside=True,
    ),
    _Way(  # the same, by Gemini's SDK
        "prompt_token_count", "candidates_token_count", ("cached_content_token_count",), (), ("thoughts_token_count",),
        "tool_use_prompt_token_count", "total_token_count", reasoning_beside=True,
    ),
    _Way(  # docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
        "inputTokens", "outputTokens", ("cacheReadInputTokens", "cacheReadInputTokenCount"),
        ("cacheWriteInputTokens", "cacheWriteInputTokenCount"), total="totalTokens", cache_beside=True,
    ),
    _Way("billed_units.input_tokens", "billed_units.output_tokens"),  # docs.cohere.com/reference/chat
    _Way("prompt_eval_count", "eval_count"),  # docs.ollama.com/api
)  # fmt: skip


def usage_in(reported: Any) -> Usage | None:
    """The usage that a provider reported, as an object or a mapping; None: it reported none.

    ``estimated`` is True where input or output is missing: that number is 0, and is to be estimated. No prompt has 0
    tokens: servers that report that leave out what came from their cache.
    """
    way = _way(reported)
    if way is None:
        total = next((count(found) for way in _WAYS if (found := _get(reported, way.total)) is not None), 0)
        return Usage(total, 0) if total else None
    prompt, answer = _get(reported, way.input), _get(reported, way.output)
    written_1h = count(_get(reported, _WRITTEN_1H))
    counts = _Counts(
        count(prompt) + (count(_get(reported, way.also_input)) if way.also_input else 0),
        count(answer),
        _largest(reported, way.cached),
        max(_largest(reported, way.written), count(_get(reported, _WRITTEN_5M)) + written_1h),
        _largest(reported, way.reasoning),
    )
    total = count(_get(reported, way.total))
    if total and answer is None and total > counts.input:
        answer = total - counts.input
        counts = replace(counts, output=answer)
    cache_beside, reasoning = _beside(counts, way, total)
    return _usage(counts, cache_beside, reasoning, written_1h, not count(prompt) or answer is None)


def reported_usage(reported: Any) -> Usage:
    """The usage in the body of an answer, all of it to be estimated if there is none."""
    usage = usage_in(reported) if isinstance(reported, dict) else None
    return Usage(estimated=True) if usage is None else usage


def billed(usage: Usage | None) -> Usage | None:
    """The usage; None where the provider reported none."""
    return usage if usage is not None and usage.total_tokens else None


@dataclass(frozen=True, slots=True)
class _Counts:
    """The numbers as they were reported."""

    input: int
    output: int
    cached: int
    written: int
    reasoning: int


def _way(reported: Any) -> _Way | None:
    """The row that fits best: of those whose input or output is reported, the one with the most reported details."""
    fitting = [way for way in _WAYS if any(_get(reported, name) is not None for name in (way.input, way.output))]

    def details(way: _Way) -> int:
        return sum(_get(reported, name) is not None for name in (*way.cached, *way.written, *way.reasoning))

    return max(fitting, key=details, default=None)


def _beside(counts: _Counts, way: _Way, total: int) -> tuple[int, int]:
    """(cache tokens that input leaves out, reasoning tokens that output leaves out). The total decides, if it can."""
    cache, thought = counts.cached + counts.written, counts.reasoning
    rest = total - counts.input - counts.output
    if rest >= 0 and total:
        # Which parts make up what the total has beyond input and output? Those are counted beside.
        for cache_part in dict.fromkeys((0, cache, counts.cached, counts.written)):
            for thought_part in dict.fromkeys((0, thought)):
                if rest == cache_part + thought_part and counts.input + cache_part >= cache:
                    return cache_part, max(thought_part, thought if thought > counts.output else 0)
        if not thought and rest > 0:  # reasoning that is reported nowhere but in the total
            return (cache, rest - cache) if way.cache_beside and rest >= cache else (0, rest)
    outside = cache if way.cache_beside or cache > counts.input else 0
    return outside, thought if way.reasoning_beside or thought > counts.output else 0


def _usage(counts: _Counts, cache_beside: int, thought_beside: int, written_1h: int, partly: bool) -> Usage:
    prompt = counts.input + cache_beside
    cached = min(counts.cached, prompt)
    written = min(counts.written, prompt - cached)
    output = counts.output + thought_beside
    thought = min(max(counts.reasoning, thought_beside), output)
    return Usage(prompt, output, cached, written, thought, min(written_1h, written), partly)


def count(value: Any) -> int:
    """A number of tokens as JSON gives it; 0 for anything else."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value < _MOST else 0


def _largest(reported: Any, names: tuple[str, ...]) -> int:
    """The largest value under several names: some servers write 0 under those that they do not use."""
    return max((count(_get(reported, name)) for name in names), default=0)


def _get(reported: Any, path: str) -> Any:
    for name in path.split("."):
        reported = reported.get(name) if isinstance(reported, Mapping) else getattr(reported, name, None)
        if reported is None or callable(reported):
            return None
    return reported


def usage_of(reported: Any) -> Usage:
    """What a client of the user's own reports: a ``Usage``, a number of tokens, or the usage or the whole answer of
    OpenAI, Anthropic, Google, LangChain, …, as an object, a pydantic model or a dict.

    ConfigError, which shows no value: there is no count in it.
    """
    if isinstance(reported, Usage):
        return reported
    if isinstance(reported, int) and not isinstance(reported, bool) and reported >= 0:
        return Usage(reported, 0)
    for name in ("usage", "usage_metadata", "usageMetadata"):
        if (inner := _get(reported, name)) is not None:
            return usage_of(inner)
    usage = usage_in(reported)
    if usage is None:
        kind = type(reported).__name__
        message = f"used() takes a Usage, a number of tokens, or a provider's usage; not {kind}"
        raise ConfigError(message, setting="usage")
    return replace(usage, estimated=False)


def completed(completion: Completion, input_tokens: int, max_tokens: int) -> Completion:
    """The completion with our own count of what its provider did not report. ``input_tokens``: our count of the prompt.

    Without it such calls would cost nothing, and a Budget would never be used up.
    """
    usage, text = completion.usage, completion.text
    answer = usage.output_tokens or min(-(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN), max_tokens)
    if completion.finish_reason == "length" and not usage.output_tokens:
        answer = max_tokens
    if usage.input_tokens and not usage.output_tokens and not usage.estimated and text:
        answer = min(answer, usage.input_tokens - 1)  # only a total was prompt
        prompt = usage.input_tokens - answer
    elif usage.estimated or not usage.input_tokens:
        prompt = usage.input_tokens or input_tokens
    else:
        return completion
    return replace(completion, usage=replace(usage, input_tokens=prompt, output_tokens=answer, estimated=True))
