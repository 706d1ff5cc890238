"""Fingerprints of values: plain ones here, code in ``hash_code``, classes in ``hash_classes``."""

from __future__ import annotations

import collections
import concurrent.futures
import contextvars
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import logging
import os
import pathlib
import re
import struct
import sys
import threading
import types
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgpack

from mrengine.mapfn import hash_classes, hash_code
from mrengine.mapfn.frameworks import held, is_proxy, stands_in_a_library
from mrengine.mapfn.hash_code import attributes_of
from mrengine.mapfn.module_origin import is_own, label

__all__ = ["Fingerprint", "Undigestible"]

# Their state belongs to one process, and says nothing of the function.
_STATELESS = (
    *(type(threading.Lock()), type(threading.RLock()), threading.local, threading.Event, threading.Condition),
    *(threading.Semaphore, threading.Barrier, concurrent.futures.Executor, type(os.environ)),
    *(weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet),
)
# Libraries whose objects are values, taken apart as copy.copy() does. Those of others may be counters or connections.
_OF_VALUES = frozenset(
    {"argparse", "array", "attr", "collections", "datetime", "decimal", "functools", "ipaddress", "operator"}
    | {"pandas", "pyarrow", "pydantic", "string", "tenacity", "tiktoken", "types", "zoneinfo"}
)
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_SENTINELS = (type(dataclasses.MISSING), type(dataclasses.KW_ONLY))
# Entered each time: whether two equal ones are the same object is chance, as the compiler and caches share them.
_NOT_NUMBERED = (tuple, frozenset, re.Pattern, types.CodeType, pathlib.PurePath, range, slice)


class Undigestible(Exception):
    """A value without a digest. ``path``: the variable, as the code names it; ``what``: its type."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


class Fingerprint:
    """Feeds values into one hash, as msgpack. Each object is entered once, and by its number from then on."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._met: dict[int, int] = {}
        self._kept: list[object] = []  # keeps the objects alive, as the id of a dead one may be reused

    def of(self, value: object, path: str) -> str:
        """The digest of a value, 32 hex digits. Undigestible: part of it has none."""
        try:
            self.add(value, path)
        except RecursionError:
            raise Undigestible(path, "nested too deeply") from None
        return self.hexdigest()

    def hexdigest(self) -> str:
        """The digest of everything entered, 32 hex digits."""
        return self._hash.hexdigest()

    def put(self, *tokens: bool | int | float | str | bytes | None) -> None:
        """Enter plain tokens. The msgpack header of each separates it from the next."""
        for token in tokens:
            self._hash.update(msgpack.packb(token, use_bin_type=True, unicode_errors="surrogatepass"))

    def items(self, tag: str, values: Iterable[tuple[str, Any]]) -> None:
        """Enter a tagged list of (path, value), preceded by its length."""
        entries = list(values)
        self.put(tag, len(entries))
        for path, value in entries:
            self.add(value, path)

    def add(self, value: Any, path: str) -> None:
        """Enter any value."""
        scalar = _SCALARS.get(type(value))
        if scalar is not None:
            self.put(type(value).__name__, scalar(value))
            return
        if not issubclass(type(value), _NOT_NUMBERED):
            number = self._met.setdefault(id(value), len(self._kept))
            if number != len(self._kept):
                self.put("met", number)
                return
            self._kept.append(value)
        if is_proxy(value):
            self.put("stands for another", label(type(value).__module__), type(value).__qualname__)
            return
        for kinds, enter in _ENTRIES:
            if isinstance(value, kinds):
                enter(self, value, path)
                return
        self._instance(value, path)

    def plain(self, tag: str, values: Sequence[Any]) -> bool:
        """Enter a list of plain scalars at once, a thousand times as fast as one by one; False: it is none."""
        if not _PLAIN.issuperset(map(type, values)):
            return False
        try:
            packed = msgpack.packb(values, use_bin_type=True, unicode_errors="surrogatepass")
        except OverflowError:  # an int of more than 64 bits
            return False
        self.put("plain", tag)
        self._hash.update(packed)
        return True

    def alone(self, value: object, path: str) -> bytes:
        """The digest of a value alone, whatever was entered before: members of a set are sorted by it."""
        twin = Fingerprint()
        twin.add(value, path)
        return twin._hash.digest()

    def _instance(self, value: Any, path: str) -> None:
        kind = type(value)
        if kind.__module__ == "numpy" and hasattr(value, "tobytes") and hasattr(value, "dtype"):
            content = value.tolist() if value.dtype.hasobject else value.tobytes()
            self.items("numpy", [(path, value.dtype.str), (path, tuple(value.shape)), (path, content)])
        elif hasattr(kind, "__pydantic_complete__"):
            self.items("model", [(path, kind), (path, dict(vars(value)))])
        elif callable(held(value, "__wrapped__")):  # functools.lru_cache
            self.items("wrapper", [(path, value.__wrapped__)])
        elif kind.__module__ == "pydantic.type_adapter":
            self.items("adapter", [(path, kind), (path, value._type)])
        elif isinstance(value, _SENTINELS):
            self.put("sentinel", type(value).__qualname__)
        elif (installed := _installed_name(value)) is not None:
            self.put("installed", *installed)
        elif is_own(kind.__module__) or dataclasses.is_dataclass(value):
            self.items("instance", [(path, kind), (path, _state(value))])
        elif (parts := _parts(value)) is not None:
            self.items("value", [(path, part) for part in (kind, *parts)])
        elif callable(getattr(kind, "deconstruct", None)):  # Django's fields, validators, Q
            self.items("deconstructed", [(path, value.deconstruct())])
        elif stands_in_a_library(value):
            self.put("of a library", label(kind.__module__), kind.__qualname__)
        elif (address := held(value, "base_url")) is not None:  # a client of openai, anthropic, httpx
            self.items("client", [(path, kind), (path, str(address))])
        else:  # to take any object's state would let caches and counters in, which change though nothing was edited
            raise Undigestible(path, f"{kind.__module__}.{kind.__qualname__}")


