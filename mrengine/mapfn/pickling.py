"""Pickles functions for the workers with cloudpickle, and names the variable that cannot be pickled."""

from __future__ import annotations

import io
import os
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import cloudpickle

from mrengine.errors import ConfigError
from mrengine.mapfn.module_origin import is_own

__all__ = ["pack", "pack_function"]


def pack_function(function: Any, *, setting: str) -> bytes:
    """Pickle a function. ConfigError names the variable that cannot be pickled."""
    try:
        return pack(function)
    except Exception as error:  # noqa: BLE001  # whatever a value's own __reduce__ raises
        culprit = next((name for name, value in _variables(function) if not _travels(value)), None)
        what = f"it uses {culprit}, which" if culprit else "it"
        raise ConfigError(
            f"{setting} {_name(function)!r} cannot be sent to the workers: {what} cannot be pickled "
            f"({type(error).__name__}). Make it inside the function, or in initializer=",
            setting=setting,
        ) from None


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Registers the modules that workers would not find with cloudpickle, as it meets them."""

    # Functions of a module are pickled by name, those of ``__main__`` by value. So must be those of a module that a
    # worker would not find, or would find another in its place: the main module of a process that ``multiprocessing``
    # spawned, a plugin that was loaded from its file.

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._checked: set[str] = set()
        self.by_value: list[types.ModuleType] = []

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if issubclass(kind, (type, types.FunctionType, types.ModuleType)):
            name = obj.__name__ if issubclass(kind, types.ModuleType) else obj.__module__
            if isinstance(name, str):
                self._meet(name.partition(".")[0])
        return super().reducer_override(obj)

    def _meet(self, top: str) -> None:
        if top in self._checked:
            return
        self._checked.add(top)
        module = sys.modules.get(top)
        registered = top in cloudpickle.list_registry_pickle_by_value()
        if isinstance(module, types.ModuleType) and module.__name__ == top and not registered and _lost(module):
            cloudpickle.register_pickle_by_value(module)
            self.by_value.append(module)


def _lost(module: types.ModuleType) -> bool:
    """Whether an interpreter with this path would not find a user's module, or would find another one."""
    if module.__name__ == "__main__" or not is_own(module.__name__):
        return False
    for finder in sys.meta_path:
        spec = finder.find_spec(module.__name__, None) if hasattr(finder, "find_spec") else None
        if spec is not None:
            file = getattr(module, "__file__", None)
            if not (spec.has_location and spec.origin and file):
                return False
            return os.path.realpath(str(spec.origin)) != os.path.realpath(str(file))
    return True


def pack(value: Any) -> bytes:
    """Pickle anything; raises whatever cloudpickle does."""
    file = io.BytesIO()
    with _REGISTER:
        pickler = _Pickler(file)
        try:
            pickler.dump(value)
        finally:
            for module in pickler.by_value:
                cloudpickle.unregister_pickle_by_value(module)
    return file.getvalue()


_REGISTER = threading.RLock()  # cloudpickle's registry is one for all threads
# Held across fork(), so that no child inherits it locked by a thread that does not exist there.
os.register_at_fork(before=_REGISTER.acquire, after_in_child=_REGISTER.release, after_in_parent=_REGISTER.release)


def _travels(value: Any) -> bool:
    try:
        pack(value)
    except Exception:  # noqa: BLE001
        return False
    return True


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _variables(function: Any) -> Iterator[tuple[str, Any]]:
    """Everything a function refers to: closure, defaults, globals; an object's fields, a partial's arguments."""
    code = getattr(function, "__code__", None)
    if code is not None:
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
            try:
                yield f"the variable {name!r}", cell.cell_contents
            except ValueError:
                continue  # not yet assigned
        for value in function.__defaults__ or ():
            yield "a default argument", value
        for name in code.co_names:
            if name in function.__globals__:
                yield f"the global {name!r}", function.__globals__[name]
    for value in getattr(function, "args", ()) or ():
        yield "an argument of partial()", value
    for name, value in getattr(function, "__dict__", {}).items():
        yield f"the attribute {name!r}", value
    if getattr(function, "__self__", None) is not None:
        yield "the object it is a method of", function.__self__
