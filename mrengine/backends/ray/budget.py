"""The budget of a job on a cluster: its service in a named actor, and a worker's way to it.

A client asks for all waiting tasks of its worker in one call, as it does over a socket. The actor is not started again
by Ray, which would begin with what was used when it was made: the host makes another, from the log as it is then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mrengine.backends.ray.cluster import actor_class
from mrengine.budget.client import BudgetClient
from mrengine.budget.connection import REPLY_TIMEOUT_S, Made, Transport
from mrengine.budget.server import BudgetConfig, make_service

__all__ = ["NAMESPACE", "ActorBudgetClient", "BudgetActor", "BudgetHost"]

NAMESPACE = "mrengine"


class BudgetActor:
    """The actor."""

    def __init__(self, config: BudgetConfig) -> None:
        self._service = make_service(config)

    def call(self, method: str, *args: Any) -> Any:
        """``hello`` or ``exchange`` of the service."""
        return getattr(self._service, method)(*args)

    def restart(self, config: BudgetConfig) -> None:
        """Begin again, for another round."""
        self._service = make_service(config)

    def live(self) -> None:
        """Never returns: whoever waits for it hears of its death."""
        threading.Event().wait()


class _ActorTransport:
    """Implements :class:`mrengine.budget.connection.Transport`."""

    def __init__(self, name: str, timeout_s: float) -> None:
        import ray

        self._timeout_s = timeout_s
        try:
            self._actor = ray.get_actor(name, namespace=NAMESPACE)
        except ValueError as error:
            raise ConnectionRefusedError("the budget actor is not there") from error

    def call(self, method: str, *args: Any) -> Any:
        import ray

        try:
            return ray.get(self._actor.call.remote(method, *args), timeout=self._timeout_s)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise ConnectionResetError(f"the budget actor does not answer: {type(error).__name__}") from error

    def close(self) -> None:
        """An actor needs no goodbye."""


class ActorBudgetClient(BudgetClient):
    """A worker's end: ``name`` is the actor's."""

    def __init__(
        self,
        name: str,
        worker_id: int,
        incarnation: int,
        *,
        made: Made = None,
        on_settled: Callable[[int], None] | None = None,
    ) -> None:
        reply_timeout_s = 5 * REPLY_TIMEOUT_S
        super().__init__(
            name, b"", worker_id, incarnation, made=made, on_settled=on_settled, reply_timeout_s=reply_timeout_s
        )
        self._name = name

    def _connected(self) -> Transport:
        return _ActorTransport(self._name, self._reply_timeout_s)


class BudgetHost:
    """Keeps the actor alive, from the host. It runs on the host's own node, where shared limits have their files."""

    def __init__(self, name: str, node: str) -> None:
        self.name, self._node = name, node
        self._actor: Any = None
        self.watch: Any = None  # a reference that is ready when the actor has died

    def start(self, config: BudgetConfig) -> None:
        """Make the actor, or have it begin again."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self._actor is not None:
            self._actor.restart.remote(config)  # before any call of the round: one at a time, in order
            return
        made = actor_class(BudgetActor, num_cpus=0, max_restarts=0, concurrency_groups={"life": 1}).options(
            name=self.name,
            namespace=NAMESPACE,
            get_if_exists=True,
            scheduling_strategy=NodeAffinitySchedulingStrategy(self._node, soft=True),
        )
        self._actor = made.remote(config)
        self.watch = self._actor.live.options(concurrency_group="life").remote()

    def lost(self, config: BudgetConfig) -> None:
        """It has died: make another."""
        self._actor = None
        self.start(config)

    def close(self) -> None:
        """End it."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = self.watch = None
