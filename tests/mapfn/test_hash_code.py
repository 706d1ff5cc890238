"""How code is hashed: by what it does, and not by where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.mapfn.hash_code import closed_over, names_of
from mrengine.mapfn.hash_values import Fingerprint


def made(source: str, name: str = "f", filename: str = "a.py", **scope: Any) -> Any:
    scope["__name__"] = "__main__"
    exec(compile(source, filename, "exec"), scope)
    return scope[name]


def of(source: str, **how: Any) -> str:
    return Fingerprint().of(made(source, **how), "f")


BODY = "def f(x):\n    return g(x) + 1\n"


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    return g(x) + 2\n",
        "def f(x):\n    return h(x) + 1\n",
        "def f(x, y=1):\n    return g(x) + 1\n",
        "def f(*x):\n    return g(x) + 1\n",
    ],
)
def test_other_code_has_another_digest(other: str) -> None:
    assert of(BODY, g=1, h=1) != of(other, g=1, h=1)


def test_where_code_stands_does_not_count() -> None:
    """Nor a comment; what it names does, wherever it comes from."""
    moved = "\n\n# a comment\n" + BODY.replace("return", "  # another\n    return")
    assert of(BODY, g=1) == of(moved, g=1, filename="b.py")
    assert of(BODY, g=1) != of(BODY, g=2) != of(BODY)


def test_the_names_of_code_inside_code_are_found() -> None:
    """Globals, attributes and imports of comprehensions and lambdas, too."""
    source = "def f(x):\n    from os import path\n    return [a.b for _ in x], lambda: c.d\n"
    globals_, attributes, imports = names_of(made(source).__code__)
    assert set(globals_) == {"a", "c"}
    assert {"b", "d"} <= attributes
    assert imports == [("os", 0)]


def test_a_closure_counts_by_what_it_holds() -> None:
    """A variable that is not set yet holds nothing."""
    source = "def outer(n):\n    def f():\n        return n + late\n    if n > 100:\n        late = 1\n    return f\n"
    outer = made(source, name="outer")
    assert closed_over(outer(1)) == {"n": 1}
    assert Fingerprint().of(outer(1), "f") != Fingerprint().of(outer(2), "f")
    assert Fingerprint().of(outer(1), "f") == Fingerprint().of(outer(1), "f")
