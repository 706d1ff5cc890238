"""The tree of exceptions: whole, in one module, and drawn at its head."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import mrengine
from mrengine import errors

ROOT = Path(mrengine.__file__).parent
OPTIONAL = {"mrengine.providers.local.server_main"}  # a script of a process of its own


def subclasses(kind: type[BaseException]) -> list[type[BaseException]]:
    return [one for child in kind.__subclasses__() for one in (child, *subclasses(child))]


def test_every_mrengine_error_is_defined_in_errors() -> None:
    """Whatever users may catch has one home. All modules are imported, so that no class is missed."""
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        if name not in OPTIONAL and not name.endswith("__main__"):
            import_module(name)
    elsewhere = {kind.__module__ for kind in subclasses(errors.MrengineError) if kind.__module__.startswith("mrengine")}
    assert elsewhere == {"mrengine.errors"}


def test_all_is_complete() -> None:
    """Every exception of the module is in ``__all__``."""
    defined = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BaseException)
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("kind", subclasses(errors.MrengineError), ids=lambda kind: kind.__name__)
def test_the_tree_in_the_docstring_shows_each_class_below_its_parent(kind: type[BaseException]) -> None:
    """One more step to the right than its parent, which is the nearest line above at that depth."""
    if kind.__module__ != "mrengine.errors":
        pytest.skip("a class of a test")
    lines = [re.match(r"    ([│├└─ ]*)(\w+)", line) for line in (errors.__doc__ or "").splitlines()]
    tree = [(len(line[1]), line[2]) for line in lines if line]
    at = next((number for number, (_, name) in enumerate(tree) if name == kind.__name__), None)
    assert at is not None, "it is missing"
    parent = next(name for depth, name in reversed(tree[:at]) if depth < tree[at][0])
    assert parent == kind.__bases__[0].__name__
