"""Owns what frameworks make of a user's objects: proxies, globals of their own, classes that a metaclass rewrites."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

from mrengine.mapfn.module_origin import is_own

__all__ = ["held", "is_framework_class", "is_proxy", "stands_in_a_library", "written_by_the_user"]


def is_proxy(value: Any) -> bool:
    """Whether a value stands for another one, as Flask's request and Django's settings do. What that is may differ by
    process, thread and instant, and may be nothing.
    """
    kind = type(value)
    if hasattr(kind, "_get_current_object"):  # werkzeug, Celery
        return True
    try:
        return value.__class__ is not kind
    except Exception:  # noqa: BLE001  # whatever it says when it stands for nothing
        return True


def held(value: Any, name: str) -> Any:
    """An attribute that is there, or None: ``__getattr__`` is not asked, which may open a connection or raise."""
    missing = object()
    return None if inspect.getattr_static(value, name, missing) is missing else getattr(value, name, None)


def stands_in_a_library(value: Any) -> bool:
    """Whether an installed module holds this very object as a global, as ``django.db`` its ``connection``."""
    return any(
        other is value
        for name, module in list(sys.modules.items())
        if not is_own(name)
        for other in list(getattr(module, "__dict__", {}).values())
    )


def is_framework_class(value: type) -> bool:
    """A user's class with a framework's metaclass (Django, SQLAlchemy): what stands in it is not what was written."""
    top = type(value).__module__.partition(".")[0]
    return top not in sys.stdlib_module_names and not is_own(top) and not hasattr(value, "__pydantic_complete__")


def written_by_the_user(value: type) -> Iterator[tuple[str, Any]]:
    """Its source, without comments and places, and the methods in it, for what they use. No source: the methods."""
    try:
        yield "source", ast.dump(ast.parse(textwrap.dedent(inspect.getsource(value))))
    except (OSError, TypeError, SyntaxError):  # typed into python, or made by exec
        pass
    for name, member in value.__dict__.items():
        function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
        if isinstance(function, types.FunctionType) and is_own(function.__module__ or ""):
            yield name, member
