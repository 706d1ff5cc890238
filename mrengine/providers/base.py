"""The contract of a provider: one request in, one completion or one ModelError out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mrengine.records import Completion, Request

__all__ = ["Provider"]


@runtime_checkable
class Provider(Protocol):
    """One model behind one method. All threads of a worker share one instance, so it must be thread-safe.

    A class named by ``ModelSpec(provider=Class)`` or by an entry point of the group ``mrengine.providers`` is called
    with the ``ModelSpec``, once a worker, in the worker.
    """

    def complete(self, request: Request) -> Completion:
        """Make one call and no second try. Raises ``errors.ModelError``; anything else is mapped to one."""
        ...

    def close(self) -> None:
        """Give back connections. Called once, with no call in flight."""
        ...
