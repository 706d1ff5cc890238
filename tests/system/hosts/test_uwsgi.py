"""A Flask application under uWSGI, which embeds Python: sys.executable is no python, or that of another prefix."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.hosts.stage import Stage, documented
from tests.system.hosts.web import Served, ask_at_once, ask_until_done, served


@pytest.fixture
def wheel(require_packages: Callable[..., None]) -> list[str | Path]:
    """The one that pip installs: Python becomes uWSGI."""
    require_packages("flask", "pyuwsgi")
    return [Path(sysconfig.get_path("scripts"), "pyuwsgi")]


@pytest.fixture
def program(require: Callable[[str], str], require_packages: Callable[..., None]) -> list[str | Path]:
    """The system's: uWSGI loads Python, and is given the environment. It must have the same version."""
    require_packages("flask")
    command: list[str | Path] = [require("uwsgi-core"), "--plugins", "http,python3"]
    asked = subprocess.run([*command, "--python-version"], capture_output=True, text=True, check=False)
    here = ".".join(map(str, sys.version_info[:2]))
    if not asked.stdout.strip().rpartition("\n")[2].startswith(here + "."):
        pytest.skip(f"the system's uWSGI has no Python {here}")
    return [*command, "--virtualenv", sys.prefix]


def uwsgi(stage: Stage, command: list[str | Path], *options: str) -> contextlib.AbstractContextManager[Served]:
    """The application under uWSGI."""
    (stage.folder / "documented.ini").write_text(documented("uwsgi"))
    more = ["--ini", "documented.ini", "--http-socket", "127.0.0.1:0", "--need-app", *options]
    return served(stage, [*command, *more], r"bound to TCP address 127\.0\.0\.1:(\d+)")


def test_processes(stage: Stage, program: list[str | Path]) -> None:
    """sys.executable is uwsgi: the python of its prefix is taken."""
    with uwsgi(stage, program) as server:
        ask_at_once(stage, server)


@pytest.mark.system
def test_threads(stage: Stage, wheel: list[str | Path]) -> None:
    """sys.executable is the python outside the virtual environment: what is imported comes from the host's path."""
    with uwsgi(stage, wheel, "--processes", "1", "--threads", "3") as server:
        ask_at_once(stage, server)


@pytest.mark.system
def test_a_request_that_lasts_too_long(stage: Stage, wheel: list[str | Path]) -> None:
    """--harakiri: SIGKILL. The next request waits for the drain and goes on."""
    ask_until_done(stage, lambda limit_s: uwsgi(stage, wheel, "--processes", "1", "--harakiri", str(limit_s)))
