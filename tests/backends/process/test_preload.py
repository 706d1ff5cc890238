"""Modules are tried in a child before the supervisor imports them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from mrengine.backends.process import preload as preloading
from mrengine.backends.process.preload import HostGone, preload, while_alive


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path; what was imported from it is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def imported(*names: str) -> dict[str, str]:
    """Why modules were not imported."""
    failed: dict[str, str] = {}
    preload((), names, failed.__setitem__)
    return failed


def test_what_imports_well_is_there_for_all_workers(modules: Path) -> None:
    """Once, in this process."""
    (modules / "mre_well.py").write_text("import os; HERE = os.getpid()")
    assert imported("mre_well") == {}
    assert os.getpid() == sys.modules["mre_well"].HERE


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
        ("raise SystemExit(7)", "its import ended with 1"),
        ("import os; os._exit(7)", "its import ended with 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", f"its import ended with {-signal.SIGKILL}"),
    ],
)
def test_what_would_harm_the_supervisor_is_left_to_the_workers(modules: Path, code: str, why: str) -> None:
    """A process with threads cannot fork; one that exits is no supervisor."""
    (modules / "mre_harms.py").write_text(code)
    (modules / "mre_next.py").touch()
    failed = imported("mre_harms", "mre_next")
    assert list(failed) == ["mre_harms"]
    assert why in failed["mre_harms"]
    assert "mre_harms" not in sys.modules
    assert "mre_next" in sys.modules


def test_an_import_without_an_end_is_ended(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for all modules together."""
    monkeypatch.setattr(preloading, "IMPORTS_S", 0.2)
    (modules / "mre_hangs.py").write_text("import time; time.sleep(60)")
    assert "takes too long" in imported("mre_hangs")["mre_hangs"]


def test_the_host_is_looked_for_while_modules_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end strikes wherever the import is; afterwards nothing looks any more."""
    monkeypatch.setattr(preloading, "LOOK_S", 0.01)
    with pytest.raises(HostGone), while_alive(os.getppid() + 1):
        time.sleep(30)
    with while_alive(os.getppid()):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
