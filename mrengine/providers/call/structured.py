"""Structured answers: the schema that a provider is given, and what its answer is checked against.

``response_model`` is a pydantic model (or anything pydantic's ``TypeAdapter`` takes as a class) or a JSON schema. No
exception holds the answer: places are named only as far as the schema itself names them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mrengine.errors import ConfigError, InvalidAnswer
from mrengine.providers import jsonschema

__all__ = ["in_words", "schema_of", "strict", "validate"]

_MAX_ERRORS = 10


def _invalid(problems: list[str]) -> InvalidAnswer:
    """One answer that does not fit: what is wrong, without values."""
    shown = problems[:_MAX_ERRORS]
    more = f" and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    told = f"the answer is not what response_model asks for: {'; '.join(shown)}{more}"
    return InvalidAnswer(told, problems=shown)


def schema_of(response_model: Any) -> dict[str, Any]:
    """The JSON schema of a response model. Raises ConfigError for what is neither a schema nor a pydantic model."""
    if isinstance(response_model, Mapping):
        return dict(response_model)
    make = getattr(response_model, "model_json_schema", None)
    if isinstance(response_model, type) and callable(make):
        return _rooted(dict(make()))
    raise ConfigError(
        "response_model must be a pydantic model class or a JSON schema (a dict)", setting="response_model"
    )


def _rooted(schema: dict[str, Any]) -> dict[str, Any]:
    """A model that refers to itself is a reference at the root, which no provider takes: put its object there."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    found = schema.get("$defs", {}).get(name)
    return schema if found is None else {**found, "$defs": schema["$defs"]}


def validate(text: str, response_model: Any) -> Any:
    """The value that an answer's text holds: a dict or list for a schema, an instance for a model. InvalidAnswer."""
    try:
        value = json.loads(_unfenced(text), parse_constant=_no_constant)
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        problem = f"/: not JSON{where}"
    except RecursionError:
        problem = "/: nested too deeply"
    else:
        return _fit(value, response_model)
    raise _invalid([problem])


def _no_constant(name: str) -> None:
    """NaN and Infinity, which Python reads, are no JSON."""
    raise ValueError(name)


def _unfenced(text: str) -> str:
    """Without the thoughts that some servers leave before an answer, and the Markdown fence that models put around
    JSON although they were told not to.
    """
    text = text.strip()
    if text.startswith("<think>"):
        text = text.partition("</think>")[2].strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[text.index("\n") + 1 : -3]
    return text


def _fit(value: Any, response_model: Any) -> Any:
    if isinstance(response_model, Mapping):
        problems = jsonschema.errors(value, response_model)
    else:
        try:
            return response_model.model_validate(value)
        except ValueError as error:  # pydantic's own is a ValueError; its text holds the input
            problems = _problems(error, response_model)
    if problems:
        raise _invalid(problems)
    return value


def _problems(error: ValueError, response_model: Any) -> list[str]:
    details = getattr(error, "errors", None)
    if not callable(details):
        return [f"/: the model's validator raised {type(error).__name__}"]
    names = _names(schema_of(response_model))
    found = details(include_url=False, include_context=False, include_input=False)
    return [f"{_place(one['loc'], names)}: {one['type']}" for one in found] or ["/: invalid"]


def _place(location: tuple[int | str, ...], names: set[str]) -> str:
    parts = [str(part) if isinstance(part, int) or part in names else "*" for part in location]
    return "/" + "/".join(parts)


def _names(schema: Any) -> set[str]:
    """Every property name that a schema knows."""
    if isinstance(schema, Mapping):
        own = set(schema["properties"]) if isinstance(schema.get("properties"), Mapping) else set()
        return own.union(*(_names(part) for part in schema.values()))
    if isinstance(schema, list):
        return set().union(*(_names(part) for part in schema))
    return set()


def in_words(schema: Mapping[str, Any]) -> str:
    """What is added to a prompt for a model that takes no schema."""
    return "\n\nAnswer with one JSON value that is valid under this JSON Schema, and with nothing else:\n" + json.dumps(
        schema, ensure_ascii=False
    )


def strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as OpenAI's strict mode wants it (closed objects, everything required), or None where it cannot be.

    https://platform.openai.com/docs/guides/structured-outputs: an optional property becomes a required one, which the
    model may then set to its default; free-form objects have no strict form.
    """
    if schema.get("type") != "object":
        return None
    try:
        tight: dict[str, Any] = _tight(schema)
    except _NotStrict:
        return None
    return tight


class _NotStrict(Exception):
    pass


_DROPPED = frozenset({"default", "title", "uniqueItems", "minLength", "maxLength", "$schema", "examples"})
_UNKNOWN = frozenset({"oneOf", "allOf", "not", "patternProperties", "prefixItems", "if", "dependentSchemas"})


def _tight(node: Any) -> Any:
    if isinstance(node, list):
        return [_tight(part) for part in node]
    if not isinstance(node, Mapping):
        return node
    if _UNKNOWN & node.keys():
        raise _NotStrict
    tight = {key: value for key, value in node.items() if key not in _DROPPED}
    for key in ("items", "anyOf"):
        if key in tight:
            tight[key] = _tight(tight[key])
    for key in ("properties", "$defs"):
        if key in tight:
            tight[key] = {name: _tight(part) for name, part in tight[key].items()}
    if tight.get("type") == "object":
        if tight.get("additionalProperties", False) is not False or "properties" not in tight:
            raise _NotStrict
        tight["additionalProperties"] = False
        tight["required"] = list(tight["properties"])
    return tight
