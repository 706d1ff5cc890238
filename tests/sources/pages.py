"""A web server on loopback whose pages are functions, and names that resolve as a test says."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Page = Callable[[BaseHTTPRequestHandler], None]


class Site(ThreadingHTTPServer):
    """``pages``: what answers each path; ``seen``: (path, headers) of every request."""

    daemon_threads = True

    def __init__(self, pages: dict[str, Page], tls: ssl.SSLContext | None = None) -> None:
        self.pages, self.seen = pages, []  # type: ignore[var-annotated]
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server_port}"
        self.url = f"http{'s' * (tls is not None)}://{self.address}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        self.server.pages[self.path.partition("?")[0]](self)  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def site(pages: dict[str, Page], tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    server = Site(pages, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def page(body: bytes, kind: str | None = "text/plain", **headers: str) -> Page:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if kind is not None:
            handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirect(where: str, status: int = 302) -> Page:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", where)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


class Resolver:
    """Stands for ``socket.getaddrinfo``: each name has a list of answers, one a question; the last one stays."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self.names, self.asked = names, []  # type: ignore[var-annotated]

    def __call__(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        host = host.decode() if isinstance(host, bytes) else host
        self.asked.append(host)
        try:
            answers = self.names[host.removesuffix(".")]
        except KeyError:
            if host.replace(".", "").isdigit() or ":" in host:
                answers = [[host]]
            else:
                raise socket.gaierror(socket.EAI_NONAME, "no such name") from None
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, int(port or 0), 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port or 0)))
            for address in found
        ]
