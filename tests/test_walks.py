"""docs/walks.md says which modules the data meets."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mrengine.config import check_job_id

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("walks", DOCS / "walks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "walks", module)  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_a_module_that_has_the_data_is_found(walks: ModuleType) -> None:
    """One that has other data is not."""
    way = walks.walk(lambda: check_job_id("a-kestrel"), walks.Data(["kestrel"]))
    assert way == walks.Walk([], ["config.py"])
    assert walks.walk(lambda: check_job_id("a-falcon"), walks.Data(["kestrel"])) == walks.Walk([], [])


def test_a_module_that_hands_the_data_on_is_on_the_road(walks: ModuleType) -> None:
    """A room that computes is not, whatever it asks of others."""
    notes = [("engine/b.py:1", "engine/a.py:1"), ("engine/a.py:1", ""), ("chunking/c.py:1", "engine/b.py:1")]
    notes.append(("log/file/d.py:1", "chunking/c.py:1"))
    way = walks.split(notes)
    assert way.road == ["engine/b.py", "engine/a.py"]
    assert way.asked == ["chunking/c.py", "log/file/d.py"]


def test_a_road_that_is_too_long_is_a_fault(walks: ModuleType) -> None:
    way = walks.Walk([f"engine/m{n}.py" for n in range(40)], [])
    assert walks.faults({"it": way}, walks.page({"it": way})) == ["it: 40 modules on the road"]


def test_a_walk_that_met_nothing_is_a_fault(walks: ModuleType) -> None:
    """Another mrengine than that of this tree may have run."""
    (fault,) = walks.faults({"it": walks.Walk([], ["engine/a.py"])}, "")
    assert fault.startswith("it: nothing was met")


def test_a_module_that_the_page_does_not_know_is_a_fault(walks: ModuleType) -> None:
    way = walks.Walk(["engine/a.py"], [])
    assert walks.faults({"it": way}, "`engine/b.py`") == ["it: the page does not know engine/a.py"]
    assert walks.faults({"it": way}, walks.page({"it": way})) == []


@pytest.mark.system
@pytest.mark.timeout(600)
def test_the_page_is_what_is_measured() -> None:
    """Stale? `python docs/walks.py` writes it anew."""
    subprocess.run([sys.executable, DOCS / "walks.py", "--check"], check=True, timeout=600)
