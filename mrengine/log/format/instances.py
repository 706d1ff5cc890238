"""Turns stored values back into what the map function returned: dataclasses, pydantic models and other types.

This inverts ``normalise()``. A value that was an instance is rebuilt without its validators; one that was none, such as
a dict that a map function read from JSON, is validated. docs/decisions/results-as-instances.md has the reasons.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

from mrengine.errors import ConfigError, InvalidResult
from mrengine.log.format.values import Plain, enum_value

__all__ = ["check_result_type", "holds_instances", "instance_of"]

_MOST_PROBLEMS = 10
_LEAVES: dict[type, tuple[type, ...]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (float, int),
    bytes: (bytes,),
    type(None): (type(None),),
}
_TEXTS: dict[type, Callable[[str], Any]] = {
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
}
_SEQUENCES: dict[Any, type] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
}


class _Misfit(Exception):
    """A value does not fit its type. ``place``: where, as ``["visits"][2]``; ``what``: why, in types."""

    # Neither names a value: text of a document belongs in no exception.

    def __init__(self, what: str, place: str = "") -> None:
        super().__init__(what)
        self.what, self.place = what, place

    def under(self, place: str) -> _Misfit:
        return _Misfit(self.what, place + self.place)


# Most results are of these types. They are checked for first: the lookups of attributes below take microseconds each.
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})


def check_result_type(result_type: Any) -> Any:
    """Return ``result_type`` if values can be rebuilt as it; else ConfigError, which lists the supported types."""
    known = (
        result_type is None
        or result_type is Any
        or typing.get_origin(result_type) is not None
        or typing.is_typeddict(result_type)
        or (isinstance(result_type, type) and _is_known(result_type))
    )
    if not known:
        name = getattr(result_type, "__qualname__", None) or type(result_type).__qualname__
        raise ConfigError(
            f"result_type={name}: it is a dataclass, a pydantic model, a TypedDict, a NamedTuple, an Enum, or a list, "
            "dict or union of these, such as list[Visit]",
            setting="result_type",
        )
    return result_type


def _is_known(kind: type) -> bool:
    plain = (*_LEAVES, *_TEXTS, list, dict, tuple, set, frozenset)
    made = dataclasses.is_dataclass(kind) or _is_model(kind) or hasattr(kind, "__fields__")
    return made or kind in plain or issubclass(kind, (enum.Enum, pathlib.PurePath, tuple))


def holds_instances(value: Any) -> bool:
    """Whether a value is a dataclass or pydantic instance, or a list or dict of nothing else."""
    if type(value) in _PLAIN:
        return False
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return _is_instance(value) or (bool(items) and all(map(_is_instance, items)))


def _is_instance(value: Any) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return False
    return dataclasses.is_dataclass(kind) or _is_model(kind) or hasattr(kind, "_fields")


def instance_of(result_type: Any, plain: Plain, *, made: bool, path: str = "result") -> Any:
    """A stored value as an instance of ``result_type``. None stays None, as a map function may find nothing.

    ``made``: it was stored from an instance. InvalidResult: it does not fit; the message names places and types.
    """
    if plain is None or result_type is None or result_type is Any:
        return plain
    # An instance is rebuilt as it was: validators ran once, and many refuse what they made ("a, b" → ["a", "b"]). A
    # validator or default may have gone past the annotations, so that this does not fit: then the validators are tried,
    # and at last the fields are taken as they are.
    ways = (_Maker(), _Maker(validating=True), _Maker(lenient=True)) if made else (_Maker(validating=True),)
    misfit = _Misfit("")
    for maker in ways:
        try:
            return maker.make(result_type, plain)
        except _Misfit as error:
            misfit = error
    name = getattr(result_type, "__name__", str(result_type))
    raise InvalidResult(f"{path}{misfit.place} is not what result_type={name} says: {misfit.what}")


class _Maker:
    """Rebuilds one value. ``validating``: run pydantic's validators, else rebuild as it was. ``lenient``: a field may
    hold a plain value that its annotation does not allow (``age: int = None``).
    """

    def __init__(self, *, validating: bool = False, lenient: bool = False) -> None:
        self._validating, self._lenient = validating, lenient

    def make(self, kind: Any, value: Plain) -> Any:
        """The instance; raises _Misfit."""
        if kind is Any or kind is object or isinstance(kind, typing.TypeVar):
            return value
        if kind is None:
            kind = type(None)
        if (supertype := getattr(kind, "__supertype__", None)) is not None:  # NewType
            return self.make(supertype, value)
        if (alias := getattr(kind, "__value__", None)) is not None and not isinstance(kind, type):  # type X = …
            return self.make(alias, value)
        origin = typing.get_origin(kind)
        if isinstance(kind, type) and origin is None:
            return self._of_class(kind, value)
        return self._of_form(origin, typing.get_args(kind), kind, value)

    def _of_form(self, origin: Any, args: tuple[Any, ...], kind: Any, value: Plain) -> Any:
        if origin is typing.Annotated:
            return self.make(args[0], value)
        if origin in (typing.Union, types.UnionType):
            return self._union(args, value)
        if origin is typing.Literal:
            return _literal(args, value)
        if origin is tuple:
            return self._tuple(args, value)
        if origin in _SEQUENCES:
            _expect(value, list, "a list")
            items = enumerate(value)
            return _SEQUENCES[origin](self._at(f"[{at}]", args[0], item) for at, item in items)
        if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
            _expect(value, dict, "a dict")
            return {self.make(args[0], key): self._at(_key(key), args[1], item) for key, item in value.items()}
        if isinstance(origin, type) and dataclasses.is_dataclass(origin):  # Page[Visit]
            return self._of_class(origin, value)
        raise _Misfit(f"{kind} cannot be made of a stored value")

    def _at(self, place: str, kind: Any, value: Plain) -> Any:
        try:
            return self.make(kind, value)
        except _Misfit as misfit:
            raise misfit.under(place) from None

    def _union(self, args: tuple[Any, ...], value: Plain) -> Any:
        """The value as the first member of a union that fits."""
        # Exactly at first, even if lenient: the fields of the members tell which of them it is.
        for maker in (_Maker(validating=self._validating), self):
            for kind in args:
                try:
                    return maker.make(kind, value)
                except _Misfit:
                    continue
        names = ", ".join(getattr(kind, "__name__", str(kind)) for kind in args)
        raise _Misfit(f"one of {names} is needed, not {_kind_of(value)}")

    def _tuple(self, args: tuple[Any, ...], value: Plain) -> tuple[Any, ...]:
        _expect(value, list, "a list")
        if len(args) == 2 and args[1] is Ellipsis:
            args = (args[0],) * len(value)
        if len(args) != len(value):
            raise _Misfit(f"{len(args)} items are needed, not {len(value)}")
        return tuple(self._at(f"[{at}]", kind, item) for at, (kind, item) in enumerate(zip(args, value, strict=True)))

    def _of_class(self, kind: Any, value: Plain) -> Any:
        if kind in _LEAVES:
            fits = type(value) in _LEAVES[kind]
            return value if fits else _refuse(kind, value)
        if _is_model(kind):
            return self._validated(kind, value) if self._validating else self._model(kind, value)
        if typing.is_typeddict(kind):
            return self._typed_dict(kind, value)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, value)
        if issubclass(kind, enum.Enum):
            return _member(kind, value)
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._named_tuple(kind, value)
        if kind in _SEQUENCES or kind is tuple:
            _expect(value, list, "a list")
            return kind(value)
        return self._other(kind, value)

    def _other(self, kind: Any, value: Plain) -> Any:
        if isinstance(value, kind):
            return value
        if isinstance(value, str) and (kind in _TEXTS or issubclass(kind, pathlib.PurePath)):
            try:
                return _TEXTS.get(kind, kind)(value)
            except (ValueError, ArithmeticError):
                raise _Misfit(f"the str is no {kind.__name__}") from None
        if hasattr(kind, "__fields__") and callable(parse := getattr(kind, "parse_obj", None)):  # pydantic 1
            return _explained(kind, parse, value)
        return _refuse(kind, value)

    def _field(self, name: str, kind: Any, value: Plain) -> Any:
        try:
            return self._at(_key(name), kind, value)
        except _Misfit:
            if self._lenient and (value is None or isinstance(value, (str, int, float, bytes))):
                return value
            raise

    def _dataclass(self, kind: Any, value: Plain) -> Any:
        _expect(value, dict, f"a dict for {kind.__name__}")
        hints = _hints(kind)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        _check_names(kind, value, fields, {name for name, field in fields.items() if _is_required(field)})
        held = {name: self._field(name, hints.get(name, Any), item) for name, item in value.items()}
        try:
            made = kind(**{name: item for name, item in held.items() if fields[name].init})
        except Exception as error:  # noqa: BLE001  # a __post_init__ of the user's may raise anything
            if self._validating:
                raise _Misfit(f"{kind.__name__} refuses it: {type(error).__name__}") from None
            made = object.__new__(kind)
        if not self._validating:
            for name, item in held.items():  # __post_init__ may have changed a second time what it had changed once
                object.__setattr__(made, name, item)
        return made

    def _model(self, kind: Any, value: Plain) -> Any:
        if getattr(kind, "__pydantic_root_model__", False):
            return kind.model_construct(root=self._at("", kind.model_fields["root"].annotation, value))
        _expect(value, dict, f"a dict for {kind.__name__}")
        # Computed fields are stored with the others, and are no input: the model computes them again.
        fields, computed = kind.model_fields, set(getattr(kind, "model_computed_fields", ()))
        given = {name: item for name, item in value.items() if name in fields or name not in computed}
        free = kind.model_config.get("extra") == "allow"
        required = {name for name, field in fields.items() if field.is_required()}
        _check_names(kind, [name for name in given if name in fields or not free], fields, required & set(fields))
        held = {
            name: self._field(name, fields[name].annotation, item) if name in fields else item
            for name, item in given.items()
        }
        # model_construct looks for a field under its alias, the log has it under its name.
        aliases = {name: field.alias for name, field in fields.items() if isinstance(field.alias, str)}
        return kind.model_construct(**{aliases.get(name, name): item for name, item in held.items()})

    def _validated(self, kind: Any, value: Plain) -> Any:
        def validate(given: Plain) -> Any:
            try:
                return kind.model_validate(given, strict=False, by_alias=True, by_name=True)
            except TypeError:  # before pydantic 2.11
                return kind.model_validate(given, strict=False)

        return _explained(kind, validate, value)

    def _named_tuple(self, kind: Any, value: Plain) -> Any:
        _expect(value, list, "a list")
        hints = _hints(kind)
        if len(value) != len(kind._fields):
            raise _Misfit(f"{len(kind._fields)} items are needed, not {len(value)}")
        pairs = zip(kind._fields, value, strict=True)
        return kind._make(self._field(name, hints.get(name, Any), item) for name, item in pairs)

    def _typed_dict(self, kind: Any, value: Plain) -> dict[str, Any]:
        _expect(value, dict, f"a dict for {kind.__name__}")
        hints = _hints(kind)
        _check_names(kind, value, hints, set(kind.__required_keys__))
        return {name: self._field(name, hints[name], item) for name, item in value.items()}


def _is_model(kind: type) -> bool:
    return hasattr(kind, "model_fields") and callable(getattr(kind, "model_validate", None))


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _hints(kind: Any) -> dict[str, Any]:
    """The types of the fields; none if an annotation can only be resolved by a type checker."""
    try:
        return typing.get_type_hints(kind)
    except Exception:  # noqa: BLE001  # an annotation is any expression
        return {}


def _check_names(kind: Any, given: Any, known: Any, required: set[str]) -> None:
    if missing := sorted(required - set(given)):
        raise _Misfit(f"{kind.__name__} needs {', '.join(missing)}")
    if any(name not in known for name in given):
        raise _Misfit(f"it has keys that are no fields of {kind.__name__}")


def _member(kind: type[enum.Enum], value: Plain) -> enum.Enum:
    for member in kind:
        if enum_value(member) == value or (type(member.value) is type(value) and member.value == value):
            return member
    raise _Misfit(f"no member of {kind.__name__}")


def _literal(args: tuple[Any, ...], value: Plain) -> Any:
    for choice in args:
        plain = enum_value(choice) if isinstance(choice, enum.Enum) else choice
        if type(plain) is type(value) and plain == value:  # True == 1
            return choice
    raise _Misfit("none of the literals")


def _explained(kind: Any, validate: Callable[[Plain], Any], value: Plain) -> Any:
    """Run a model's own validation. Raises _Misfit, with places and kinds of its errors but not the input."""
    try:
        return validate(value)
    except ValueError as error:
        details = getattr(error, "errors", None)
        if not callable(details):
            raise _Misfit(f"its validator raised {type(error).__name__}") from None
        names = _property_names(kind.model_json_schema()) if hasattr(kind, "model_json_schema") else set()
        raise _Misfit("; ".join(_problem(one, names) for one in details()[:_MOST_PROBLEMS])) from None
    except Exception as error:  # noqa: BLE001  # a validator of the user's own may raise anything
        raise _Misfit(f"its validator raised {type(error).__name__}") from None


def _problem(error: dict[str, Any], names: set[str]) -> str:
    """A validation error as place and kind. Keys that no schema names become "*": they may be text of a document."""
    parts = [str(part) if isinstance(part, int) or part in names else "*" for part in error["loc"]]
    return f"/{'/'.join(parts)}: {error['type']}"


def _property_names(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_property_names, schema))
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties")
    return set(own if isinstance(own, dict) else ()).union(*map(_property_names, schema.values()))


def _expect(value: Plain, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise _Misfit(f"{what} is needed, not {_kind_of(value)}")


def _refuse(kind: type, value: Plain) -> Any:
    raise _Misfit(f"{kind.__name__} is needed, not {_kind_of(value)}")


def _kind_of(value: Plain) -> str:
    return "None" if value is None else type(value).__name__


def _key(name: str) -> str:
    """The place of a key. Only names are shown: keys of a free mapping may be text of a document."""
    return f"[{name!r}]" if name.isidentifier() and len(name) <= 40 else "[…]"
