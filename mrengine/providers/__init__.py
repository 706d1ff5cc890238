"""Models and the calls to them: how each is asked, what its answers and failures mean, and when to ask again.

``models`` resolves names and specs, ``connect`` imports before the fork and makes a provider in a worker, ``call``
retries, continues and validates, ``http`` and ``sdk`` send. The contract of a provider stands here.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mrengine.records import Completion, ModelSpec, Request

__all__ = ["Completion", "ModelSpec", "Provider", "Request"]


@runtime_checkable
class Provider(Protocol):
    """One model behind one method. All threads of a worker share one instance, so it must be thread-safe.

    A class named by ``ModelSpec(provider=Class)`` or by an entry point of the group ``mrengine.providers`` is called
    with the ``ModelSpec``, once a worker, in the worker.
    """

    def complete(self, request: Request) -> Completion:
        """Make one call, without a retry. Raises ``errors.ModelError``; anything else is mapped to one."""

    def close(self) -> None:
        """Close its connections. Called once, with no call in flight."""
