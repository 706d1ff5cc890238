"""How classes are hashed: the user's own by what was written into them, others by name and version."""

from __future__ import annotations

import collections
import dataclasses
import enum
import typing
from typing import Any

import pytest

from mrengine.mapfn.hash_values import Fingerprint

HEAD = "import dataclasses, enum, typing\n"


def of(source: str) -> str:
    """The digest of class C of a module of the user's own."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(HEAD + source, "a.py", "exec", dont_inherit=True), scope)
    return Fingerprint().of(scope["C"], "C")


PAIRS = {
    "a method": ("class C:\n    def m(self): return 1", "class C:\n    def m(self): return 2"),
    "a class attribute": ("class C:\n    a = 1", "class C:\n    a = 2"),
    "a property": (
        "class C:\n    @property\n    def p(self): return 1",
        "class C:\n    @property\n    def p(self): return 2",
    ),
    "a base": ("class A: pass\nclass C(A): pass", "class A: x = 1\nclass C(A): pass"),
    "an annotation": ("class C:\n    a: int", "class C:\n    a: str"),
    "a generic annotation": ("class C:\n    a: list[int]", "class C:\n    a: list[str]"),
    "a literal": ("class C:\n    a: typing.Literal['x']", "class C:\n    a: typing.Literal['y']"),
    "a field's default": (
        "@dataclasses.dataclass\nclass C:\n    a: int = 1",
        "@dataclasses.dataclass\nclass C:\n    a: int = 2",
    ),
    "a field's switch": (
        "@dataclasses.dataclass\nclass C:\n    a: int = dataclasses.field(default=1)",
        "@dataclasses.dataclass\nclass C:\n    a: int = dataclasses.field(default=1, repr=False)",
    ),
    "a member": ("class C(enum.Enum):\n    A = 1", "class C(enum.Enum):\n    A = 2"),
    "a tuple's default": (
        "class C(typing.NamedTuple):\n    a: int = 1",
        "class C(typing.NamedTuple):\n    a: int = 2",
    ),
}


@pytest.mark.parametrize("what", PAIRS)
def test_what_the_user_wrote_into_a_class_counts(what: str) -> None:
    """And that alone: the same text has the same digest."""
    one, other = PAIRS[what]
    assert of(one) != of(other)
    assert of(one) == of("# moved\n" + one)


def test_installed_classes_count_by_name() -> None:
    classes = (collections.OrderedDict, collections.Counter, dataclasses.Field, enum.Enum, typing.Generic)
    assert len({Fingerprint().of(one, "c") for one in classes}) == len(classes)
