"""Structured answers: makes the schema that a provider is given, and checks answers against it.

``response_model`` is a JSON schema, a pydantic model, or anything that pydantic's ``TypeAdapter`` takes:
``list[Model]``, a dataclass, a ``Literal``. No exception quotes the answer: it names only places of the schema.
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

__all__ = ["Checked", "boxed", "checked", "in_words", "schema_of", "strict", "unboxed"]

_MAX_ERRORS = 10  # problems that a message lists
_BOX = "answer"  # the property of the object around a list or scalar
_ROOTED = frozenset({"$defs", "definitions", "$schema"})  # where references and validators look for them
_OTHER_REFERENCE = re.compile(r'"\$(?:ref|dynamicRef)": "(?!#/(?:\$defs|definitions)/)|"\$(?:id|anchor)": ')


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked answer: its ``value``, or the ``problems`` that it has instead."""

    value: Any = field(default=None, repr=False)
    problems: tuple[Problem, ...] = ()

    def failure(self) -> InvalidAnswer:
        """The error that names the problems, without values."""
        shown = [problem.line for problem in self.problems[:_MAX_ERRORS]]
        left = len(self.problems) - len(shown)
        more = f" and {left} more" if left else ""
        message = f"the answer is not what response_model asks for: {'; '.join(shown)}{more}"
        return InvalidAnswer(message, problems=shown)

    def explained(self) -> str:
        """The problems in the validator's own words, for the model that gave the answer."""
        return "\n".join(problem.feedback for problem in self.problems[:_MAX_ERRORS])


def schema_of(response_model: Any) -> dict[str, Any]:
    """The JSON schema of a response model. ConfigError for what is no schema, and nothing that pydantic validates."""
    if isinstance(response_model, Mapping):
        schemas.check(response_model)
        return dict(response_model)
    return _rooted(_adapter(response_model).schema)


def _rooted(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with an object at its root. That of a model which refers to itself has a reference there, which no
    provider takes.
    """
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    root = schema.get("$defs", {}).get(name)
    return schema if root is None else {**root, "$defs": schema["$defs"]}


class _Adapter:
    """A type as pydantic sees it: its schema, and a validator of JSON texts."""

    # validate_json, not validate_python: a strict model takes a date, an enum or a tuple only from JSON.

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
    except Exception as error:  # noqa: BLE001  # pydantic may raise anything for a type of the user's
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
        return _remembered(response_model)
    except TypeError:  # it cannot be hashed
        return _Adapter(response_model)


def checked(text: str, response_model: Any) -> Checked:
    """Check an answer's text; of several values in it, the first that fits counts. The value is a dict or list for a
    schema, an instance for a model.

    An exception of the caller's own validator passes, unless it is a ValueError: it is not the answer's fault.
    """
    first: Checked | None = None
    for candidate in json_in(text):
        result = _fit(candidate, response_model)
        if not result.problems:
            return result
        first = first or result
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
    """Check a JSON text against the model. A string may itself hold the JSON that was meant."""
    value = parse(text)
    if isinstance(response_model, Mapping):
        result = Checked(value, tuple(schemas.problems(value, response_model)))
    else:
        result = _by_pydantic(text, value, _adapter(response_model))
    if result.problems and isinstance(value, str) and not unpacked:
        for inner in json_in(value):
            if not (other := _fit(inner, response_model, unpacked=True)).problems:
                return other
    return result


def _by_pydantic(text: str, value: Any, adapter: _Adapter) -> Checked:
    if "\\ud" in text.lower():  # an escape of half a character, which pydantic's reader refuses
        text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        return Checked(adapter.validate_json(text))
    except ValueError as error:  # pydantic's is one, too; its own text would quote the input
        return Checked(problems=tuple(_problems(error, adapter.names)))


def _problems(error: ValueError, known: set[str]) -> list[Problem]:
    details = getattr(error, "errors", None)
    if not callable(details):
        return [Problem(f"/: the model's validator raised {type(error).__name__}", f"/: {str(error)[:300]}")]
    problems = [
        Problem(f"{schemas.place(one['loc'], known)}: {one['type']}", f"{schemas.place(one['loc'])}: {one['msg']}")
        for one in details(include_url=False, include_context=False, include_input=False)
    ]
    return problems or [Problem("/: invalid", "/: invalid")]


def in_words(schema: Mapping[str, Any]) -> str:
    """A schema as text, to be added to the prompt for a model that takes none."""
    return "\n\nAnswer with one JSON value that is valid under this JSON Schema, and with nothing else:\n" + json.dumps(
        schema, ensure_ascii=False
    )


def boxed(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as an object, since providers take no other: a list or a scalar becomes its one property.

    None: it refers to places within itself, which the box would move.
    """
    if schema.get("type") == "object":
        return dict(schema)
    if _OTHER_REFERENCE.search(json.dumps(schema)):
        return None
    inner = {name: part for name, part in schema.items() if name not in _ROOTED}
    rest = {name: schema[name] for name in _ROOTED & schema.keys()}
    return {"type": "object", "properties": {_BOX: inner}, "required": [_BOX], "additionalProperties": False, **rest}


def unboxed(text: str, schema: Mapping[str, Any]) -> str:
    """The content of the box in an answer to a boxed schema; without a box, the text as it is."""
    if schema.get("type") == "object":
        return text
    for candidate in json_in(text):
        value = parse(candidate)
        if isinstance(value, dict) and list(value) == [_BOX]:
            return json.dumps(value[_BOX], ensure_ascii=False)
    return text


def strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as OpenAI's strict mode wants it (closed objects, everything required); None: it has no such form.

    https://platform.openai.com/docs/guides/structured-outputs: an optional property becomes a required one, which the
    model may then set to its default; free-form objects have no strict form.
    """
    try:
        return dict(_tight(schema)) if schema.get("type") == "object" else None
    except _NotStrict:
        return None


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
