"""The ``fake`` provider: deterministic answers without a server, keyed by the request, never by the order of calls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, ClassVar

from mrengine.errors import ModelUnavailable
from mrengine.records import Completion, ModelSpec, Request, Usage

__all__ = ["Answer", "FakeProvider", "example", "fake"]

Answer = str | Callable[[Request], "str | Completion | BaseException"]


class FakeProvider:
    """Answers with ``answer``, or with a line that holds the prompt's digest. A word counts as a token.

    ``mrengine.testing.fake()`` makes subclasses with answers of their own.
    """

    answer: ClassVar[Any] = None
    latency_s: ClassVar[float] = 0.0

    def __init__(self, spec: ModelSpec) -> None:
        self._name = spec.name

    def complete(self, request: Request) -> Completion:
        """An answer that depends on the request alone. An exception given as the answer is raised."""
        if self.latency_s > request.timeout_s:
            time.sleep(max(request.timeout_s, 0))
            raise ModelUnavailable(f"{self._name} did not answer in time", model=self._name)
        if self.latency_s > 0:
            time.sleep(self.latency_s)
        answer = type(self).answer
        reply = answer(request) if callable(answer) else answer
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, Completion):
            return reply
        return self._completion(request, _default(request) if reply is None else str(reply))

    def _completion(self, request: Request, text: str) -> Completion:
        prompt = (request.prompt, request.system or "", *(turn for _, turn in request.turns))
        words = text.split()
        cut = len(words) > request.max_tokens
        if cut:
            words = words[: request.max_tokens]
            text = " ".join(words)
        usage = Usage(sum(len(part.split()) for part in prompt), len(words))
        return Completion(text, None, usage, self._name, "length" if cut else "stop", self.latency_s * 1000)

    def close(self) -> None:
        """Do nothing: no connection is held."""


def fake(answer: Answer, *, name: str = "fake", latency_s: float = 0.0) -> ModelSpec:
    """A model for tests: ``answer`` is a str, or a callable that is given the Request and returns a str or an
    exception.

    The callable travels to the workers by cloudpickle and must depend on the request alone: calls come in any order,
    in several processes, and again after a resume. An exception it returns is raised; transient ones are tried again.
    """
    kept = answer if isinstance(answer, str) else staticmethod(answer)
    # In __main__, so that cloudpickle sends the class by value: no worker could import it.
    provider = type("Fake", (FakeProvider,), {"answer": kept, "latency_s": latency_s, "__module__": "__main__"})
    return ModelSpec(name, provider=provider)


def _default(request: Request) -> str:
    if request.schema is not None:
        return json.dumps(example(request.schema))
    digest = blake2b(request.prompt.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"An answer of the fake model to prompt {digest} of {len(request.prompt)} characters."


def example(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """The smallest value that fits a JSON schema, as far as the usual keywords say."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > 32:
        return None
    if "$ref" in schema:
        node: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        return example(node, root, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example(schema[key][0], root, depth + 1)
    return _example_of_type(schema, root, depth)


def _example_of_type(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        wanted = schema.get("required", schema.get("properties", {}))
        return {name: example(schema.get("properties", {}).get(name, {}), root, depth + 1) for name in wanted}
    if kind == "array":
        return [example(schema.get("items", {}), root, depth + 1)] * schema.get("minItems", 0)
    if kind == "string":
        return "text".ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", None)]
    if kind in ("integer", "number"):
        return schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    return False if kind == "boolean" else None
