"""A validator for the part of JSON Schema that answers are described with. Errors name a place and a rule, never a
value.

Understood: type, enum, const, properties, required, additionalProperties, items, prefixItems, minItems, maxItems,
uniqueItems, minLength, maxLength, pattern, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, anyOf,
oneOf, allOf, not, and $ref into the same schema (draft 2020-12). Other keywords are annotations and pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["errors"]

_MAX_DEPTH = 64
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
    "integer": (int,),
    "number": (int, float),
}


def errors(value: Any, schema: Any) -> list[str]:
    """What is wrong, a line each: ``/claims/3/dose: not of type number``. Empty: the value is valid."""
    return list(_check(value, schema, schema, "", 0))


def _check(value: Any, schema: Any, root: Any, path: str, depth: int) -> Iterator[str]:
    if schema is True or schema == {} or depth > _MAX_DEPTH:
        return
    if not isinstance(schema, Mapping):
        yield f"{path or '/'}: not allowed"
        return
    if "$ref" in schema:
        yield from _check(value, _resolve(schema["$ref"], root), root, path, depth + 1)
    yield from _check_type(value, schema, path)
    yield from _check_number(value, schema, path)
    yield from _check_text(value, schema, path)
    yield from _check_object(value, schema, root, path, depth)
    yield from _check_array(value, schema, root, path, depth)
    yield from _check_choices(value, schema, root, path, depth)


def _resolve(ref: Any, root: Any) -> Any:
    """``#/$defs/Name``; what cannot be found allows anything."""
    node = root
    for part in str(ref).removeprefix("#").strip("/").split("/") if ref != "#" else ():
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, Mapping) or name not in node:
            return True
        node = node[name]
    return node


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))


def _check_type(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else list(wanted or ())
    if names and not any(_is(value, name) for name in names):
        yield f"{path or '/'}: not of type {' or '.join(names)}"
    if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
        yield f"{path or '/'}: not one of the {len(schema['enum'])} allowed values"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{path or '/'}: not the required constant"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _check_number(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    rules: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("minimum", lambda limit: value >= limit),
        ("maximum", lambda limit: value <= limit),
        ("exclusiveMinimum", lambda limit: value > limit),
        ("exclusiveMaximum", lambda limit: value < limit),
        ("multipleOf", lambda step: math.isclose(value / step, round(value / step), abs_tol=1e-9)),
    )
    for name, holds in rules:
        if name in schema and not holds(schema[name]):
            yield f"{path or '/'}: breaks {name} {schema[name]}"


def _check_text(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, str):
        return
    if len(value) < schema.get("minLength", 0):
        yield f"{path or '/'}: shorter than {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{path or '/'}: longer than {schema['maxLength']} characters"
    if "pattern" in schema and not _matches(schema["pattern"], value):
        yield f"{path or '/'}: does not match the pattern"


def _matches(pattern: str, value: str) -> bool:
    """A pattern that only ECMAScript understands is an annotation."""
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True


def _check_object(value: Any, schema: Mapping[str, Any], root: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}/{name}: missing"
    for name, part in known.items():
        if name in value:
            yield from _check(value[name], part, root, f"{path}/{name}", depth + 1)
    rest = schema.get("additionalProperties", True)
    unknown = [name for name in value if name not in known]
    if rest is False and unknown:
        yield f"{path or '/'}: {len(unknown)} properties that are not allowed"
    elif isinstance(rest, Mapping):
        for number, name in enumerate(unknown):  # a name that the schema does not hold is the answer's own text
            yield from _check(value[name], rest, root, f"{path}/*{number}", depth + 1)


def _check_array(value: Any, schema: Mapping[str, Any], root: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(value, list):
        return
    if len(value) < schema.get("minItems", 0):
        yield f"{path or '/'}: fewer than {schema['minItems']} items"
    if len(value) > schema.get("maxItems", len(value)):
        yield f"{path or '/'}: more than {schema['maxItems']} items"
    if schema.get("uniqueItems") and any(_same(a, b) for i, a in enumerate(value) for b in value[:i]):
        yield f"{path or '/'}: items repeat"
    first = schema.get("prefixItems", [])
    for number, item in enumerate(value):
        part = first[number] if number < len(first) else schema.get("items", True)
        yield from _check(item, part, root, f"{path}/{number}", depth + 1)


def _check_choices(value: Any, schema: Mapping[str, Any], root: Any, path: str, depth: int) -> Iterator[str]:
    for part in schema.get("allOf", ()):
        yield from _check(value, part, root, path, depth + 1)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            fits = sum(not any(_check(value, part, root, path, depth + 1)) for part in schema[name])
            if fits == 0 or (name == "oneOf" and fits > 1):
                yield f"{path or '/'}: fits {fits} of the alternatives in {name}"
    if "not" in schema and not any(_check(value, schema["not"], root, path, depth + 1)):
        yield f"{path or '/'}: is what must not be"
