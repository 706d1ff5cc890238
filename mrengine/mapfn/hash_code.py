"""Fingerprints of functions: their code, and the values of everything it names."""

from __future__ import annotations

import builtins
import dis
import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mrengine.mapfn.module_origin import is_own, label

if TYPE_CHECKING:
    from mrengine.mapfn.hash_values import Fingerprint

__all__ = ["ENTRIES", "attributes_of", "closed_over", "code", "named", "names_of"]

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_COUNTS = ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags")
_NAMES = ("co_names", "co_varnames", "co_freevars", "co_cellvars")
_OF_THE_FILE = frozenset({"__file__", "__name__", "__spec__", "__loader__", "__cached__", "__builtins__"})
_NOT_CODE = frozenset({"__wrapped__", "statistics"})  # the function inside is in the closure; tenacity counts calls
_MISSING = object()


def function(fp: Fingerprint, value: Any, path: str) -> None:
    """Enter a function: the user's own in full, an installed one by name and version, with its closure."""
    own = is_own(value.__module__ or "__main__")
    fp.items("defaults", [(path, value.__defaults__), (path, value.__kwdefaults__)])
    fp.items("closure", [entry for name, held in closed_over(value).items() for entry in ((path, name), (name, held))])
    if not own:
        fp.put("installed", label(value.__module__), value.__module__, value.__qualname__)
        return
    code(fp, value.__code__, path)
    attributes = {name: held for name, held in vars(value).items() if name not in _NOT_CODE}
    fp.items("attributes", [entry for name, held in attributes.items() for entry in ((path, name), (name, held))])
    _globals(fp, value)


def closed_over(value: types.FunctionType) -> dict[str, Any]:
    """The closure of a function, by name; variables that are not set yet are left out."""
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if _filled(cell)}


def code(fp: Fingerprint, value: types.CodeType, path: str) -> None:
    """Enter a code object without file names and line numbers: code that only moved is the same."""
    # Since Python 3.11 only this table says how far a try block reaches.
    fp.put("code", value.co_code, getattr(value, "co_exceptiontable", b""))
    fp.put(*(getattr(value, name) for name in _COUNTS))
    for names in _NAMES:
        held: tuple[str, ...] = getattr(value, names)
        fp.put(len(held), *held)  # the length, so that two lists cannot run together
    line = _line_constant(value)
    fp.items("consts", [(path, None if at == line else item) for at, item in enumerate(value.co_consts)])


def names_of(value: types.CodeType) -> tuple[list[str], set[str], list[tuple[str, int]]]:
    """The globals read, attributes taken and modules imported by a code object and those nested in it."""
    globals_: dict[str, None] = {}
    attributes: set[str] = set()
    imports: dict[tuple[str, int], None] = {}
    constants: list[Any] = []
    for step in dis.get_instructions(value):
        if step.opname in _GLOBAL:
            globals_[step.argval] = None
        elif step.opname == "IMPORT_NAME":  # its level is one of the two constants loaded before it
            imports[step.argval, next((c for c in reversed(constants[-2:]) if type(c) is int), 0)] = None
        elif isinstance(step.argval, str) and step.argval in value.co_names:
            attributes.add(step.argval)
        if step.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            constants.append(step.argval)
    for inner in value.co_consts:
        if isinstance(inner, types.CodeType):
            further, taken, modules = names_of(inner)
            globals_.update(dict.fromkeys(further))
            attributes |= taken
            imports.update(dict.fromkeys(modules))
    return list(globals_), attributes, list(imports)


def _globals(fp: Fingerprint, value: types.FunctionType) -> None:
    globals_, attributes, imports = names_of(value.__code__)
    for name in (name for name in globals_ if name not in _OF_THE_FILE):
        held = value.__globals__.get(name, _MISSING)
        if held is _MISSING:
            fp.put("builtin" if hasattr(builtins, name) else "unbound", name)
        else:
            fp.put("global", name)
            named(fp, held, name, attributes)
    for target, level in imports:
        _import(fp, target, level, value.__globals__, attributes)
    for held in closed_over(value).values():
        if isinstance(held, types.ModuleType):
            named(fp, held, held.__name__, attributes)


def named(fp: Fingerprint, value: Any, path: str, attributes: set[str]) -> None:
    """Enter a value; for a user's module, also what the code takes from it by name, through its submodules."""
    fp.add(value, path)
    if not issubclass(type(value), types.ModuleType) or not is_own(value.__name__):
        return
    for name in sorted(attributes & vars(value).keys()):
        fp.put("taken", name)
        named(fp, vars(value)[name], f"{path}.{name}", attributes - {name})


def _import(fp: Fingerprint, target: str, level: int, scope: dict[str, Any], attributes: set[str]) -> None:
    """Enter an import inside a function. A user's module is imported here, as the function would do."""
    try:
        name = importlib.util.resolve_name("." * level + target, scope.get("__package__") or "") if level else target
        if not is_own(name):
            fp.put("import", label(name))
            return
        module = importlib.import_module(name)
    except ImportError:
        fp.put("import", target)
        return
    fp.put("import", name)
    # `import a.b` binds a, from which b is taken; `from a.b import c` takes from a.b.
    for held in (module, sys.modules[name.partition(".")[0]]):
        named(fp, held, held.__name__, attributes)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (an empty cell raises)
    except ValueError:
        return False
    return True


def _line_constant(value: types.CodeType) -> int | None:
    """The index of the constant with a class's first line, which its body stores since Python 3.13."""
    if "__firstlineno__" not in value.co_names:
        return None
    before = None
    for step in dis.get_instructions(value):
        if step.argval == "__firstlineno__" and before is not None and before.opname == "LOAD_CONST":
            return before.arg
        before = step
    return None


def attributes_of(*names: str, tag: str = "") -> Callable[[Fingerprint, Any, str], None]:
    """A function that enters a value by these attributes, under a tag, or the name of its type."""

    def enter(fp: Fingerprint, value: Any, path: str) -> None:
        fp.items(tag or type(value).__name__, [(path, getattr(value, name)) for name in names])

    return enter


def _builtin(fp: Fingerprint, value: Any, path: str) -> None:
    bound = getattr(value, "__self__", None)
    module = getattr(value, "__module__", None) or "builtins"
    fp.put("builtin", label(module), module, value.__qualname__)
    if bound is not None and not isinstance(bound, (types.ModuleType, type)):
        fp.add(bound, path)


_BUILTIN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
)

ENTRIES: tuple[tuple[Any, Callable[[Fingerprint, Any, str], None]], ...] = (
    (types.FunctionType, function),
    (types.CodeType, code),
    (types.MethodType, attributes_of("__func__", "__self__", tag="method")),
    ((staticmethod, classmethod), attributes_of("__func__")),
    (property, attributes_of("fget", "fset", "fdel", tag="property")),
    (functools.cached_property, attributes_of("func", tag="cached_property")),
    (_BUILTIN, _builtin),
)
