"""Fetches a ``Url``: one request per redirect, each to an approved address and within every limit.

The body goes to an unnamed temporary file first, so that ``timeout_s`` bounds the fetch however slowly it is read.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import IO, Any, NamedTuple
from urllib.parse import urljoin

from mrengine._version import __version__
from mrengine.errors import SourceError, UrlRefused
from mrengine.sources.tunnel import environment_proxy, open_tunnel
from mrengine.sources.urls import Target, Url, judged, parse, refused

__all__ = ["Fetched", "fetch"]

_BLOCK = 1 << 16
_BURST = 8  # fetches from one host that need not wait
_BUSY = frozenset({429, 503})
_RETRIES = 3  # of a request to a busy server, as long as ``timeout_s`` lasts
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TEXTS = re.compile(r"(text/.+|.+\+(xml|json|yaml)|application/(json|xml|xhtml|yaml|x-yaml|toml|sql|rtf|javascript|"
                    r"ecmascript|x-javascript|x-ndjson|ndjson|jsonl|x-jsonlines|jsonlines|csv|x-sh|x-tex|x-subrip|"
                    r"x-httpd-php|graphql|ld\+json|message|mbox|edi-x12|hl7-v2))")  # fmt: skip
_FILES = re.compile(r"application/(pdf|x-pdf|gzip|x-gzip|zstd|octet-stream|x-octet-stream|binary|dicom|msword|"
                    r"epub\+zip|vnd\.(openxmlformats-officedocument|apache)\..+)"
                    r"|binary/octet-stream|message/rfc822")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched body: an open file at its beginning, the server's media type and charset, and the last hop's path."""

    file: IO[bytes]
    media_type: str
    charset: str
    path: str


def fetch(url: Url) -> Fetched:
    """Fetch a URL. UrlRefused: by a rule of the guard; SourceError: a status other than 200, no connection, TLS."""
    deadline = _Deadline(url.timeout_s)
    target, first = parse(url.url), None
    for _ in range(int(url.max_redirects) + 1):
        first = first or target.origin
        # Headers may hold a key: they go to the origin that the caller named, and to no other on the way.
        answer = _hop(url, target, deadline, own=target.origin == first)
        if isinstance(answer, Fetched):
            return answer
        target = parse(answer)
    message = f"{parse(url.url).shown}: more than {url.max_redirects} redirects"
    raise UrlRefused(message, rule="redirects", url=target.shown)


def _hop(url: Url, target: Target, deadline: _Deadline, *, own: bool) -> Fetched | str:
    """One hop, repeated while the server is busy, after the wait that it names, or 1, 2, 4 s."""
    attempts = 0
    while True:
        if url.fetches_per_s:
            deadline.extend(_PACE.wait(target.host, url.fetches_per_s))
        answer = _request(url, target, deadline, own=own)
        if not isinstance(answer, _Busy):
            return answer
        wait_s = float(2**attempts) if answer.wait_s is None else answer.wait_s
        if attempts == _RETRIES or wait_s >= deadline.left(target):
            raise SourceError(answer.message, source=target.shown)
        attempts += 1
        time.sleep(wait_s)


class _Busy(NamedTuple):
    """A server that asks to be tried later; ``wait_s`` None: it does not say when."""

    message: str
    wait_s: float | None


