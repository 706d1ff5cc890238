"""The two protocols of endpoints, as pure functions: from a request to a JSON body, from JSON to a completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, Protocol, cast

from mrengine.providers.call.prefixes import parted
from mrengine.providers.call.structured import boxed, in_words
from mrengine.providers.call.thoughts import apart
from mrengine.providers.http.quirks import Quirks
from mrengine.records import Completion, Request, Usage

__all__ = ["Api", "NotAnAnswer", "Refused", "api", "clean", "finished", "prompt_parts"]


class NotAnAnswer(Exception):
    """A body with status 200 that is no answer of this API. ``why``: in our own words; ``usage``: what it cost."""

    def __init__(self, why: str = "", usage: Usage | None = None) -> None:
        super().__init__(why)
        self.why, self.usage = why, usage


class Refused(Exception):
    """The model itself declined. ``reason``: the provider's word; ``usage``: what it cost; ``text``: the model's."""

    def __init__(self, reason: str, usage: Usage, text: str = "") -> None:
        super().__init__(reason)
        self.reason, self.usage, self.text = reason, usage, text


class Api(Protocol):
    """The functions in the module of each protocol."""

    PATH: str
    """Where requests go, after the base URL."""

    def key_headers(self, key: str) -> dict[str, str]:
        """The headers that carry an API key; ``""`` is none."""

    def body(self, request: Request, *, model: str, params: Mapping[str, Any], quirks: Quirks) -> dict[str, Any]:
        """The JSON body. ``params`` are the caller's own, and win; ``quirks``: what this endpoint takes."""

    def answer(self, data: Any, *, model: str, reasoning: str = "drop") -> Completion:
        """Read an answer. ``reasoning``: "drop" or "keep" the thoughts in it. Raises ``NotAnAnswer``, ``Refused``."""

    def joined(self, events: Sequence[Any]) -> Any:
        """The answer that the events of a stream make; None: they make none."""

    def piece(self, event: Any) -> str:
        """The text that one event of a stream adds to the answer."""


def api(name: str) -> Api:
    """The API "openai" (Chat Completions) or "anthropic" (Messages); only the one that is used is imported."""
    module: ModuleType
    if name == "anthropic":
        from mrengine.providers.http import anthropic_messages as module
    else:
        from mrengine.providers.http import openai_chat as module
    return cast(Api, module)


def prompt_parts(request: Request, quirks: Quirks) -> tuple[dict[str, Any] | None, str, str]:
    """(the schema as an object, the part of the prompt that may be cached, the rest of it). None: there is no schema,
    or it stands in the prompt, as the endpoint takes none.
    """
    schema = request.schema
    native = boxed(schema) if schema is not None and quirks.native_schema else None
    return native, *parted(request, "" if schema is None or native is not None else in_words(schema), clean)


def finished(
    completion: Completion, data: Mapping[str, Any], thoughts: str, *, keep: bool, hidden: bool = False
) -> Completion:
    """The completion without its thoughts (``keep``: with them), under the model's name in the answer. ``hidden``: it
    also had thoughts that nobody may read. NotAnAnswer: it had nothing else, and ``max_tokens`` is not to blame.
    """
    if isinstance(named := data.get("model"), str):
        completion = replace(completion, model=named)
    completion, thought = apart(completion, thoughts, keep=keep)
    if (thought or hidden) and not completion.text.strip() and completion.finish_reason != "length":
        raise NotAnAnswer("with thoughts and no answer", completion.usage)
    return completion


def clean(text: str) -> str:
    """A text that UTF-8 can hold: surrogate pairs become their character, a lone surrogate U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON could escape a lone surrogate, but many servers refuse it or die of it. Text that was read with
        # ``surrogatepass``, or cut within a pair, must not cost its chunk.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
