"""How functions travel to workers."""

from __future__ import annotations

import functools
import importlib.util
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mrengine.errors import ConfigError
from mrengine.mapfn.pickling import pack, pack_function

LOCK = threading.Lock()


def by_global(_chunk: Any, _context: Any) -> Any:
    return LOCK


def with_closure() -> Any:
    lock = threading.Lock()
    return lambda chunk, context: lock


def with_default(_chunk: Any, _context: Any, lock: Any = LOCK) -> Any:
    return lock


class Holder:
    def __init__(self) -> None:
        self.lock = LOCK

    def __call__(self, _chunk: Any, _context: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "culprit"),
    [
        (with_closure(), "the variable 'lock'"),
        (functools.partial(len, LOCK), "an argument of partial"),
        (Holder(), "the attribute 'lock'"),
        (Holder().__call__, "the object it is a method of"),
    ],
)
def test_what_cannot_travel_is_named(function: Any, culprit: str) -> None:
    """With the way out."""
    with pytest.raises(ConfigError, match="cannot be sent to the workers") as caught:
        pack_function(function, setting="map_fn")
    assert culprit in str(caught.value)
    assert "initializer=" in str(caught.value)


def test_a_function_of_a_module_travels_by_name() -> None:
    """So what stands in its globals does not have to travel."""
    assert pickle.loads(pack_function(by_global, setting="map_fn")) is by_global
    assert pickle.loads(pack_function(with_default, setting="map_fn")) is with_default


def test_a_function_of_a_plugin_travels_by_value(tmp_path: Path) -> None:
    """A worker would not find the file that it was loaded from; cloudpickle's own register is as it was."""
    before = set(cloudpickle.list_registry_pickle_by_value())  # other tests of this process may be in it
    file = tmp_path / "plugin_of_theirs.py"
    file.write_text("FACTOR = 6\ndef map_fn(x):\n    return FACTOR * x\n")
    spec = importlib.util.spec_from_file_location("plugin_of_theirs", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plugin_of_theirs"] = module
    try:
        spec.loader.exec_module(module)
        (tmp_path / "packed").write_bytes(pack(module.map_fn))
    finally:
        del sys.modules["plugin_of_theirs"]
    assert cloudpickle.list_registry_pickle_by_value() == before
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))(7))"
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "packed"], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "42"