class _Deadline:
    """The time that one fetch may take, all hops together."""

    def __init__(self, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s
        self._timeout_s = timeout_s

    def extend(self, waited_s: float) -> None:
        """Add time: a wait for our own limit does not count."""
        self._until += waited_s

    def left(self, target: Target) -> float:
        """The seconds left. UrlRefused: none are."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise refused(target.shown, f"not fetched within {self._timeout_s:g} s (timeout_s)", rule="timeout_s")
        return left


def _request(url: Url, target: Target, deadline: _Deadline, *, own: bool) -> Fetched | str | _Busy:
    """One request: the body, the place of a redirect, or Busy. ``own``: it is the origin that the headers are for."""
    try:
        sock = _connected(url, target, deadline)
        with sock:
            connection = http.client.HTTPConnection(target.host, target.port)
            connection.auto_open = 0  # it must not resolve the name again, which may have another address by now
            connection.sock = _Timed(sock, lambda: deadline.left(target))
            connection.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
            for name, value in _headers(url, target, own).items():
                connection.putheader(name, value)
            connection.endheaders()
            with connection.getresponse() as response:
                return _answer(url, target, response, deadline)
    except TimeoutError:
        deadline.left(target)  # raises, if the time of the whole is over; else it was one connection's share
        raise refused(target.shown, f"no answer within {url.timeout_s:g} s (timeout_s)", rule="timeout_s") from None
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or "the handshake failed"
        raise SourceError(f"{target.shown}: TLS: {why}", source=target.shown) from None
    except (OSError, http.client.HTTPException, zlib.error) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise SourceError(f"cannot fetch {target.shown}: {why}", source=target.shown) from None


def _headers(url: Url, target: Target, own: bool) -> dict[str, str]:
    headers = {
        "User-Agent": f"mrengine/{__version__}",
        "Accept": "text/html,application/xhtml+xml,text/*,application/pdf,application/json;q=0.9,*/*;q=0.5",
        **((url.headers or {}) if own else {}),
        "Host": target.authority,
        "Accept-Encoding": "gzip, deflate",
        "Connection": "close",
    }
    # http.client sends Latin-1; so a value in UTF-8 goes out byte by byte.
    return {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}


def _connected(url: Url, target: Target, deadline: _Deadline) -> socket.socket:
    """A connection to one of the judged addresses. A name that is resolved twice may have another address then."""
    places = judged(target, allow_private=url.allow_private, timeout_s=deadline.left(target))
    proxy = environment_proxy(target) if url.env_proxy else None
    failed: OSError | None = None
    for place, (family, address) in enumerate(places):
        share = deadline.left(target) / (len(places) - place)  # a dead address must leave time for the others
        try:
            if proxy is not None:
                sock = open_tunnel(proxy, str(address[0]), target.port, share)
            else:
                sock = socket.socket(family, socket.SOCK_STREAM)
                _connect(sock, address, share)
            return _secured(sock, target, deadline) if target.scheme == "https" else sock
        except ssl.SSLError:
            raise  # not the address's fault
        except OSError as error:
            failed = error
    assert failed is not None
    raise failed


def _connect(sock: socket.socket, address: tuple[Any, ...], timeout_s: float) -> None:
    try:
        sock.settimeout(timeout_s)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise


def _secured(sock: socket.socket, target: Target, deadline: _Deadline) -> socket.socket:
    """TLS by the name of the URL, whatever address the socket goes to."""
    try:
        sock.settimeout(deadline.left(target))
        return _tls().wrap_socket(sock, server_hostname=target.host.removesuffix("."))
    except BaseException:
        sock.close()
        raise


def _tls() -> ssl.SSLContext:
    # The variables of requests, curl and OpenSSL, as programs behind a company's proxy have them set.
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if not named:
        import certifi

        named = os.environ.get("SSL_CERT_FILE") or certifi.where()
    folder = os.path.isdir(named)
    context = ssl.create_default_context(capath=named) if folder else ssl.create_default_context(cafile=named)
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Timed:
    """A socket for ``http.client`` with one deadline for all its calls.

    A timeout for each call would let a server that sends a byte now and then hold the fetch for ever.
    """

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self._sock, self._left = sock, left

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._left))

    def close(self) -> None:
        """Do nothing: http.client closes as soon as it has the headers; ``_request`` closes after the body."""


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self._sock, self._left = sock, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._left())
        return self._sock.recv_into(buffer)


def _answer(url: Url, target: Target, response: http.client.HTTPResponse, deadline: _Deadline) -> Fetched | str | _Busy:
    where = response.getheader("Location")
    if response.status in _REDIRECTS and where:
        place = where.encode("latin-1").decode("utf-8", "replace")  # http.client reads headers as Latin-1
        return urljoin(f"{target.scheme}://{target.authority}{target.path}", place)
    if response.status != 200:
        message = f"{target.shown} answered {response.status} {http.client.responses.get(response.status, '')}"
        if response.status in _BUSY:
            return _Busy(message.rstrip(), _retry_after_s(response.getheader("Retry-After", "").strip()))
        raise SourceError(message.rstrip(), source=target.shown)
    media_type, charset = _media_type(response.headers)
    if media_type and not (_TEXTS.fullmatch(media_type) or _FILES.fullmatch(media_type)):
        message = f"{target.shown} has the type {media_type}, which cannot be read as text"
        raise UrlRefused(message, rule="content_type", url=target.shown)
    length = response.getheader("Content-Length", "")
    if length.isdigit() and int(length) > url.max_bytes:
        raise _too_large(url, target, f"it has {length} bytes")
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    try:
        for data in _decoded(url, target, response, deadline):
            file.write(data)
        if response.length:  # http.client says nothing about a body that ends too early
            raise http.client.IncompleteRead(b"", response.length)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return Fetched(file, media_type, charset, target.path.partition("?")[0])


def _retry_after_s(retry_after: str) -> float | None:
    """Seconds from "120" or an HTTP date (RFC 9110, 10.2.3); None: it says neither."""
    if retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _media_type(headers: http.client.HTTPMessage) -> tuple[str, str]:
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type, headers.get_content_charset("")


def _too_large(url: Url, target: Target, what: str) -> UrlRefused:
    return refused(target.shown, f"{what}, and at most {url.max_bytes} are taken (max_bytes)", rule="max_bytes")


def _decoded(url: Url, target: Target, response: http.client.HTTPResponse, deadline: _Deadline) -> Iterator[bytes]:
    """The body without its content coding, at most ``max_bytes`` as sent and as unpacked."""
    coding = response.getheader("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise SourceError(f"{target.shown} came in an unknown content coding", source=target.shown)
    inflate = _Inflate() if coding not in ("", "identity") else None
    received = unpacked = 0
    while data := response.read1(_BLOCK):
        deadline.left(target)
        received += len(data)
        if received > url.max_bytes:
            raise _too_large(url, target, "it has more bytes")
        while data:
            plain, data = (data, b"") if inflate is None else inflate.take(data)
            unpacked += len(plain)
            if unpacked > url.max_bytes:
                raise _too_large(url, target, "unpacked it has more bytes")
            yield plain
    if inflate is not None and not inflate.ended:
        raise zlib.error("cut off")


class _Inflate:
    """Unpacks gzip and "deflate", which servers send with and without the head of zlib, a block at a time.

    A block, so that a bomb meets ``max_bytes`` before it fills the memory.
    """

    def __init__(self) -> None:
        self._engine: Any = None

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Unpacked bytes, a block at most, and the packed ones that are left."""
        if self._engine is None or (self._engine.eof and data):  # gzip files may follow each other
            zlib_head = len(data) > 1 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._engine = zlib.decompressobj(47 if data[:1] == b"\x1f" or zlib_head else -15)
        plain = self._engine.decompress(data, _BLOCK)
        return plain, self._engine.unconsumed_tail or self._engine.unused_data

    @property
    def ended(self) -> bool:
        return self._engine is None or bool(self._engine.eof)


class _Pace:
    """A bucket of fetches for each host, shared by all threads of this process."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._full_at: dict[str, float] = {}  # when the bucket of a host would be full again

    def wait(self, host: str, per_s: float) -> float:
        """Wait for one's turn; returns the seconds waited."""
        with self._lock:
            now = self._clock()
            if len(self._full_at) > 10_000:  # full buckets need not be remembered
                self._full_at = {name: at for name, at in self._full_at.items() if at > now}
            full_at = max(now, self._full_at.get(host, now)) + 1 / per_s
            self._full_at[host] = full_at
        wait_s = max(0.0, full_at - now - _BURST / per_s)
        if wait_s:
            self._sleep(wait_s)
        return wait_s


_PACE = _Pace()
