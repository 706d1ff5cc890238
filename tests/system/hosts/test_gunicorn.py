"""A Flask application under gunicorn: run() blocks a request, not the server."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import pytest

from tests.system.hosts.stage import Stage, documented
from tests.system.hosts.web import Served, ask_at_once, ask_until_done, served


@pytest.fixture(autouse=True)
def _packages(require_packages: Callable[..., None]) -> None:
    require_packages("flask", "gevent", "gunicorn")


def gunicorn(stage: Stage, *options: str) -> contextlib.AbstractContextManager[Served]:
    """The application under gunicorn."""
    command = [sys.executable, "-m", "gunicorn", "app:app", "--bind", "127.0.0.1:0", *options]
    return served(stage, command, r"Listening at: http://127\.0\.0\.1:(\d+)")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-w", "2"), id="sync", marks=pytest.mark.system),
        pytest.param(("-w", "1", "-k", "gevent"), id="gevent", marks=pytest.mark.system),
        pytest.param(("-c", "documented.conf.py", "-w", "1", "--preload"), id="gthread as documented, preloaded"),
    ],
)
def test_requests_at_once(stage: Stage, options: tuple[str, ...]) -> None:
    """In processes or in threads; imported before the fork or after it."""
    (stage.folder / "documented.conf.py").write_text(documented("gunicorn.conf"))
    with gunicorn(stage, *options) as server:
        ask_at_once(stage, server)


def test_a_request_that_lasts_too_long(stage: Stage) -> None:
    """--timeout: SIGABRT, which is a SystemExit in run(), and SIGKILL a second later. The next request goes on."""
    ask_until_done(stage, lambda limit_s: gunicorn(stage, "-w", "1", "--timeout", str(limit_s)))
