"""Turns what a map function returns into the plain value that is stored, or an error that names the place."""

# Values are normalised before anything else sees them, so that first, resumed and sequential runs agree.

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import os
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

from mrengine.errors import Unstorable
from mrengine.records import Completion

__all__ = ["MAX_DEPTH", "Plain", "Unstorable", "enum_value", "normalise"]

MAX_DEPTH = 200
_LEAST_INT, _GREATEST_INT = -(2**63), 2**64 - 1
_SHOWN_KEY = 40

Plain = Any  # None, bool, int of 64 bits, float, str, bytes, list of these, dict of str → these


def normalise(value: object, path: str = "result") -> Plain:
    """The plain form of ``value``. Unstorable: part of it has none.

    dataclasses and pydantic models become dicts; tuples lists; a Completion its ``parsed``, else its ``text``; dates,
    Decimal, UUID and Path strings; an Enum its value if that is a string, else its name; numpy scalars numbers. NaN,
    infinities and lone surrogates stay. Integers have 64 bits; dict keys are strings; nothing nests deeper than 200.
    """
    return _plain(value, path, 0)


def _plain(value: Any, path: str, depth: int) -> Plain:
    kind = type(value)
    # Most values are of exactly these types, and need no further call.
    if kind is str or kind is float or kind is bool or value is None or kind is bytes:
        return value
    if kind is int:
        return _integer(value, path)
    if depth >= MAX_DEPTH:
        raise Unstorable(path, f"nested deeper than {MAX_DEPTH}, or contains itself")
    if kind is list or kind is tuple:
        return [_plain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if kind is dict:
        return _mapping(value, path, depth)
    return _uncommon(value, path, depth)


def _uncommon(value: Any, path: str, depth: int) -> Plain:
    """The plain form of subclasses and of all other types."""
    # The order matters: an IntEnum is an int, and an enum of strings a str, but both are stored as enums.
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return convert(value)
    if isinstance(value, int):
        return _integer(int(value), path)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return _mapping(value, path, depth)
    if isinstance(value, Completion):
        return _plain(value.text if value.parsed is None else value.parsed, path, depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return _mapping(fields, path, depth)
    return _foreign(value, path, depth)


def _foreign(value: Any, path: str, depth: int) -> Plain:
    """The plain form of values of libraries that are not imported here; their attributes tell them."""
    kind = type(value)
    if hasattr(kind, "model_fields") and callable(getattr(value, "model_dump", None)):  # pydantic 2
        return _plain(value.model_dump(), path, depth + 1)
    if hasattr(kind, "__fields__") and callable(getattr(value, "dict", None)):  # pydantic 1
        return _plain(value.dict(), path, depth + 1)
    # ``item()`` of a longdouble is a longdouble again: without the last condition that would never end.
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == () and type(item := value.item()) is not kind:
        return _plain(item, path, depth + 1)
    raise Unstorable(path, kind.__qualname__)


def _integer(value: int, path: str) -> int:
    if _LEAST_INT <= value <= _GREATEST_INT:
        return value
    raise Unstorable(path, f"int of {value.bit_length()} bits; at most 64 are stored, make it a str")


def _mapping(value: dict[Any, Any], path: str, depth: int) -> dict[str, Plain]:
    plain: dict[str, Plain] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise Unstorable(path, f"a dict key of type {type(key).__qualname__}; keys must be str")
        name = str.__str__(key)
        plain[name] = _plain(item, f"{path}[{_shown(name)}]", depth + 1)
    return plain


def _shown(key: str) -> str:
    return json.dumps(key if len(key) <= _SHOWN_KEY else key[:_SHOWN_KEY] + "…", ensure_ascii=False)


def enum_value(value: enum.Enum) -> str:
    """What an Enum is stored as: its value if that is a string, else its name."""
    return str.__str__(value.value) if isinstance(value.value, str) else value.name or str(value.value)


_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Plain]], ...] = (
    (enum.Enum, enum_value),
    (str, str.__str__),
    (float, float),
    ((bytes, bytearray, memoryview), bytes),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    ((decimal.Decimal, uuid.UUID), str),
    (pathlib.PurePath, os.fspath),
)
