"""The backends by name: those of mrengine, and those that other packages register.

A backend is a class, or a function, that is called with the numbers of workers and slots and makes a
:class:`mrengine.engine.protocol.Backend`; an entry point of the group ``mrengine.backends`` names it. The engine then
runs in the host's own thread. One that has ``driver(drain_s=…)`` brings a :class:`mrengine.job.driver.Driver` of its
own instead, and with it a place for the engine. One that has ``at(address)`` can run on a cluster that is there.
"""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from mrengine.engine.protocol import Backend
from mrengine.errors import ConfigError
from mrengine.job.driver import Driver
from mrengine.job.local_driver import LocalDriver

__all__ = ["GROUP", "MakeBackend", "backend_names", "find_backend", "open_driver"]

GROUP = "mrengine.backends"
MakeBackend = Callable[[int, int], Backend]


# By the form of entry points: only the one that is used is imported.
_OWN = {
    "process": "mrengine.backends.process.pool:ProcessPool",
    "sequential": "mrengine.backends.sequential:SequentialBackend",
    "ray": "mrengine.backends.ray.backend:RayBackend",
}


def backend_names() -> list[str]:
    """The names of all backends."""
    return list(dict.fromkeys((*_OWN, *_registered())))


def _registered() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def find_backend(name: str, address: str | None = None) -> MakeBackend:
    """A backend by name, and where it runs. ConfigError: there is none, or its package cannot be imported; it takes no
    address.
    """
    make = _found(name)
    if address is None or name == "sequential":
        return make
    at: Callable[[str], MakeBackend] | None = getattr(make, "at", None)
    if at is None:
        raise ConfigError(f"backend={name!r} takes no address={address!r}: backend='ray' does", setting="address")
    return at(address)


def _found(name: str) -> MakeBackend:
    if name in _OWN:
        own: MakeBackend = resolve_name(_OWN[name])
        return own
    point = _registered().get(name)
    if point is None:
        known = ", ".join(map(repr, backend_names()))
        raise ConfigError(f"backend={name!r}: it is one of {known}, or one that a package brings", setting="backend")
    try:
        made: MakeBackend = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"backend={name!r} cannot be loaded from {point.value}: {error}", setting="backend"
        ) from error
    if not callable(made):
        raise ConfigError(f"backend={name!r}: {point.value} is no class or function", setting="backend")
    return made


def open_driver(make: MakeBackend, *, drain_s: float) -> Driver:
    """The host's end of a backend. ``drain_s``: how long calls in flight may take to end."""
    own: Callable[..., Driver] | None = getattr(make, "driver", None)
    return LocalDriver(make) if own is None else own(drain_s=drain_s)
