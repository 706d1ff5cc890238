"""The manager process: a ``multiprocessing`` Manager that serves the budget on a socket of the caller's choice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.managers import BaseManager
from typing import NoReturn

from mrengine import posix
from mrengine.budget.connection import TYPEID
from mrengine.budget.limiter import Spent
from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.redis_limits import is_redis
from mrengine.budget.service import BudgetService
from mrengine.budget.shared_limits import Shares, global_name, process_name
from mrengine.budget.spend_limit import SpendLimit, Sum
from mrengine.budget.token_estimates import TokenEstimator
from mrengine.records import Budget, Price, Priority, RateLimit

__all__ = ["NO_THREAD", "BudgetConfig", "Call", "make_service", "serve"]

NO_THREAD = 71  # the exit code of a manager that could not start a thread for a worker
ROOM_S = 0.5  # how long it waits before it ends: its successor may find room for a thread

Call = tuple[float, str, int, int]  # seconds since the epoch, model, input tokens, output tokens


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """Everything a manager starts from. It is rebuilt from the log whenever the manager is replaced.

    ``history``: the calls of the last minute according to the log; those without an answer, as they were reserved.
    ``spent``: (tokens, USD) that count towards ``budget``; calls without an answer at their upper bound. ``priority``:
    the only one in use, unless a limit is shared. ``exact``: models that use the tokenizer we count with.
    ``shared_dir``: the folder of the shared limits. ``host``: a name common to all runners of one host program, which
    makes them draw on one limit as well. ``places``: the endpoint of each model, as part of a shared limit's name.
    """

    limits: Mapping[str, RateLimit] = field(default_factory=dict)
    budget: Budget | None = None
    prices: Mapping[str, Price | None] = field(default_factory=dict)
    spent: Sum = (0.0, 0.0)
    history: Sequence[Call] = ()
    priority: Priority | None = None
    exact: tuple[str, ...] = ()
    shared_dir: str | None = None
    host: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)


def make_service(config: BudgetConfig) -> BudgetService:
    """The service, in this process; the sequential backend uses it directly (``LocalBudget``)."""
    manager = TokenBucketManager(
        config.limits,
        idle=_idle(config),
        history=_by_model(config.history, time.time()),
        sharing=None if config.shared_dir is None else Shares(config.shared_dir, config.host, places=config.places),
        process=global_name() if any(is_redis(limit.shared) for limit in config.limits.values()) else process_name(),
    )
    spend_limit = SpendLimit(config.budget, prices=config.prices, spent=config.spent)
    return BudgetService(manager, spend_limit=spend_limit, token_estimator=TokenEstimator(config.exact))


def _idle(config: BudgetConfig) -> list[Priority | str]:
    """The priorities for which nothing is reserved."""
    priorities: list[Priority | str] = ["P0_critical", "P1_user", "P2_batch"]
    if any(limit.shared for limit in config.limits.values()):
        return []
    if config.host is not None and config.shared_dir is not None:
        return priorities[:1]  # nothing is kept for P0 until one has come
    return [] if config.priority is None else [name for name in priorities if name != config.priority]


def _by_model(history: Sequence[Call], now: float) -> dict[str, list[Spent]]:
    calls: dict[str, list[Spent]] = {}
    for at, model, input_tokens, output_tokens in history:
        calls.setdefault(model, []).append((max(0.0, now - at), float(input_tokens), float(output_tokens)))
    return calls


def _leave() -> NoReturn:
    """End this manager, which could not start a thread for a worker: the worker would wait without end. Another manager
    takes its place, or the job ends.
    """
    time.sleep(ROOM_S)
    os._exit(NO_THREAD)


class _Manager(BaseManager):
    """A class of its own, since ``register`` changes the class."""


def serve(address: str, authkey: bytes, config: BudgetConfig) -> None:
    """Serve until the parent dies or a signal comes: the target of a ``multiprocessing.Process`` of the supervisor.

    A socket file that an earlier manager left at ``address`` is replaced.
    """
    parent = parent_process()
    # The handlers and the mask are those of the supervisor, from which this process was forked.
    posix.die_with_parent(os.getppid() if parent is None or parent.pid is None else parent.pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    service = make_service(config)
    _Manager.register(TYPEID, callable=lambda: service, exposed=("hello", "exchange"))
    with suppress(FileNotFoundError):
        os.unlink(address)
    threading.excepthook = lambda _: _leave()
    try:
        _Manager(address, authkey).get_server().serve_forever()
    except RuntimeError:  # the thread that accepts connections
        _leave()
