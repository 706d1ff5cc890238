"""Owns ``map_prompt``: a map function that is a prompt, so that it has an exact version and can be resumed by its job
id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgpack

from mrengine.errors import ConfigError

__all__ = ["PromptMap", "map_prompt"]

_TEXT = re.compile(r"\$(?:text\b|\{text\})")


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

    def __call__(self, chunk: Any, context: Any) -> Any:
        """The model's answer for one chunk."""
        completion = context.complete(
            self.fill(chunk.fenced),
            system=self.system,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            response_model=self.response_model,
            on_truncation=self.on_truncation,
        )
        return completion.text if self.response_model is None else completion.parsed

    def fill(self, fenced: str) -> str:
        """The template with ``$text`` replaced; a template without it gets the text at its end."""
        if not _TEXT.search(self.template):
            return f"{self.template.rstrip()}\n\n{fenced}"
        return _TEXT.sub(lambda _: fenced, self.template)

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
        }

    @property
    def map_version(self) -> str:
        """A digest of all that makes the prompt."""
        packed = msgpack.packb(sorted(self.prompt_fields().items()), unicode_errors="surrogatepass")
        return "prompt-" + blake2b(packed, digest_size=8).hexdigest()


def map_prompt(
    template: Any,
    *,
    system: str | None = None,
    max_tokens: int = 1024,
    temperature: float | None = None,
    response_model: Any = None,
    on_truncation: str = "error",
) -> PromptMap:
    """A map function from a prompt: ``$text`` stands for the chunk, fenced as data. ``max_tokens``: of each answer.

    ``response_model``: a pydantic model or JSON schema; the result is then the validated value.
    ``on_truncation``: "error", "allow" or "continue", for an answer that ``max_tokens`` has cut. ConfigError: no
    prompt.
    """
    if not isinstance(template, str) or not template.strip():
        raise ConfigError("the prompt is empty", setting="template")
    return PromptMap(template, system, max_tokens, temperature, response_model, on_truncation)
