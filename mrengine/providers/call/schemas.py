"""JSON schemas, checked and applied by the library ``jsonschema``. A wrong one is refused before any call is made.

Problems name a place and a keyword. Only their ``feedback`` quotes the answer, as it goes to the model that gave it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from typing import Any

from mrengine.errors import ConfigError

__all__ = ["Problem", "check", "names", "place", "problems"]

_MESSAGE = 300  # characters of one message of the library, which may repeat a whole value
_RULE = 60  # characters of the schema that a problem's line may quote
_PATTERN_S = 1.0  # a pattern may backtrack without end
_SUBSCHEMAS = frozenset({
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties", "additionalItems",
})  # fmt: skip
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_MAPS = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_KNOWN = _SUBSCHEMAS | _LISTS | _MAPS | {
    "$anchor", "$comment", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef", "$ref",
    "$schema", "$vocabulary", "const", "contentEncoding", "contentMediaType", "default", "dependencies",
    "dependentRequired", "deprecated", "description", "discriminator", "enum", "example", "examples",
    "exclusiveMaximum", "exclusiveMinimum", "format", "id", "maxContains", "maxItems", "maxLength", "maxProperties",
    "maximum", "minContains", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "nullable", "pattern",
    "readOnly", "required", "title", "type", "uniqueItems", "writeOnly",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of an answer: ``line`` shows no value of it, ``feedback`` is the validator's own message."""

    line: str
    feedback: str = field(repr=False)


def check(schema: Mapping[str, Any]) -> None:
    """ConfigError for what is no JSON schema, or none that can be applied here."""
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        raise ConfigError("the schema in response_model holds what JSON does not", setting="response_model") from None
    _check(text)


@lru_cache(maxsize=64)
def _check(text: str) -> None:
    import jsonschema

    schema = json.loads(text)
    wrong = ""
    try:
        draft: Any = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        draft.check_schema(schema, format_checker=jsonschema.FormatChecker(formats=()))  # _slips checks the patterns
    except jsonschema.SchemaError as error:
        wrong = f"at /{'/'.join(map(str, error.absolute_path))}: {error.message[:_MESSAGE]}"
    except RecursionError:
        wrong = "it is nested too deeply"
    wrong = wrong or next(_slips(schema), "")
    if not wrong and schema and not _KNOWN & schema.keys():
        wrong = "it has none of its keywords (type, properties, …), so that any answer would do"
    if wrong:
        raise ConfigError(f"response_model is no JSON schema: {wrong}", setting="response_model")


def _slips(root: Mapping[str, Any]) -> Iterator[str]:
    """Faults that the meta-schema lets pass: dangling references, invalid patterns, misspelt keywords."""
    for at, schema in _walk(root, ""):
        for name in schema.keys() - _KNOWN:
            if close := difflib.get_close_matches(name, _KNOWN, 1, 0.8):
                yield f"at {at or '/'}: {name} is no keyword: is it {close[0]}?"
        if isinstance(ref := schema.get("$ref"), str) and not _resolves(ref, root):
            yield f"at {at or '/'}: $ref {ref[:100]} points to nothing in it, and nothing is fetched"
        for pattern in (schema.get("pattern"), *schema.get("patternProperties", ())):
            named = pattern is not schema.get("pattern")
            if isinstance(pattern, str) and not _compiles(pattern, named=named):
                yield f"at {at or '/'}: the pattern {pattern[:100]!r} is no regular expression"