def _state(value: Any) -> dict[str, Any]:
    """The attributes of an instance of a user's class, slots included."""
    state = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                state[name] = getattr(value, name)
    return state


def _parts(value: Any) -> list[Any] | None:
    """The parts of a library's object; None: its library is not one of values, or it cannot be taken apart."""
    kind = type(value)
    lazy = kind.__qualname__ == "lazy.<locals>.__proxy__"  # Django's gettext_lazy
    is_value = lazy or kind.__module__.partition(".")[0] in _OF_VALUES or isinstance(value, Exception)
    if not is_value:
        return None
    try:
        reduced = value.__reduce_ex__(4)
    except TypeError:
        return None
    if isinstance(reduced, str):
        return [reduced]
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    return [make, arguments, state, None if items is None else list(items), None if pairs is None else list(pairs)]


def _installed_name(value: Any) -> tuple[str, str] | None:
    """The package and name of an object that an installed module defines, such as ``numpy.sum``."""
    module = getattr(value, "__module__", None) or type(value).__module__
    name = held(value, "__qualname__") or held(value, "__name__")
    if not isinstance(module, str) or not isinstance(name, str) or is_own(module):
        return None
    return (label(module), name) if getattr(sys.modules.get(module), name, None) is value else None


def _integer(value: int) -> int | str:
    return value if -(2**63) <= value < 2**63 else hex(value)


_SCALARS: dict[type, Callable[[Any], bool | int | float | str | bytes | None]] = {
    type(None): lambda value: None,
    type(Ellipsis): lambda value: None,
    type(NotImplemented): lambda value: None,
    bool: bool,
    int: _integer,
    float: lambda value: struct.pack("<d", value),
    complex: lambda value: struct.pack("<dd", value.real, value.imag),
    str: str,
    bytes: bytes,
    bytearray: bytes,
    datetime.datetime: lambda value: value.isoformat(),
    datetime.date: lambda value: value.isoformat(),
    datetime.time: lambda value: value.isoformat(),
    datetime.timedelta: lambda value: f"{value.days} {value.seconds} {value.microseconds}",
    decimal.Decimal: str,
    fractions.Fraction: str,
    uuid.UUID: str,
}


def _list(fp: Fingerprint, value: Any, path: str) -> None:
    kind = type(value)
    if kind in (list, tuple) and fp.plain(kind.__name__, value):
        return
    fp.items(type(value).__name__, ((f"{path}[{index}]", item) for index, item in enumerate(value)))


def _mapping(fp: Fingerprint, value: Any, path: str) -> None:
    if type(value) is dict and _PLAIN.issuperset(map(type, value)) and fp.plain("dict", [*value, *value.values()]):
        return
    entries = [entry for name, item in value.items() for entry in ((path, name), (_within(path, name), item))]
    fp.items(type(value).__name__, entries)
    if isinstance(value, collections.defaultdict):
        fp.add(value.default_factory, f"{path}.default_factory")


def _within(path: str, key: object) -> str:
    return f"{path}[{key[:40]!r}]" if isinstance(key, str) else f"{path}[…]"


def _set(fp: Fingerprint, value: Any, path: str) -> None:
    if set(map(type, value)) in ({str}, {int}) and fp.plain("set", sorted(value)):
        return
    # Sorted by digest: each process has an order of its own for strings, and other members may have none.
    members = sorted(fp.alone(item, f"{path}{{}}") for item in value)
    fp.put("set", len(members), *members)


def _module(fp: Fingerprint, value: Any, path: str) -> None:
    """Enter a module's name and version; ``hash_code`` enters what the code takes from a user's module."""
    fp.put("module", value.__name__, "" if is_own(value.__name__) else label(value.__name__))


_ENTRIES: tuple[tuple[Any, Callable[[Fingerprint, Any, str], None]], ...] = (
    (types.ModuleType, _module),
    (enum.Enum, attributes_of("__class__", "name", "value", tag="member")),
    *hash_code.ENTRIES,
    *hash_classes.ENTRIES,
    ((set, frozenset), _set),
    ((dict, types.MappingProxyType), _mapping),
    ((list, tuple, collections.deque), _list),
    ((range, slice), attributes_of("start", "stop", "step")),
    (re.Pattern, attributes_of("pattern", "flags", tag="pattern")),
    (functools.partial, attributes_of("func", "args", "keywords", tag="partial")),
    ((logging.Logger, logging.LoggerAdapter), lambda fp, value, _: fp.put("logger", value.name)),
    (_STATELESS, lambda fp, value, _: fp.put("stateless", type(value).__name__)),
    (contextvars.ContextVar, lambda fp, value, _: fp.put("context variable", value.name)),
    (pathlib.PurePath, lambda fp, value, _: fp.put("path", str(value))),
)
