"""``map_prompt``: a map function that is a prompt, so that its version is exact and a job resumes by its id alone."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgpack

from mrengine.errors import ConfigError

__all__ = ["PromptMap", "map_prompt"]

_TEXT = re.compile(r"\$(?:text\b|\{text\})")
# {name}, {{name}}, %(name)s, $name and ${name}: how other template languages name a value.
_PLACEHOLDER = re.compile(
    r"\$?\{\{?\s*([A-Za-z_]\w{0,30})\s*\}?\}|\$([A-Za-z_]\w{0,30})|%\(([A-Za-z_]\w{0,30})\)s|%s\b"
)
_LIKE_TEXT = {"text", "txt", "texts", "tex", "test", "chunk", "document", "doc", "content", "input"}
log = logging.getLogger("mrengine")


@dataclass(frozen=True)
class PromptMap:
    """Call it as a map function: it fills the template, asks the task's model and returns its text, or the parsed
    value.
    """

    template: str = field(repr=False)
    system: str | None = field(default=None, repr=False)
    max_tokens: int = 1024
    temperature: float | None = None
    response_model: Any = field(default=None, repr=False)
    on_truncation: str = "error"
    cache: str = "auto"

    def __call__(self, chunk: Any, context: Any) -> Any:
        """The model's answer for one chunk."""
        completion = context.complete(
            self.fill(chunk.fenced),
            system=self.system,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            response_model=self.response_model,
            on_truncation=self.on_truncation,
            cache=self.cache,
            prefix=self.prefix,
        )
        return completion.text if self.response_model is None else completion.parsed

    def fill(self, fenced: str) -> str:
        """The template with ``$text`` replaced; a template without it gets the text at its end."""
        if not _TEXT.search(self.template):
            return f"{self.template.rstrip()}\n\n{fenced}"
        return _TEXT.sub(lambda _: fenced, self.template)

    @property
    def prefix(self) -> int:
        """Characters of each prompt that stand before the text, the same for all chunks."""
        found = _TEXT.search(self.template)
        return found.start() if found else len(self.template.rstrip()) + 2

    @property
    def result_type(self) -> Any:
        """What its results are made into: the response model, where that is a class."""
        return None if self.response_model is None or isinstance(self.response_model, Mapping) else self.response_model

    def prompt_fields(self) -> dict[str, Any]:
        """What the log keeps, so that the job can be resumed by its id alone. A pydantic model is kept as its
        schema.
        """
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
        }

    @property
    def preloads(self) -> tuple[str, ...]:
        """What answers are validated with: imported once, not in each worker (jsonschema takes a quarter second)."""
        if self.response_model is None:
            return ()
        return ("jsonschema",) if isinstance(self.response_model, Mapping) else ("pydantic",)

    @property
    def map_version(self) -> str:
        """A digest of all that makes the prompt; not of ``cache``, which changes what it costs and no answer."""
        fields = [(name, value) for name, value in sorted(self.prompt_fields().items()) if name != "cache"]
        packed = msgpack.packb(fields, unicode_errors="surrogatepass")
        return "prompt-" + blake2b(packed, digest_size=8).hexdigest()


def stray_placeholder(template: str) -> str:
    """What was probably meant for ``$text``: {text}, $txt; empty: nothing. Where ``$text`` is there, too, only names
    that are much like it.
    """
    there = _TEXT.search(template) is not None
    for found in _PLACEHOLDER.finditer(template):
        name = (found[1] or found[2] or found[3] or "").lower()
        if found[0] not in ("$text", "${text}") and (not there or name in _LIKE_TEXT):
            return found[0]
    return ""


def map_prompt(
    template: Any,
    *,
    system: str | None = None,
    max_tokens: int = 1024,
    temperature: float | None = None,
    response_model: Any = None,
    on_truncation: str = "error",
    cache: str = "auto",
) -> PromptMap:
    """A map function from a prompt: ``$text`` stands for the chunk, fenced as data. ``max_tokens``: of each answer.

    ``response_model``: a pydantic model, a dataclass, ``list[Model]`` or another type that pydantic validates, whose
    instances the results are then; or a JSON schema, whose values they are.
    ``on_truncation``: "error", "allow" or "continue", for an answer that ``max_tokens`` has cut.
    ``cache``: what stands before ``$text`` (schema, system, instructions, examples) is the same for all chunks, and is
    kept in the provider's cache where it is long enough: "auto", "1h" (kept longer, at a higher price) or "off".
    ConfigError: no
    prompt, or a schema that is none.
    """
    prompt = check_prompt(PromptMap(template, system, max_tokens, temperature, response_model, on_truncation, cache))
    if stray := stray_placeholder(template):
        instead = "" if _TEXT.search(template) else ", and without it the chunk comes at the end"
        log.warning("the prompt holds %s, which is sent as it is: only $text stands for the chunk%s", stray, instead)
    return prompt


def check_prompt(prompt: PromptMap) -> PromptMap:
    """The same. ConfigError: what every call would be refused for, told before the first."""
    from mrengine.providers.call.answers import check_cache, check_call

    check_cache(prompt.cache)
    check_call(prompt.template, prompt.system, prompt.max_tokens, prompt.temperature, prompt.on_truncation)
    if not prompt.template.strip():
        raise ConfigError("the prompt is empty", setting="template")
    if prompt.response_model is not None:
        from mrengine.providers.call.structured import schema_of

        schema_of(prompt.response_model)
    return prompt
