"""Owns the manager process: a ``multiprocessing`` Manager that serves one ledger on a socket of the caller's choice."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.managers import BaseManager

from mrengine.budget.connection import TYPEID
from mrengine.budget.limiter import Spent
from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.service import BudgetService
from mrengine.budget.shared_limits import Shares, process_name
from mrengine.budget.spend_limit import SpendLimit, Sum
from mrengine.budget.token_estimates import TokenEstimator
from mrengine.records import Budget, Price, Priority, RateLimit

__all__ = ["BudgetConfig", "Call", "make_ledger", "serve"]

PR_SET_PDEATHSIG = 1

Call = tuple[float, str, int, int]  # seconds since the epoch, model, input tokens, output tokens


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """All that a manager has to know. A new one is made of the log whenever the manager is replaced.

    ``history``: the calls of the last minute by the log; an intent without an answer with what was reserved for it.
    ``spent``: (tokens, USD) that count towards ``budget``, such intents at their upper bound. ``priority``: the only
    one that can come, if no limit is shared. ``exact``: models whose tokenizer is the one we count with.
    ``shared_dir``: where limits with a name are kept. ``host``: a name that all runners of one host program have in
    common; then they draw on one limit, too. ``places``: the endpoint of each model, for these limits.
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


def make_ledger(terms: BudgetConfig) -> BudgetService:
    """The state object, in this process; the sequential backend uses it as it is (``LocalBudget``)."""
    manager = TokenBucketManager(
        terms.limits,
        idle=_idle(terms),
        history=_by_model(terms.history, time.time()),
        sharing=None if terms.shared_dir is None else Shares(terms.shared_dir, terms.host, places=terms.places),
        process=process_name(),
    )
    purse = SpendLimit(terms.budget, prices=terms.prices, spent=terms.spent)
    return BudgetService(manager, purse=purse, ratios=TokenEstimator(terms.exact))


def _idle(terms: BudgetConfig) -> list[Priority | str]:
    """Classes that cannot come. With others on the same limit only P0, of which nobody has heard yet."""
    everybody: list[Priority | str] = ["P0_critical", "P1_user", "P2_batch"]
    if any(limit.shared for limit in terms.limits.values()):
        return []
    if terms.host is not None and terms.shared_dir is not None:
        return everybody[:1]
    return [] if terms.priority is None else [name for name in everybody if name != terms.priority]


def _by_model(history: Sequence[Call], now: float) -> dict[str, list[Spent]]:
    calls: dict[str, list[Spent]] = {}
    for at, model, given, made in history:
        calls.setdefault(model, []).append((max(0.0, now - at), float(given), float(made)))
    return calls


class _Manager(BaseManager):
    """Its own class: registering is per class."""


def serve(address: str, authkey: bytes, terms: BudgetConfig, *, close_fds: Iterable[int] = ()) -> None:
    """Serve until the parent is gone or a signal comes: the target of a ``multiprocessing.Process`` of the supervisor.

    A socket file that an earlier manager left at ``address`` is replaced. ``close_fds``: descriptors of the supervisor
    that must not be held open here.
    """
    _follow_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for descriptor in close_fds:
        with suppress(OSError):
            os.close(descriptor)
    ledger = make_ledger(terms)
    _Manager.register(TYPEID, callable=lambda: ledger, exposed=("hello", "exchange"))
    with suppress(FileNotFoundError):
        os.unlink(address)
    _Manager(address, authkey).get_server().serve_forever()


def _follow_parent() -> None:
    """Die with the process that started this one (Linux)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it died before the line above
        os._exit(0)
