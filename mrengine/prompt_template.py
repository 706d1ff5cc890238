"""``map_prompt``: a map function made of a prompt, so that its version is exact and a job resumes by its id alone."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgpack

from mrengine.errors import ConfigError
from mrengine.records import fence
from mrengine.setting_checks import check_count

__all__ = ["PromptMap", "check_prompt", "map_prompt"]

_TEXT = re.compile(r"\$(?:text\b|\{text\})")
_VALUE = re.compile(r"\$(?:(text|query|summary)\b|\{(text|query|summary)\})")
_VARYING = re.compile(r"\$(?:(?:text|summary)\b|\{(?:text|summary)\})")
_SHARE = 0.5  # of a text's tokens, for its answer, where max_tokens is None
LEAST_ANSWER = 200  # tokens that an answer may have, however short its text is
# {name}, {{name}}, %(name)s, $name and ${name}: how other template languages name a value.
_PLACEHOLDER = re.compile(
    r"\$?\{\{?\s*([A-Za-z_]\w{0,30})\s*\}?\}|\$([A-Za-z_]\w{0,30})|%\(([A-Za-z_]\w{0,30})\)s|%s\b"
)
# Names that a template with $text is warned of, too: others may be data, such as "{name}" in an example of JSON.
_LIKE_TEXT = {"text", "txt", "texts", "tex", "test", "chunk", "document", "doc", "content", "input"}
log = logging.getLogger("mrengine")


@dataclass(frozen=True)
class PromptMap:
    """A map function that fills the template, asks the task's model and returns its text, or the parsed value."""

    template: str = field(repr=False)
    system: str | None = field(default=None, repr=False)
    max_tokens: int | None = 1024
    temperature: float | None = None
    response_model: Any = field(default=None, repr=False)
    on_truncation: str = "error"
    cache: str = "auto"
    query: str | None = field(default=None, repr=False)
    most_tokens: int | None = None  # if max_tokens is None: the longest answer of the model
    share: float = _SHARE  # if max_tokens is None: the answer's tokens, as a share of the text's
    shown: bool = False  # to the run's on_text, as the model writes it; not part of the version

    def __call__(self, chunk: Any, context: Any) -> Any:
        """The model's answer for one chunk."""
        return self._complete(context, self.fill(chunk.fenced), chunk.tokens)

    def refined(self, context: Any, summary: str, text: str, tokens: int) -> Any:
        """The model's answer over ``$summary`` and ``$text``; ``tokens``: of both together."""
        return self._complete(context, self.fill(fence(text), fence(summary)), tokens)

    def _complete(self, context: Any, prompt: str, tokens: int) -> Any:
        completion = context.complete(
            prompt,
            system=self.system,
            max_tokens=self.answer_tokens(tokens),
            temperature=self.temperature,
            response_model=self.response_model,
            on_truncation=self.on_truncation,
            cache=self.cache,
            prefix=self.prefix,
            **({"shown": True} if self.shown else {}),
        )
        return completion.text if self.response_model is None else completion.parsed

    def answer_tokens(self, text_tokens: int) -> int:
        """``max_tokens``; if it is None, a share of the text's tokens, at least 200, at most what the model can do."""
        if self.max_tokens is not None:
            return self.max_tokens
        wanted = max(LEAST_ANSWER, int(text_tokens * self.share))
        return wanted if self.most_tokens is None else min(wanted, self.most_tokens)

    def fill(self, fenced: str, summary: str | None = None) -> str:
        """The template with ``$text``, ``$query`` and ``$summary`` replaced by marked data; a template without
        ``$text`` gets the text at its end.
        """
        # In one pass: a "$query" inside of a document is text, and no place of the template.
        filled = self._filled(self.template, {"text": fenced} | ({} if summary is None else {"summary": summary}))
        return filled if _TEXT.search(self.template) else f"{filled.rstrip()}\n\n{fenced}"

    def _filled(self, template: str, values: dict[str, str]) -> str:
        if self.query is not None:  # a user's words are data, too: they may come from a stranger
            values = {**values, "query": fence(self.query)}
        return _VALUE.sub(lambda match: values.get(match[1] or match[2], match[0]), template)

    @property
    def prefix(self) -> int:
        """The characters before the text, which are the same in the prompts of all chunks: providers cache them."""
        varying = _VARYING.search(self.template)
        if varying:
            return len(self._filled(self.template[: varying.start()], {}))
        return len(self._filled(self.template.rstrip(), {})) + 2  # the blank line that fill() adds

    @property
    def result_type(self) -> Any:
        """The type of the results: the response model, unless that is a JSON schema."""
        return None if self.response_model is None or isinstance(self.response_model, Mapping) else self.response_model

    def prompt_fields(self) -> dict[str, Any]:
        """The fields that the log keeps, so that the job can be resumed by its id; a pydantic model as its schema."""
        from mrengine.providers.call.structured import schema_of

        schema = None if self.response_model is None else schema_of(self.response_model)
        return {
            "template": self.template,
            "system": self.system,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "response_model": schema,
            "on_truncation": self.on_truncation,
            "cache": self.cache,
            # Only where they are set: prompts of older versions, which did not have them, keep their digests.
            **({} if self.query is None else {"query": self.query}),
            **({} if self.most_tokens is None else {"most_tokens": self.most_tokens}),
            **({} if self.share == _SHARE else {"share": self.share}),
        }

    @property
    def preloads(self) -> tuple[str, ...]:
        """The package that validates answers: imported once, before the fork (jsonschema takes a quarter second)."""
        if self.response_model is None:
            return ()
        return ("jsonschema",) if isinstance(self.response_model, Mapping) else ("pydantic",)

    @property
    def map_version(self) -> str:
        """A digest of everything that makes the prompt; without ``cache``, which changes its cost and no answer."""
        fields = [(name, value) for name, value in sorted(self.prompt_fields().items()) if name != "cache"]
        packed = msgpack.packb(fields, unicode_errors="surrogatepass")
        return "prompt-" + blake2b(packed, digest_size=8).hexdigest()


