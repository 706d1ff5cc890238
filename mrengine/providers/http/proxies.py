"""The route to a server: through which proxy, trusting which authorities. Resolved once, by the rules of ``requests``.

``verify`` and ``proxy`` of the spec come first, then ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``
for the proxy, ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE`` for the authorities, and certifi's if none are named.
"""

from __future__ import annotations

import base64
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from mrengine.errors import ConfigError
from mrengine.providers.models.resolution import names_proxy

__all__ = ["Proxy", "Route", "authorities", "resolve", "tls_context"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; ``authorization``: the value of ``Proxy-Authorization``, if its URL holds a name and password."""

    host: str
    port: int
    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Route:
    """How a server is reached. ``proxy`` None: directly. ``tls`` None: over plain HTTP."""

    proxy: Proxy | None = None
    tls: ssl.SSLContext | None = None


def resolve(
    url: str, *, verify: bool | str = True, proxy: str | None = None, env: Mapping[str, str] = os.environ
) -> Route:
    """The route to a base URL. Raises ConfigError for a proxy or a CA file that cannot be used."""
    chosen = proxy if proxy is not None else _proxy_of_environment(url, env)
    tls = None
    if url.startswith("https:"):
        tls = tls_context(verify if verify is not True else authorities(env))
    return Route(_proxy(chosen) if chosen else None, tls)


def _proxy_of_environment(url: str, env: Mapping[str, str]) -> str | None:
    if not names_proxy(env) and sys.platform == "linux":  # elsewhere the system has settings of its own
        return None
    import requests  # only here, as it costs 100 ms

    settings = requests.Session().merge_environment_settings(url, {}, False, True, None)
    chosen: str | None = requests.utils.select_proxy(url, settings["proxies"])
    return chosen


def authorities(env: Mapping[str, str]) -> str:
    """The file or folder of trusted certificates, if the spec names none."""
    named = env.get("REQUESTS_CA_BUNDLE") or env.get("CURL_CA_BUNDLE")
    if named:
        return named
    import certifi

    return certifi.where()


@lru_cache(maxsize=8)
def tls_context(verify: bool | str) -> ssl.SSLContext:
    """One context for each set of authorities, shared by all connections, and by workers through the fork.

    ``verify``: a file or folder of certificates, or False: trust whoever answers.
    """
    if verify is False:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    path = verify if isinstance(verify, str) else authorities(os.environ)
    try:
        folder = os.path.isdir(path)
        context = ssl.create_default_context(capath=path) if folder else ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "no certificates in it"
        raise ConfigError(f"cannot use the CA certificates of {path}: {reason}", setting="verify") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxy(url: str) -> Proxy:
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if parts.scheme != "http" or not host:  # the message does not show the URL, which may hold a password
        raise ConfigError(
            "the proxy must look like http://host:port; SOCKS and TLS to the proxy are not supported", setting="proxy"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(host, port, url, authorization)
