"""A keep-alive HTTP/1.1 client, as cheap as Python allows, for all requests of providers.

One call is one ``sendall`` and, as a rule, one ``recv``, on a connection that no other thread uses meanwhile; idle
connections wait on a stack. Why not ``http.client``: see docs/decisions/http-provider.md.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import SEEK_END
from typing import BinaryIO
from urllib.parse import urlsplit

from mrengine.providers.http.http1 import Malformed, ResponseReader
from mrengine.providers.http.proxies import Proxy, Route, resolve
from mrengine.records import ModelSpec

__all__ = ["HttpClient", "ProxyRefused", "Response", "client_of"]

CONNECT_S = 15.0
_RECV = 256 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: header names in lower case, the whole body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class ProxyRefused(ConnectionError):
    """A proxy made no tunnel; ``status`` 0: its answer was no HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy refused the tunnel (status {status})")
        self.status = status


class HttpClient:
    """Connections to one origin, of which up to ``slots`` are kept while idle. Thread-safe.

    Raises ``TimeoutError``, ``ConnectionError`` (``Malformed`` is one) and other ``OSError``, as sockets do.
    """

    def __init__(
        self, base_url: str, *, route: Route, slots: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        parts = urlsplit(base_url)
        secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._tls, self._proxy = route.tls, route.proxy
        self._slots, self._clock = slots, clock
        self._idle: list[_Connection] = []
        self._closed = False
        literal = f"[{self._host}]" if ":" in self._host else self._host
        self._authority = f"{literal}:{self._port}"
        host = literal if parts.port is None else self._authority
        # A proxy is given the whole URL of a plain request; a TLS one goes through a tunnel (RFC 9112, 3.2).
        relayed = self._proxy is not None and not secure
        self._prefix = (f"http://{host}" if relayed else "") + parts.path.rstrip("/")
        self._query = f"?{parts.query}" if parts.query else ""
        self._fixed = f"Host: {host}\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
        if relayed and self._proxy and self._proxy.authorization:
            self._fixed += f"Proxy-Authorization: {self._proxy.authorization}\r\n"

    def head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """The head of a request, which is the same in every call. ValueError: a header holds a line break."""
        query = self._query.replace("?", "&", 1) if "?" in path else self._query
        lines = [f"{method} {self._prefix}{path}{query} HTTP/1.1\r\n{self._fixed}"]
        for name, value in headers.items():
            if any(mark in name or mark in value for mark in "\r\n\0"):
                raise ValueError(f"the header {name.strip()!r} holds a line break")
            lines.append(f"{name}: {value}\r\n")
        return "".join(lines).encode("latin-1")

    def send(
        self,
        head: bytes,
        body: bytes | BinaryIO | None,
        *,
        timeout_s: float,
        finish_s: float = 0.0,
        into: BinaryIO | None = None,
        on_data: Callable[[bytes], None] | None = None,
    ) -> Response:
        """Send one request and read its answer within ``timeout_s``; an answer that has begun may take ``finish_s``,
        if that is more.

        ``body``: a file is sent from its beginning. ``into``: a file that takes the body of a success. ``on_data`` is
        given the body of an uncompressed answer with status 200, in parts, as they come.
        """
        # Two limits, since proxies send the head at once, and the body only when the model has thought.
        deadline = _Deadline(self._clock() + timeout_s, self._clock() + max(timeout_s, finish_s))
        if body is None:
            sent = _Sent(head + b"\r\n", None, into, on_data)
        elif isinstance(body, bytes):
            sent = _Sent(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), None, into, on_data)
        else:
            sent = _Sent(head + b"Content-Length: %d\r\n\r\n" % body.seek(0, SEEK_END), body, into, on_data)
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange(connection, sent, deadline)
            except _NotSent:
                pass  # the server had closed it, and cannot have read the request: it may be sent again
        try:
            return self._exchange(self._dial(deadline.begin), sent, deadline)
        except _NotSent:
            raise ConnectionResetError("the server closed the connection while the request was sent") from None

    def close(self) -> None:
        """Close idle connections; those in use are closed when their call ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> _Connection | None:
        """The idle connection used last, if the server has not closed it meanwhile."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not connection.readable():
                return connection
            connection.close()

    def _exchange(self, connection: _Connection, sent: _Sent, deadline: _Deadline) -> Response:
        try:
            reader = connection.exchange(sent, deadline, self._clock)
        except BaseException:
            connection.close()
            raise
        if reader.reusable and not self._closed and len(self._idle) < self._slots:
            self._idle.append(connection)
        else:
            connection.close()
        return Response(reader.status, reader.headers, reader.body)

    def _dial(self, deadline: float) -> _Connection:
        until = min(deadline, self._clock() + CONNECT_S)
        proxy = self._proxy
        sock = _connect(proxy.host if proxy else self._host, proxy.port if proxy else self._port, until, self._clock)
        try:
            if self._tls is not None:
                sock.settimeout(_left(until, self._clock))
                if proxy is not None:
                    _tunnel(sock, proxy, self._authority, until, self._clock)
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
            return _Connection(sock)
        except BaseException:
            sock.close()
            raise


