"""Which packages are imported before the workers are forked."""

from __future__ import annotations

import builtins
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mrengine import map_prompt
from mrengine.mapfn.modules import preloads


@pytest.fixture(autouse=True)
def _installed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of this interpreter may be in another place than its own site-packages."""
    paths = {**sysconfig.get_paths(), "purelib": str(Path(msgpack.__file__).parents[1])}
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)


def function_in(name: str, **scope: Any) -> Any:
    """A function in a module of the user's own that has these globals."""
    scope["__name__"] = name
    exec("def map_fn(chunk, context):\n    return pack(chunk)", scope)
    return scope["map_fn"]


def test_installed_packages_of_its_module_are_imported_first() -> None:
    """Those that were asked for, too; Python's own, mrengine's and the user's are not."""
    scope = {"pack": msgpack.packb, "json": sys.modules["json"], "prompt": map_prompt, "pytest_mark": pytest.mark}
    found = preloads(function_in("theirs", **scope), ["email"])
    assert found[0] == "email"
    assert "msgpack" in found
    assert not {"json", "mrengine", "theirs"} & set(found)


def test_a_function_of_main_needs_only_what_it_names() -> None:
    assert "msgpack" in preloads(function_in("__main__", pack=msgpack.packb, other=pytest.mark), [])
    assert preloads(function_in("__main__", pack=len, other=msgpack.packb), []) == []


def test_packages_that_start_threads_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that use one, too."""
    numpy = pytest.importorskip("numpy")
    assert "numpy" not in preloads(function_in("theirs", np=numpy), [])
    wrapper = types.ModuleType("wrapping_numpy")
    wrapper.__file__ = msgpack.__file__
    wrapper.array = numpy.array  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wrapping_numpy", wrapper)
    assert preloads(function_in("theirs", wrapper=wrapper), []) == []
    del wrapper.array
    assert preloads(function_in("theirs", wrapper=wrapper), []) == ["wrapping_numpy"]
    monkeypatch.setattr(builtins, "display", numpy.array, raising=False)  # as IPython does
    assert preloads(function_in("theirs", wrapper=wrapper), []) == ["wrapping_numpy"]


class Proxy:
    """Stands for what is not there, as Flask's request does outside of a request."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("working outside of request context")


def test_a_proxy_is_not_asked() -> None:
    assert preloads(function_in("theirs", request=Proxy()), []) == []