def stray_placeholder(template: str, *, query: bool) -> str:
    """A placeholder that probably means ``$text``, such as {text} or $txt; "": there is none.

    In a template that has ``$text``, only names much like it count.
    """
    has_text = _TEXT.search(template) is not None
    for match in _PLACEHOLDER.finditer(template):
        name = (match[1] or match[2] or match[3] or "").lower()
        if query and match[0] in ("$query", "${query}"):
            continue
        if match[0] not in ("$text", "${text}") and (not has_text or name in _LIKE_TEXT):
            return match[0]
    return ""


def map_prompt(
    template: Any,
    *,
    system: str | None = None,
    max_tokens: int | None = 1024,
    temperature: float | None = None,
    response_model: Any = None,
    on_truncation: str = "error",
    cache: str = "auto",
    query: str | None = None,
    most_tokens: int | None = None,
) -> PromptMap:
    """A map function from a prompt: ``$text`` stands for the chunk, fenced as data. ``max_tokens``: of each answer;
    None: half as many as the chunk has, at least 200 and at most ``most_tokens``.

    ``query``: the value of ``$query``, fenced as data like the chunk.
    ``response_model``: a pydantic model, a dataclass, ``list[Model]`` or another type that pydantic validates: results
    are its instances. Or a JSON schema: results are values that match it.
    ``on_truncation``: "error", "allow" or "continue", for an answer that ``max_tokens`` cut off.
    ``cache``: what stands before ``$text`` (schema, system, instructions, examples) is the same for all chunks, and is
    kept in the provider's cache if it is long enough: "auto", "1h" (kept longer, at a higher price) or "off".
    ConfigError: the prompt is empty, or the schema is not valid.
    """
    fields = (template, system, max_tokens, temperature, response_model, on_truncation, cache, query, most_tokens)
    prompt = check_prompt(PromptMap(*fields))
    if stray := stray_placeholder(template, query=query is not None):
        instead = "" if _TEXT.search(template) else ", and without it the chunk comes at the end"
        log.warning("the prompt holds %s, which is sent as it is: only $text stands for the chunk%s", stray, instead)
    return prompt


def check_prompt(prompt: PromptMap) -> PromptMap:
    """The prompt itself. ConfigError, before the first call: a field for which every call would be refused."""
    from mrengine.providers.call.answers import check_cache, check_call

    check_cache(prompt.cache)
    most = LEAST_ANSWER if prompt.max_tokens is None else prompt.max_tokens
    check_call(prompt.template, prompt.system, most, prompt.temperature, prompt.on_truncation)
    if prompt.query is not None and not isinstance(prompt.query, str):
        raise ConfigError(f"query is a str, not of type {type(prompt.query).__name__}", setting="query")
    check_count("most_tokens", prompt.most_tokens)
    if not prompt.template.strip():
        raise ConfigError("the prompt is empty", setting="template")
    if prompt.response_model is not None:
        from mrengine.providers.call.structured import schema_of

        schema_of(prompt.response_model)
    return prompt
