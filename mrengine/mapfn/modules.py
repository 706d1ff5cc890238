"""Finds the installed packages that a map function will need, to import them once, before the workers are forked."""

from __future__ import annotations

import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["preloads"]

# They start threads when they are imported, and a process with threads cannot be forked safely. The supervisor would
# find out by a trial import in a child; this spares each job the seconds of that.
THREADED = frozenset({
    "numpy", "scipy", "pandas", "torch", "tensorflow", "jax", "sklearn", "pyarrow", "polars", "cv2", "matplotlib",
    "ray",
})  # fmt: skip
# Known to start none: what they use need not be searched for packages that do.
THREADLESS = frozenset(
    {"openai", "anthropic", "requests", "httpx", "httpx2", "pydantic", "msgpack", "cloudpickle", "mrengine"}
)


def preloads(function: Callable[..., Any] | None, wanted: Sequence[str]) -> list[str]:
    """The modules to import: those requested, and the installed ones that the function's module has imported."""
    own = getattr(function, "preloads", ()) if type(function).__module__.startswith("mrengine.") else ()
    modules = dict.fromkeys([*wanted, *own])
    for name in _modules_of(function):
        top = name.partition(".")[0]
        # Not the user's own modules: the supervisor, which imports these, runs no user code.
        if top != "mrengine" and _installed(top) and not _threaded(top):
            modules[top] = None
    return list(modules)


def _modules_of(function: Any) -> Iterable[str]:
    """The modules of the globals that a function sees: all of its module's or, in ``__main__``, those that it names."""
    scope = getattr(function, "__globals__", None)
    if scope is None:
        scope = getattr(sys.modules.get(type(function).__module__), "__dict__", {})
    names = set(scope)
    if scope.get("__name__") == "__main__":  # the function is pickled by value, with only the globals that it names
        code = getattr(function, "__code__", None)
        names = set(code.co_names) if code is not None else set()
    for name in sorted(names):
        origin = _origin(scope.get(name))
        if origin is not None:
            yield origin


def _origin(value: Any) -> str | None:
    """The module that a value comes from."""
    # By its type: to ask a proxy itself (Flask's request, Django's settings, a Celery task) would look up its target.
    kind = type(value)
    if issubclass(kind, types.ModuleType):
        origin = vars(value).get("__name__")
    elif issubclass(kind, (type, types.FunctionType, types.BuiltinFunctionType)):
        origin = getattr(value, "__module__", None)
    else:
        origin = getattr(kind, "__module__", None)
    return origin if isinstance(origin, str) else None


def _installed(top: str) -> bool:
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None:
        return False
    paths = sysconfig.get_paths()
    homes = {os.path.realpath(paths[name]) for name in ("purelib", "platlib")}
    real = os.path.realpath(file)
    return any(real.startswith(home + os.sep) for home in homes)


def _threaded(top: str) -> bool:
    """Whether a package, or one it uses, is known to start threads; judged by what this process has imported."""
    modules = _by_package()
    waiting, visited = [top], set[str]()
    while waiting:
        name = waiting.pop()
        if name in THREADED:
            return True
        # Not through Python's own modules: IPython puts functions of its own into builtins.
        if name not in visited and name not in THREADLESS and name not in sys.stdlib_module_names:
            visited.add(name)
            waiting += _uses(name, modules.get(name, ()))
    return False


def _by_package() -> dict[str, list[types.ModuleType]]:
    """The imported modules of this process, by top-level package."""
    packages: dict[str, list[types.ModuleType]] = {}
    for name, module in list(sys.modules.items()):
        if issubclass(type(module), types.ModuleType):
            packages.setdefault(name.partition(".")[0], []).append(module)
    return packages


def _uses(top: str, modules: Iterable[types.ModuleType]) -> set[str]:
    """The top-level packages whose modules, functions or classes stand in the globals of a package's modules."""
    origins = {_origin(value) for module in modules for value in list(vars(module).values())}
    return {origin.partition(".")[0] for origin in origins if origin is not None} - {top}
