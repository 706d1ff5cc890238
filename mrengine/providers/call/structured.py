"""Structured answers: the schema that a provider is given, and what its answer is checked against.

``response_model`` is a JSON schema, a pydantic model, or whatever else pydantic's ``TypeAdapter`` takes:
``list[Model]``, a dataclass, a ``Literal``. No exception holds the answer: places are named only as far as the schema
itself names them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mrengine.errors import ConfigError, InvalidAnswer
from mrengine.providers.call import schemas
from mrengine.providers.call.lenient_json import json_in, parse
from mrengine.providers.call.schemas import Problem

__all__ = ["Checked", "boxed", "checked", "in_words", "schema_of", "strict", "unboxed", "validate"]

_MAX_ERRORS = 10
_BOX = "answer"
_ROOTED = frozenset({"$defs", "definitions", "$schema"})  # where references and validators look for them
_OTHER_REFERENCE = re.compile(r'"\$(?:ref|dynamicRef)": "(?!#/(?:\$defs|definitions)/)|"\$(?:id|anchor)": ')


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer that was looked at: its ``value``, or the ``problems`` that it has instead."""

    value: Any = field(default=None, repr=False)
    problems: tuple[Problem, ...] = ()

    def failure(self) -> InvalidAnswer:
        """What is wrong, without values."""
        shown = [problem.line for problem in self.problems[:_MAX_ERRORS]]
        left = len(self.problems) - len(shown)
        more = f" and {left} more" if left else ""
        message = f"the answer is not what response_model asks for: {'; '.join(shown)}{more}"
        return InvalidAnswer(message, problems=shown)

    def explained(self) -> str:
        """What is wrong, in the validator's own words, for the model that gave the answer."""
        return "\n".join(problem.feedback for problem in self.problems[:_MAX_ERRORS])


def schema_of(response_model: Any) -> dict[str, Any]:
    """The JSON schema of a response model. ConfigError: it is no schema, and nothing that pydantic can validate."""
    if isinstance(response_model, Mapping):
        schemas.check(response_model)
        return dict(response_model)
    return _rooted(_adapter(response_model).schema)


def _rooted(schema: dict[str, Any]) -> dict[str, Any]:
    """A model that refers to itself is a reference at the root, which no provider takes: put its object there."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    found = schema.get("$defs", {}).get(name)
    return schema if found is None else {**found, "$defs": schema["$defs"]}


class _Adapter:
    """What pydantic makes of a type: its schema, and a validator of JSON texts.

    Values come by the JSON road (``validate_json``): a strict model takes a date, an enum or a tuple from JSON, and
    from no Python value that JSON has.
    """

    def __init__(self, wanted: Any) -> None:
        make = getattr(wanted, "model_json_schema", None)
        self.validate_json: Any = getattr(wanted, "model_validate_json", None)
        if not isinstance(wanted, type) or make is None or self.validate_json is None:
            try:
                from pydantic import TypeAdapter
            except ImportError:
                raise _not_a_model("pydantic is not installed") from None
            adapter = _tried(lambda: TypeAdapter(wanted))
            make, self.validate_json = adapter.json_schema, adapter.validate_json
        self.schema: dict[str, Any] = dict(_tried(make))
        self.names = schemas.names(self.schema)


def _tried(make: Any) -> Any:
    why = ""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  # whatever pydantic raises of a type: it is the user's
        why = f"{type(error).__name__} by pydantic"
    raise _not_a_model(why)


def _not_a_model(why: str) -> ConfigError:
    wanted = "a pydantic model class, a type that pydantic validates, or a JSON schema (a dict)"
    return ConfigError(f"response_model must be {wanted}: {why}", setting="response_model")


_remembered = lru_cache(maxsize=64)(_Adapter)


def _adapter(response_model: Any) -> _Adapter:
    if isinstance(response_model, (str, bytes, int, float, list, tuple, set)) or response_model is None:
        raise _not_a_model(f"this is a {type(response_model).__name__}")
    try:
        hash(response_model)
    except TypeError:
        return _Adapter(response_model)
    return _remembered(response_model)


def validate(text: str, response_model: Any) -> Any:
    """The value that an answer's text holds: a dict or list for a schema, an instance for a model. InvalidAnswer."""
    found = checked(text, response_model)
    if found.problems:
        raise found.failure()
    return found.value


