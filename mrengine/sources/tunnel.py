"""Opens a tunnel through the environment's proxy to the address that was approved, never to a host name."""

from __future__ import annotations

import base64
import socket
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from mrengine.errors import ConfigError
from mrengine.sources.urls import Target

__all__ = ["environment_proxy", "open_tunnel"]

_MOST_HEAD = 16_384


def environment_proxy(target: Target) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for a target; None: none."""
    proxies = getproxies_environment()
    if proxy_bypass_environment(target.authority, proxies):
        return None
    return proxies.get(target.scheme) or proxies.get("all")


def open_tunnel(proxy: str, address: str, port: int, timeout_s: float) -> socket.socket:
    """A connection to an address through a proxy (RFC 9110, 9.3.6). ConfigError, OSError."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        host, proxy_port = parts.hostname, parts.port or 80
    except ValueError:
        host, proxy_port = None, 0
    if parts.scheme != "http" or not host:
        raise ConfigError("the proxy of the environment must look like http://host:port", setting="env_proxy")
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    lines = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines += f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
    sock = socket.create_connection((host, proxy_port), timeout_s)
    try:
        sock.sendall(f"{lines}\r\n".encode("latin-1"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)  # no more: what follows is the other end's, and is read through TLS
            if not byte or len(head) > _MOST_HEAD:
                raise ConnectionError("the proxy closed the connection")
            head += byte
        if not head.startswith(b"HTTP/1.") or head[9:10] != b"2":
            raise ConnectionError("the proxy refused the tunnel")
    except BaseException:
        sock.close()
        raise
    return sock