def _walk(schema: Any, at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A schema and all schemas within it, each with its place."""
    if not isinstance(schema, Mapping):
        return
    yield at, schema
    for name, part in schema.items():
        if name in _LISTS and isinstance(part, list):
            for number, one in enumerate(part):
                yield from _walk(one, f"{at}/{name}/{number}")
        elif name in _MAPS and isinstance(part, Mapping):
            for key, one in part.items():
                yield from _walk(one, f"{at}/{name}/{key}")
        elif name in _SUBSCHEMAS:
            yield from _walk(part, f"{at}/{name}")


def _resolves(ref: str, root: Any) -> bool:
    """Whether a JSON pointer leads anywhere; references by ``$id`` and anchors are left to the library."""
    if not ref.startswith("#/"):
        own = root.get("$id") if isinstance(root, Mapping) else None
        known = ("https://json-schema.org/", "http://json-schema.org/", *((own,) if own and type(own) is str else ()))
        return not ref.startswith(("http://", "https://", "file:")) or ref.startswith(known)
    node = root
    for part in ref[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, Mapping) and name in node:
            node = node[name]
        else:
            return False
    return True


def _compiles(pattern: str, *, named: bool) -> bool:
    """Whether a pattern is one. ``named``: of ``patternProperties``, which the library matches with Python's ``re``."""
    import regex

    try:
        re.compile(pattern) if named else regex.compile(pattern)
    except (re.error, regex.error):
        return False
    return True


def problems(value: Any, schema: Any) -> list[Problem]:
    """The faults of a value; none if it is valid."""
    known = names(schema)
    faults: list[Problem] = []
    try:
        for error in _validator(schema).iter_errors(value):
            line = f"{place(error.absolute_path, known)}: {_rule(error)}"
            faults.append(Problem(line, f"{place(error.absolute_path)}: {error.message[:_MESSAGE]}"))
    except RecursionError:
        faults.append(Problem("/: nested too deeply", "/: nested too deeply"))
    except Exception as error:  # noqa: BLE001  # a dangling reference shows itself only when it is followed
        message = f"response_model is no JSON schema that can be applied: {type(error).__name__}"
        raise ConfigError(message, setting="response_model") from None
    return faults


def _rule(error: Any) -> str:
    """The violated keyword, with its value in the schema if that is short."""
    if error.validator is None:
        return "not allowed"
    if error.validator == "required":
        return "missing"
    if isinstance(error.validator_value, (str, int, float, bool)) or error.validator in ("type", "enum"):
        shown = json.dumps(error.validator_value, ensure_ascii=False)
        return f"violates {error.validator} {shown if len(shown) <= _RULE else ''}".rstrip()
    return f"violates {error.validator}"


def _validator(schema: Any) -> Any:
    import jsonschema

    draft = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    # The meta-schemas, and no way to fetch others.
    return _ours(draft)(schema, registry=import_module("jsonschema_specifications").REGISTRY)


@lru_cache(maxsize=8)
def _ours(draft: Any) -> Any:
    """The library's validator, with patterns beyond Python's dialect, and the place of a missing property."""
    import jsonschema

    def pattern(validator: Any, wanted: str, value: Any, schema: Any) -> Iterator[Any]:
        if isinstance(value, str) and not _matches(wanted, value):
            yield jsonschema.ValidationError(f"does not match {wanted}")

    def required(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        for name in wanted if isinstance(value, dict) and isinstance(wanted, list) else ():
            if name not in value:
                yield jsonschema.ValidationError("is missing", path=[name])

    def multiple_of(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        if type(value) in (int, float) and not _is_multiple(value, wanted):
            yield jsonschema.ValidationError(f"is no multiple of {wanted}")

    own = {"pattern": pattern, "required": required, "multipleOf": multiple_of}
    extend: Any = jsonschema.validators.extend
    return extend(draft, own)


def _is_multiple(value: float, wanted: float) -> bool:
    """Whether it is one by the decimal digits of JSON: 5.3 is a multiple of 0.1, in floats it is not."""
    try:
        return Decimal(str(value)) % Decimal(str(wanted)) == 0
    except ArithmeticError:
        return False


def _matches(pattern: str, value: str) -> bool:
    import regex

    try:
        return regex.search(pattern, value, timeout=_PATTERN_S) is not None
    except TimeoutError:
        return True  # undecided: a valid answer must not be refused for its pattern


def place(path: Collection[int | str], known: Collection[str] | None = None) -> str:
    """A path such as ``/claims/3/dose``. Names that are not ``known`` come from the answer and become ``*``; None: all
    are shown.
    """
    parts = [str(part) if isinstance(part, int) or known is None or part in known else "*" for part in path]
    return "/" + "/".join(parts)


def names(schema: Any) -> set[str]:
    """Every property name in a schema."""
    if isinstance(schema, Mapping):
        own = set(schema["properties"]) if isinstance(schema.get("properties"), Mapping) else set()
        if isinstance(schema.get("required"), list):
            own.update(name for name in schema["required"] if isinstance(name, str))
        return own.union(*(names(part) for part in schema.values()))
    if isinstance(schema, list):
        return set().union(*(names(part) for part in schema))
    return set()
