"""A runner's driver: kept where it is wanted, never that of a parent process; and the warning of event loops."""

from __future__ import annotations

import asyncio
import os
import warnings

import pytest

from mrengine import MapReduceRunner
from mrengine.backends.process.driver import ProcessDriver
from mrengine.host.kept_driver import KeptDriver


def one(_chunk: object, _context: object) -> int:
    return 1


def test_an_open_driver_is_used_again() -> None:
    """Until it is dropped or closed; both may be done twice."""
    pool = KeptDriver("sequential", drain_s=1.0)
    first = pool.open()
    assert pool.open() is first
    pool.drop()
    pool.drop()
    second = pool.open()
    assert second is not first
    pool.close()
    pool.close()


def test_a_fork_has_a_pool_of_its_own() -> None:
    """The parent's goes on."""
    pool = KeptDriver("process", drain_s=1.0)
    driver = pool.open()
    assert isinstance(driver, ProcessDriver)
    child = os.fork()
    if not child:
        mine = pool.open()
        code = 1 if mine is driver else 0
        pool.close()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert pool.open() is driver
    os.kill(driver.pid, 0)
    pool.close()


@pytest.mark.usefixtures("state_dir")
def test_a_run_in_an_event_loop_warns_at_the_users_own_line() -> None:
    """And runs; outside, and in a thread of the loop, nothing is said."""

    async def blocks() -> None:
        MapReduceRunner(workers=1).run("text", one)

    with pytest.warns(RuntimeWarning, match="asyncio.to_thread") as caught:
        asyncio.run(blocks())
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        asyncio.run(asyncio.to_thread(MapReduceRunner(workers=1).run, "text", one))
