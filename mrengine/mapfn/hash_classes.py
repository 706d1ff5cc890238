"""Fingerprints of classes: the user's own by fields and methods, others by name and version."""

from __future__ import annotations

import collections
import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mrengine.mapfn.frameworks import is_framework_class, written_by_the_user
from mrengine.mapfn.module_origin import is_own, label

if TYPE_CHECKING:
    from mrengine.mapfn.hash_values import Fingerprint

__all__ = ["ENTRIES"]

_CODE = (types.FunctionType, staticmethod, classmethod, property)
_ENUM_PROPERTY = getattr(enum, "property", types.DynamicClassAttribute)
_WRITTEN_BY = ("<string", "<attrs generated")  # dataclasses and namedtuple, attrs
_GETTERS = (types.MemberDescriptorType, types.GetSetDescriptorType, type(collections.namedtuple("_", "x").x))  # type: ignore[attr-defined]


def class_(fp: Fingerprint, value: type, path: str) -> None:
    """Enter a class: the user's own in full, an installed one by name and version."""
    name = f"{value.__module__}.{value.__qualname__}"
    if not is_own(value.__module__):
        fp.put("installed class", label(value.__module__), name)
        return
    fp.put("class", value.__qualname__)
    fp.items("bases", [(path, base) for base in value.__bases__])
    annotations = inspect.get_annotations(value)
    fp.items("annotations", [entry for key, held in annotations.items() for entry in ((path, key), (path, held))])
    for key, held in written_by_the_user(value) if is_framework_class(value) else _members(value):
        fp.put("member", key)
        fp.add(held, f"{path}.{key}")


def _members(value: type) -> Iterator[tuple[str, Any]]:
    """The members that the user wrote; those that a library generated are left out."""
    if hasattr(value, "__pydantic_complete__"):
        yield "schema", value.model_json_schema()  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(value):
        yield from _fields(value)
    for field in value.__dict__.get("__attrs_attrs__", ()):
        yield field.name, (field.default, field.validator, field.converter, field.init, field.kw_only)
    if issubclass(value, tuple) and "_field_defaults" in value.__dict__:
        yield "fields", (value._fields, value._field_defaults)  # type: ignore[attr-defined]
    if issubclass(value, enum.Enum):
        yield "members", [(name, member.value) for name, member in value.__members__.items()]
    for name, held in value.__dict__.items():
        if _written(value, name, held):
            yield name, getattr(held, "wrapped", held) if _is_pydantic(held) else held


def _written(value: type, name: str, held: Any) -> bool:
    if isinstance(held, _CODE) or _is_pydantic(held):
        return not _generated(held)
    if isinstance(held, _GETTERS) or name == "_abc_impl" or (name.startswith("__") and name.endswith("__")):
        return False
    # Enums, namedtuples and pydantic models have private members of their library's making.
    derived = issubclass(value, (enum.Enum, tuple)) or hasattr(value, "__pydantic_complete__")
    return not derived or not (name.startswith(("_", "model_")) or isinstance(held, (enum.Enum, _ENUM_PROPERTY)))


def _generated(held: Any) -> bool:
    """Whether dataclasses, namedtuple or attrs generated a method: it follows from fields that are entered anyway."""
    code = getattr(getattr(held, "__func__", held), "__code__", None)
    return code is not None and (code.co_filename.startswith(_WRITTEN_BY) or "/pydantic/" in code.co_filename)


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        for name in ("default", "default_factory"):
            held = getattr(field, name)
            yield f"{field.name}.{name}", None if held is dataclasses.MISSING else (held,)
        yield f"{field.name} switches", (field.init, field.repr, field.compare, field.hash, field.kw_only)


def _is_pydantic(held: Any) -> bool:
    return type(held).__name__ == "PydanticDescriptorProxy"


def _generic(fp: Fingerprint, value: Any, path: str) -> None:
    """Enter ``list[int]``, ``str | None`` or ``Literal["a"]`` by origin and arguments."""
    fp.items("generic", [(path, typing.get_origin(value)), (path, list(typing.get_args(value)))])


def _special(fp: Fingerprint, value: Any, path: str) -> None:
    """Enter ``Any``, a TypeVar or a forward reference by name, and a NewType by its supertype, too."""
    fp.items("of", [(path, getattr(value, "__supertype__", None))])
    fp.put("typing", getattr(value, "__forward_arg__", None) or getattr(value, "__name__", None) or str(value))


_GENERIC = (
    types.GenericAlias,
    types.UnionType,
    *{type(typing.ClassVar[int]), type(typing.Union[int, str]), type(typing.Callable[[], int])},  # noqa: UP007
)
_SPECIAL = (typing.TypeVar, typing.ParamSpec, typing.NewType, typing.ForwardRef, type(typing.Any), type(typing.Union))

ENTRIES: tuple[tuple[Any, Callable[[Fingerprint, Any, str], None]], ...] = (
    (_GENERIC, _generic),
    (type, class_),
    (_SPECIAL, _special),
)