def checked(text: str, response_model: Any) -> Checked:
    """Look at an answer's text. Of several values in it the first that fits counts.

    Raises what a validator of the caller's raises that is no ValueError: its own fault, not the answer's.
    """
    first: Checked | None = None
    for candidate in json_in(text):
        found = _fit(candidate, response_model)
        if not found.problems:
            return found
        first = first or found
    return first or Checked(problems=(_no_json(text),))


def _no_json(text: str) -> Problem:
    try:
        parse(text.strip())
    except json.JSONDecodeError as error:
        where = f"/: not JSON at character {error.pos}"
        return Problem(where, f"{where}: {error.msg}")
    except RecursionError:
        return Problem("/: nested too deeply", "/: nested too deeply")
    except ValueError:
        pass
    return Problem("/: not JSON", "/: NaN and Infinity are not JSON")


def _fit(text: str, response_model: Any, *, unpacked: bool = False) -> Checked:
    """A JSON text against the model. One that is a string may hold the JSON that was meant."""
    value = parse(text)
    if isinstance(response_model, Mapping):
        found = Checked(value, tuple(schemas.problems(value, response_model)))
    else:
        found = _by_pydantic(text, value, _adapter(response_model))
    if found.problems and isinstance(value, str) and not unpacked:
        for inner in json_in(value):
            if not (other := _fit(inner, response_model, unpacked=True)).problems:
                return other
    return found


def _by_pydantic(text: str, value: Any, adapter: _Adapter) -> Checked:
    if "\\ud" in text.lower():  # an escape of half a character, which pydantic's reader refuses
        text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        return Checked(adapter.validate_json(text))
    except ValueError as error:  # pydantic's own is a ValueError; its text holds the input
        return Checked(problems=tuple(_problems(error, adapter.names)))


def _problems(error: ValueError, known: set[str]) -> list[Problem]:
    details = getattr(error, "errors", None)
    if not callable(details):
        return [Problem(f"/: the model's validator raised {type(error).__name__}", f"/: {str(error)[:300]}")]
    found = details(include_url=False, include_context=False, include_input=False)
    found = [
        Problem(f"{schemas.place(one['loc'], known)}: {one['type']}", f"{schemas.place(one['loc'])}: {one['msg']}")
        for one in found
    ]
    return found or [Problem("/: invalid", "/: invalid")]


def in_words(schema: Mapping[str, Any]) -> str:
    """What is added to a prompt for a model that takes no schema."""
    return "\n\nAnswer with one JSON value that is valid under this JSON Schema, and with nothing else:\n" + json.dumps(
        schema, ensure_ascii=False
    )


def boxed(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as providers take it, who take objects alone: a list or a scalar is the one property of an object.

    None: it refers to places within itself that would be elsewhere then.
    """
    if schema.get("type") == "object":
        return dict(schema)
    if _OTHER_REFERENCE.search(json.dumps(schema)):
        return None
    inner = {name: part for name, part in schema.items() if name not in _ROOTED}
    rest = {name: schema[name] for name in _ROOTED & schema.keys()}
    return {"type": "object", "properties": {_BOX: inner}, "required": [_BOX], "additionalProperties": False, **rest}


def unboxed(text: str, schema: Mapping[str, Any]) -> str:
    """The answer to a schema that was boxed: what is in the box, or the text as it is."""
    if schema.get("type") == "object":
        return text
    for candidate in json_in(text):
        found = parse(candidate)
        if isinstance(found, dict) and list(found) == [_BOX]:
            return json.dumps(found[_BOX], ensure_ascii=False)
    return text


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
