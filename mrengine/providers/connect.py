"""Makes a model's provider in a worker; before the fork, imports what each worker would otherwise import by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import cast

from mrengine.errors import ConfigError
from mrengine.providers import Provider
from mrengine.providers.http.headers import Headers
from mrengine.providers.http.proxies import Route, authorities, tls_context
from mrengine.providers.models.model import Model
from mrengine.providers.models.resolution import custom_class

__all__ = ["connect", "preload"]


def preload(kinds: Iterable[str]) -> None:
    """Import, in the supervisor, what the job's models need. ``kinds``: their ``preloads`` and ``kind``s: "openai",
    "anthropic", "tls", "requests"; others need nothing. A missing package is no error here: the worker reports it.
    """
    # An SDK costs 1–2 s and 60–90 MB in every process that imports it; forked workers share one. No thread may be left
    # running, which the fork would lose with its locks taken, and no user code runs here.
    wanted = set(kinds)
    for name in sorted(wanted & {"openai", "anthropic"}):
        with suppress(ImportError):
            from mrengine.providers.sdk import warm_up

            warm_up(name)
    if "requests" in wanted:
        import requests  # noqa: F401
    if "tls" in wanted:
        tls_context(authorities(os.environ))


def connect(model: Model, *, endpoint: Sequence[str] | None = None, slots: int = 1) -> Provider:
    """Make the provider of a model, one for all threads of the worker.

    ``endpoint``: base URL and key of the embedded model's server, which the job itself runs. ``slots``: threads that
    will use it. Raises ConfigError; makes no call.
    """
    if model.kind in ("fake", "custom"):
        return _custom(model)
    base_url, key = (endpoint[0], endpoint[1]) if endpoint else (model.base_url, None)
    headers = Headers(model, key=key)
    if model.kind in ("openai", "anthropic"):
        from mrengine.providers.sdk import SdkProvider

        return SdkProvider(model, headers, base_url=base_url or "", slots=slots)
    from mrengine.providers.http.url_provider import HttpProvider

    route = Route() if endpoint else None  # our own server on loopback is never behind a proxy
    return HttpProvider(model, headers, base_url=base_url or "", slots=slots, route=route)


def _custom(model: Model) -> Provider:
    provider = model.spec.provider
    if model.kind == "fake" and not isinstance(provider, type):
        from mrengine.providers.fake import FakeProvider

        return FakeProvider(model.spec)
    cls = custom_class(provider) if isinstance(provider, str) else provider
    try:
        return cast(Provider, cls(model.spec))  # type: ignore[misc]  # resolution.place() has checked that it is a class
    except Exception as error:
        message = f"the provider {cls!r} cannot be made of its ModelSpec: {type(error).__name__}: {error}"
        raise ConfigError(message, setting="provider") from error
