"""Runs the processes beside the pool: the budget's Manager and the model server."""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgpack

from mrengine import posix
from mrengine.backends.process.child import ChildProcess
from mrengine.backends.process.private_folder import SocketPlace
from mrengine.backends.process.selector import Selector
from mrengine.budget.server import NO_THREAD, BudgetConfig, serve
from mrengine.engine.protocol import BROKEN, NOTE, Message
from mrengine.errors import ConfigError, LogError

__all__ = ["HelperProcesses"]

Notify = Callable[[str, str, str], None]
BIND_S = 5.0  # how long a Manager may take to have its socket
MANAGERS = 20  # so many that end within a minute end the job


class HelperProcesses:
    """The supervisor's children that serve all workers. Reports their fate in messages with the worker number -1."""

    def __init__(self, selector: Selector, sockets: SocketPlace) -> None:
        self._selector, self._sockets = selector, sockets
        self._bound_by = 0.0  # by when the Manager must have its socket
        self._managers: deque[float] = deque(maxlen=MANAGERS)
        self._manager: ChildProcess | None = None
        self._authkey = secrets.token_bytes(32)
        self._budget: Callable[[], BudgetConfig] | None = None
        self._servers: dict[str, _ServedModel] = {}

    # the Manager

    def manager(self, budget: Callable[[], BudgetConfig], folder: str) -> tuple[str, bytes]:
        """Start the Manager for the job in ``folder``, at the level that its log implies; its address and key.

        OSError: it cannot be started.
        """
        self._end_manager()
        self._budget = budget
        self._sockets.choose(folder)
        self._start_manager()
        return self._sockets.address, self._authkey

    def _start_manager(self) -> None:
        assert self._budget is not None
        self._sockets.restore()
        self._bound_by = time.monotonic() + BIND_S
        args = (self._sockets.address, self._authkey, self._budget())
        self._manager = ChildProcess(_serve_budget, args, "mrengine-manager", daemon=True)
        self._selector.watch(self._manager.life, self._on_manager_gone)

    def _on_manager_gone(self) -> list[Message]:
        """Start another Manager at the same address. Workers reconnect to it by themselves."""
        code = self._end_manager()
        if self._budget is None:
            return []  # no job needs it
        if len(self._managers) == MANAGERS and time.monotonic() - self._managers[0] < 60:
            why = ": the system has no room for its threads" if code == NO_THREAD else ""
            return _broken(f"the budget manager ended {MANAGERS} times within 60 s{why}")
        self._managers.append(time.monotonic())
        try:
            self._start_manager()
        except (OSError, LogError) as error:
            return _broken(f"the budget manager ended and cannot be started again: {error}")
        return [(-1, NOTE, -1, -1, msgpack.packb(["manager:replaced", {}]))]

    def forget_job(self) -> None:
        """End the job: until the next one, a Manager that dies is not replaced."""
        self._budget = None
        self._sockets.vacate()

    def look_after(self) -> list[Message]:
        """Replace processes that a signal has stopped, as they neither answer nor end, or that cannot be reached."""
        for served in self._servers.values():
            served.look_after()
        manager = self._manager
        if manager is not None and (manager.ended or posix.is_stopped(manager.pid) or self._is_cut_off()):
            return self._on_manager_gone()
        return []

    def _is_cut_off(self) -> bool:
        """Whether the Manager's socket was removed, so that no worker could connect any more."""
        if os.path.lexists(self._sockets.address):
            self._bound_by = 0.0
            return False
        return self._budget is not None and time.monotonic() > self._bound_by

    def _end_manager(self) -> int | None:
        """End the Manager, if there is one; its exit code."""
        manager, self._manager = self._manager, None
        if manager is None:
            return None
        if self._budget is not None:
            self._sockets.vacate()
        self._selector.forget(manager.life)
        posix.kill_process(manager.pid)
        code = manager.exitcode(5)
        manager.close()
        return code

    # the embedded model

    def serve(self, name: str, context_window: int | None, notify: Notify) -> None:
        """Start an embedded model's server when it is first asked for; ``notify(name, url, key)`` once it is up."""
        served = self._servers.get(name)
        if served is None:
            served = self._servers[name] = _ServedModel(name, context_window, self._selector)
        served.ask(notify)

    def close(self) -> None:
        """End all helper processes, and remove the place of their sockets."""
        self._end_manager()
        for served in self._servers.values():
            served.stop()
        self._sockets.close()


def _broken(cause: str) -> list[Message]:
    return [(-1, BROKEN, -1, -1, cause.encode())]


def _serve_budget(life_fd: int, address: str, authkey: bytes, config: BudgetConfig) -> None:
    """Run the Manager, in its process."""
    # A copy of a worker's pipe or of the host's socket would keep that open after its owner's end.
    posix.close_all_but({0, 1, 2, life_fd})
    serve(address, authkey, config)


class _ServedModel:
    """The server of one embedded model. It is started again when it dies; its address stays."""

    def __init__(self, name: str, context_window: int | None, selector: Selector) -> None:
        self._name, self._context_window, self._selector = name, context_window, selector
        self._waiting: list[Notify] = []
        self._answer: tuple[str, str] | None = None
        self._server: Any = None
        self._pidfd: int | None = None

    def ask(self, notify: Notify) -> None:
        """Call ``notify`` now, or when the server is up."""
        if self._answer is not None:
            notify(self._name, *self._answer)
            return
        self._waiting.append(notify)
        if self._server is None:
            self._start()

    def _start(self) -> None:
        from mrengine.providers.local.embedded import model_server

        try:
            self._server = self._server or model_server(self._name, context_window=self._context_window)
            self._server.start()
        except (ConfigError, OSError) as error:
            self._notify_all("", str(error))
            return
        self._selector.watch(self._server.ready_fd, self._on_ready)

    def _on_ready(self) -> list[Message]:
        self._selector.forget(self._server.ready_fd)
        try:
            url, key = self._server.address(1.0)
        except ConfigError as error:
            self._server = None
            self._notify_all("", str(error))
            return []
        self._pidfd = posix.open_pidfd(self._server.pid)
        if self._pidfd is not None:
            self._selector.watch(self._pidfd, self._on_gone)
        self._answer = (url, key)
        self._notify_all(url, key)
        return []

    def _notify_all(self, url: str, key: str) -> None:
        waiting, self._waiting = self._waiting, []
        for notify in waiting:
            notify(self._name, url, key)

    def _on_gone(self) -> list[Message]:
        self._forget()
        self._start()
        return []

    def look_after(self) -> None:
        """Kill the server if a signal has stopped it. Its end is noticed, and it is started again."""
        if self._server is None or self._server.pid is None:
            return
        if posix.is_stopped(self._server.pid):
            posix.kill_process(self._server.pid)
        elif self._answer is not None and self._pidfd is None and not self._server.alive:
            self._on_gone()

    def _forget(self) -> None:
        if self._pidfd is not None:
            self._selector.forget(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def stop(self) -> None:
        """End the server."""
        self._forget()
        if self._server is not None:
            if self._answer is None and self._server.pid is not None:
                self._selector.forget(self._server.ready_fd)
            self._server.stop()
