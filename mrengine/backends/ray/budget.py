"""The budget of a job on a cluster: the service in a named actor, and a worker's client of it."""

from __future__ import annotations

import threading
from typing import Any

from mrengine.backends.ray.cluster import actor_class
from mrengine.budget.client import BudgetClient
from mrengine.budget.connection import Transport
from mrengine.budget.server import BudgetConfig, make_service

__all__ = ["NAMESPACE", "ActorBudgetClient", "BudgetActor", "BudgetHost"]

NAMESPACE = "mrengine"


class BudgetActor:
    """The service, as an actor."""

    def __init__(self, config: BudgetConfig) -> None:
        self._service = make_service(config)

    def call(self, method: str, *args: Any) -> Any:
        """Call ``hello`` or ``exchange`` of the service."""
        return getattr(self._service, method)(*args)

    def restart(self, config: BudgetConfig) -> None:
        """Start over for another round."""
        self._service = make_service(config)

    def live(self) -> None:
        """Never return: whoever waits for this call notices that the actor has died."""
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
    """A worker's client; its ``address`` is the actor's name."""

    def _connected(self) -> Transport:
        return _ActorTransport(self._address, self._reply_timeout_s)


class BudgetHost:
    """Keeps the actor alive, from the host."""

    def __init__(self, name: str, node: str) -> None:
        self.name, self._node = name, node
        self._actor: Any = None
        self.watch: Any = None  # a reference that is ready when the actor has died

    def start(self, config: BudgetConfig) -> None:
        """Create the actor, or have it start over."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self._actor is not None:
            self._actor.restart.remote(config)  # an actor runs its calls in order: this one comes before the round's
            return
        # No restart by Ray: it would begin with what was used when the actor was created. The host creates another one,
        # from the log as it is then. It belongs on the host's own node, where shared limits have their files.
        made = actor_class(BudgetActor, num_cpus=0, max_restarts=0, concurrency_groups={"life": 1}).options(
            name=self.name,
            namespace=NAMESPACE,
            get_if_exists=True,
            scheduling_strategy=NodeAffinitySchedulingStrategy(self._node, soft=True),
        )
        self._actor = made.remote(config)
        self.watch = self._actor.live.options(concurrency_group="life").remote()

    def lost(self, config: BudgetConfig) -> None:
        """Replace the actor, which has died."""
        self._actor = None
        self.start(config)

    def close(self) -> None:
        """End the actor."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = self.watch = None
