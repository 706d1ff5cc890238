"""What all tests share: a state folder of their own, programs that they need, and no process left behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

if importlib.util.find_spec("hypothesis"):  # tests/slim has none
    from hypothesis import HealthCheck, settings

    # An example may take its time: the machine may be busy. Where CI is set hypothesis knows this itself.
    settings.register_profile("busy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")

SESSION_MARK = "MRENGINE_TEST_SESSION"
GRACE_S = 10.0  # a drain may still be ending; only a test that leaves something behind waits


def require(program: str) -> str:
    """The program's path. Without it the test is skipped, but fails where CI=true: there nothing may be left out."""
    found = shutil.which(program) or shutil.which(program, path=sysconfig.get_path("scripts"))
    return found or _missing(program)


def require_packages(*names: str) -> None:
    """The same for Python packages, which a test starts in a process of its own."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            _missing(f"the package {name}")


def _missing(what: str) -> NoReturn:
    reason = f"{what} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(name="require", scope="session")
def require_fixture() -> Callable[[str], str]:
    return require


@pytest.fixture(name="require_packages", scope="session")
def require_packages_fixture() -> Callable[..., None]:
    return require_packages


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test touches the user's jobs, keys or settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            foreign = name.startswith("MRENGINE_") and name != "MRENGINE_CACHE_DIR"
            if foreign or name.endswith(("_API_KEY", "_BASE_URL")):
                patch.delenv(name)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts so what it runs with &; Ctrl-C is tested
            signal.signal(signal.SIGINT, signal.default_int_handler)
        patch.setenv(SESSION_MARK, str(os.getpid()))
        patch.setenv("MRENGINE_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder for this test alone, in MRENGINE_STATE_DIR; whatever runs a job in it must end with the test."""
    folder = tmp_path / "state"
    monkeypatch.setenv("MRENGINE_STATE_DIR", str(folder))
    yield folder
    _assert_gone(lambda: _marked(f"MRENGINE_STATE_DIR={folder}".encode()))


@pytest.fixture(autouse=True)
def _no_stray_children() -> Iterator[None]:
    before = _children()
    yield
    _assert_gone(lambda: _children() - before)


def _assert_gone(list_pids: Callable[[], set[int]]) -> None:
    deadline = time.monotonic() + GRACE_S
    while strays := list_pids():
        if time.monotonic() > deadline:
            pytest.fail("left running: " + "; ".join(f"{pid} {_command(pid)}" for pid in sorted(strays)))
        time.sleep(0.02)


def _children() -> set[int]:
    """Living children of this process; multiprocessing's resource tracker and a session's cluster stay by design."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in listing.read_text().split())
        except OSError:
            continue  # the thread has ended meanwhile
    stay = ("multiprocessing.resource_tracker", "-m tests.backends.cluster")
    return {pid for pid in found if _alive(pid) and not any(name in _command(pid) for name in stay)}


def _marked(mark: bytes) -> set[int]:
    """Processes, orphans too, whose environment holds the mark."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or is another user's
            continue
        if mark in environment and int(entry.name) != os.getpid() and _alive(int(entry.name)):
            found.add(int(entry.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return "(gone)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What failed and passed when it was run again: its failure is a fault to be mended, and would be lost."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"RERUN {report.nodeid}")
        terminalreporter.line(report.longreprtext)