def client_of(spec: ModelSpec, base_url: str, *, slots: int = 1, route: Route | None = None) -> HttpClient:
    """A client of an address. ``route`` None: as the spec and the environment say. ConfigError: it cannot be used."""
    route = route or resolve(base_url, verify=spec.verify, proxy=spec.proxy)
    return HttpClient(base_url, route=route, slots=slots)


@dataclass(frozen=True, slots=True)
class _Deadline:
    """By when an answer must have begun, and by when it must be whole, on the client's clock."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request: its first bytes, the file with the rest; the file for the answer's body, and who sees its parts."""

    first: bytes = field(repr=False)
    rest: BinaryIO | None
    into: BinaryIO | None
    on_data: Callable[[bytes], None] | None = None


class _NotSent(Exception):
    """The request did not leave whole, and no answer came: nobody can have acted on it."""


class _Connection:
    """One socket; used by one thread at a time."""

    __slots__ = ("_poll", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def readable(self) -> bool:
        """Whether an idle connection has something to read: it was closed, or is out of step."""
        return bool(self._poll.poll(0))

    def exchange(self, sent: _Sent, deadline: _Deadline, clock: Callable[[], float]) -> ResponseReader:
        sock = self._sock
        reader = ResponseReader(sent.into, sent.on_data)
        sock.settimeout(_left(deadline.begin, clock))
        try:
            sock.sendall(sent.first)
            if sent.rest is not None:
                sent.rest.seek(0)
                while part := sent.rest.read(_RECV):
                    sock.settimeout(_left(deadline.begin, clock))
                    sock.sendall(part)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            return self._early_answer(reader)
        while True:
            # Silence within an answer is no death: keep-alive probes find a peer that is gone.
            sock.settimeout(_left(deadline.end if reader.started else deadline.begin, clock))
            if reader.feed(sock.recv(_RECV)):
                return reader

    def _early_answer(self, reader: ResponseReader) -> ResponseReader:
        """The answer of a server that refused (413, 401) and closed before it had read everything."""
        try:
            self._sock.settimeout(1.0)
            while not reader.feed(self._sock.recv(_RECV)):
                pass
        except OSError:
            raise _NotSent from None
        reader.reusable = False
        return reader

    def close(self) -> None:
        try:
            self._sock.close()
        except OSError:
            pass


def _left(deadline: float, clock: Callable[[], float]) -> float:
    left = deadline - clock()
    if left <= 0:
        raise TimeoutError("the time for the call is over")
    return left


def _connect(host: str, port: int, until: float, clock: Callable[[], float]) -> socket.socket:
    """Connect to the first address that answers. Each has its share of the time, lest a dead IPv6 uses it all up."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = ConnectionError("no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(until, clock) / (len(addresses) - number))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _probe(sock)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _probe(sock: socket.socket) -> None:
    """Have the kernel probe a silent peer after 30 s, and close the connection after as long again."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def _tunnel(sock: socket.socket, proxy: Proxy, authority: str, until: float, clock: Callable[[], float]) -> None:
    """Ask a proxy for a tunnel: CONNECT (RFC 9110, 9.3.6)."""
    lines = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    if proxy.authorization:
        lines += f"Proxy-Authorization: {proxy.authorization}\r\n"
    sock.sendall(f"{lines}\r\n".encode("latin-1"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        sock.settimeout(_left(until, clock))
        byte = sock.recv(1)  # byte by byte: what follows the head belongs to TLS
        if not byte or len(head) > 16384:
            raise Malformed("the proxy closed the connection")
        head += byte
    status = head.split(b" ", 2)[1:2]
    if not head.startswith(b"HTTP/1.") or not (status and status[0][:1] == b"2"):
        raise ProxyRefused(int(status[0]) if status and status[0].isdigit() else 0)
