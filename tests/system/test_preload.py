"""Modules that are imported before workers are forked: whatever they do costs the supervisor nothing."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import pytest

from mrengine import MapReduceRunner
from tests.system.forked import Host, Say
from tests.system.processes import alive, tree, wait_for, wait_until_gone

pytestmark = pytest.mark.usefixtures("state_dir")

SLOW = """
import pathlib, time
mark = pathlib.Path(__file__).with_name("tries")
with mark.open("a") as file:
    file.write("x")
if len(mark.read_text()) == {hangs}:
    time.sleep(3600)
"""


@pytest.mark.parametrize("hangs", [1, 2], ids=["in the child that tries it", "in the supervisor"])
def test_a_host_that_dies_during_an_import_leaves_nothing(tmp_path: Path, hangs: int) -> None:
    """However long that import takes."""
    (tmp_path / "mre_slow.py").write_text(SLOW.format(hangs=hangs))

    def host(say: Say) -> None:
        sys.path.insert(0, str(tmp_path))
        MapReduceRunner(workers=1, models="fake", preload=["mre_slow"]).run("a", lambda chunk, context: 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        running = Host(host)
    tries = tmp_path / "tries"
    wait_for(lambda: tries.exists() and len(tries.read_text()) == hangs)
    below = tree(running.pid)[1:]
    assert below
    running.kill()
    os.waitpid(running.pid, 0)
    running.close()
    wait_until_gone(lambda: [pid for pid in below if alive(pid)], within_s=20)


def test_imports_end_and_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that ends the process, one that raises only where it counts: the run goes on without them."""
    (tmp_path / "mre_exits.py").write_text("import os; os._exit(9)")
    (tmp_path / "mre_fickle.py").write_text(SLOW.format(hangs=2).replace("time.sleep(3600)", "raise OSError('no')"))
    caplog.set_level("INFO", "mrengine")
    monkeypatch.syspath_prepend(str(tmp_path))
    runner = MapReduceRunner(workers=1, models="fake", preload=["mre_exits", "mre_fickle"])
    assert runner.run("a", lambda chunk, context: 1, lambda results: len(results)).result == 1
    assert "mre_exits" in caplog.text
    assert "mre_fickle" in caplog.text
