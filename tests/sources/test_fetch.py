# ruff: noqa: E501
"""Fetching, from a server on loopback: the address that was judged and no other, within every limit."""

from __future__ import annotations

import gzip
import http.client
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, MapReduceRunner, Url, UrlRefused, read_source
from mrengine.errors import SourceError
from mrengine.sources import fetch, urls
from tests.sources.pages import Resolver, page, redirect, site

TEXT = b"The fever fell on Tuesday.\n" * 50


def text_of(url: str, **how: Any) -> str:
    return "".join(read_source(Url(url, allow_private=True, fetches_per_s=0, **how)))


def refused(url: str, **how: Any) -> str:
    with pytest.raises(UrlRefused) as caught:
        text_of(url, **how)
    return caught.value.rule


def upper(chunk: Any, context: Any) -> str:
    return chunk.text.strip().upper()


def test_a_page_is_fetched_as_it_is_asked_for() -> None:
    """Status, type, charset and content coding; headers go to the URL's own host."""
    umlauts = "Größe und Gewicht".encode("latin-1")
    html = b"<html><head><title>Fever</title></head><body><p>The fever fell on Tuesday.</p></body></html>"
    pages = {
        "/plain": page(TEXT),
        "/none": page(TEXT, None),
        "/gzip": page(gzip.compress(TEXT), "text/plain", Content_Encoding="gzip"),
        "/deflate": page(zlib.compress(TEXT), "text/plain", Content_Encoding="deflate"),
        "/raw": page(zlib.compress(TEXT)[2:-4], "text/plain", Content_Encoding="deflate"),
        "/latin": page(umlauts, "text/plain; charset=ISO-8859-1"),
        "/notes.txt.gz": page(gzip.compress(TEXT), "application/gzip"),
        "/page": page(html, "text/html; charset=utf-8"),
        "/missing": lambda handler: handler.send_error(404),
        "/broken": lambda handler: handler.send_error(500),
    }
    with site(pages) as server:
        for path in ("/plain?key=secret", "/none", "/gzip", "/deflate", "/raw", "/notes.txt.gz"):
            assert text_of(server.url + path, headers={"X-Key": "k"}) == TEXT.decode(), path
        assert text_of(server.url + "/latin") == "Größe und Gewicht"
        assert text_of(server.url + "/page").startswith("# Fever\n\nThe fever fell on Tuesday.")
        path, headers = server.seen[0]
        assert path == "/plain?key=secret"
        assert headers["Host"] == server.address
        assert headers["X-Key"] == "k"
        assert headers["User-Agent"].startswith("mrengine/")
        for path, status in (("/missing?key=secret", "404"), ("/broken", "500")):
            with pytest.raises(SourceError, match=status) as caught:
                text_of(server.url + path)
            assert "secret" not in str(caught.value)
    with pytest.raises(SourceError, match="cannot fetch"):  # nobody listens there any more
        text_of(server.url + "/plain")


def busy(status: int, *waits: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Busy once for each wait that it tells, "" for none; then the page."""
    left = list(waits)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if not left:
            return page(TEXT)(handler)
        wait = left.pop(0)
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        if wait:
            handler.send_header("Retry-After", wait)
        return handler.end_headers()

    return answer


def test_a_busy_server_is_asked_again_when_it_says_and_no_later_than_the_time_ends() -> None:
    """429 and 503, by seconds, a date or nothing; not for ever, and not beyond timeout_s."""
    waits: list[float] = []
    pages = {
        "/seconds": busy(429, "0", "0"),
        "/date": busy(503, "Wed, 21 Oct 2015 07:28:00 GMT"),
        "/silent": busy(503, "", "soon"),
        "/hour": busy(429, "3600"),
        "/ever": busy(429, *["0"] * 99),
    }
    with site(pages) as server, pytest.MonkeyPatch.context() as patched:
        patched.setattr(fetch.time, "sleep", waits.append)
        for path in ("/seconds", "/date", "/silent"):
            assert text_of(server.url + path) == TEXT.decode(), path
        assert waits == [0.0, 0.0, 0.0, 1.0, 2.0]
        for path, asked in (("/hour", 1), ("/ever", 4)):
            before = len(server.seen)
            with pytest.raises(SourceError, match="429"):
                text_of(server.url + path)
            assert len(server.seen) - before == asked


def test_the_own_network_is_refused_before_anything_is_sent() -> None:
    with site({"/": page(TEXT)}) as server, pytest.raises(UrlRefused, match="allow_private=True") as caught:
        "".join(read_source(Url(server.url)))
    assert caught.value.rule == "address"
    assert server.seen == []


def test_a_name_is_resolved_once_and_connected_to_where_it_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that says a public address first and loopback next gets nothing from loopback."""
    resolver = Resolver({"rebind.example.com": [["192.0.0.9"], ["127.0.0.1"]]})
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    monkeypatch.setattr(urls, "refusal", lambda address: "loopback" if address.is_loopback else None)
    asked: list[Any] = []

    def connect(sock: socket.socket, address: Any, timeout_s: float) -> None:
        asked.append(address)
        sock.close()
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(fetch, "_connect", connect)
    with site({"/": page(TEXT)}) as server:
        with pytest.raises(SourceError, match="Connection refused"):
            "".join(read_source(Url(f"http://rebind.example.com:{server.server_port}/")))
        assert asked == [("192.0.0.9", server.server_port)]
        assert resolver.asked == ["rebind.example.com"]
        with pytest.raises(UrlRefused) as caught:  # what it says now is judged now
            "".join(read_source(Url(f"http://rebind.example.com:{server.server_port}/")))
        assert caught.value.rule == "address"
        assert server.seen == []


def test_every_address_is_judged_and_a_dead_one_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad address among several refuses the host; among good ones the next is tried."""
    with site({"/": page(TEXT)}) as server:
        names = {"two.example.com": [["::1", "127.0.0.1"]], "mixed.example.com": [["127.0.0.1", "10.0.0.1"]]}
        monkeypatch.setattr(socket, "getaddrinfo", Resolver(names))  # type: ignore[arg-type]
        assert text_of(f"http://two.example.com:{server.server_port}/") == TEXT.decode()
        monkeypatch.setattr(urls, "refusal", lambda address: None if address.is_loopback else "private")
        with pytest.raises(UrlRefused, match=r"10\.0\.0\.1 is private"):
            "".join(read_source(Url(f"http://mixed.example.com:{server.server_port}/")))
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("where", "rule"),
    [
        ("http://10.0.0.1/", "address"),
        ("http://169.254.169.254/latest/", "address"),
        ("//[::ffff:10.0.0.1]/", "address"),
        ("http://inside.example.com/", "address"),
        ("file:///etc/passwd", "scheme"),
        ("ftp://example.com/", "scheme"),
        ("http://user:secret@example.com/", "userinfo"),
        ("http://167772161/", "address"),
        ("http://exam ple.com/", "syntax"),
        ("/again", "redirects"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_hop_of_a_redirect_is_judged(where: str, rule: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own server stands for a public one; all other addresses are judged as they are."""
    names = {"public.example.com": [["127.0.0.1"]], "inside.example.com": [["10.1.1.1"]]}
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(names))  # type: ignore[arg-type]
    judge = urls.refusal
    monkeypatch.setattr(urls, "refusal", lambda address: None if address.is_loopback else judge(address))
    with site(
        {"/": redirect("/next", status), "/next": redirect(where, status), "/again": redirect("/again", status)}
    ) as server:
        with pytest.raises(UrlRefused) as caught:
            "".join(read_source(Url(f"http://public.example.com:{server.server_port}/", fetches_per_s=0)))
        assert caught.value.rule == rule
        assert "secret" not in str(caught.value)
        assert len(server.seen) == (6 if rule == "redirects" else 2)


def test_headers_stay_with_their_host() -> None:
    """A redirect to another origin gets none of the caller's; back at home they are sent again."""
    with site({"/end": page(TEXT)}) as other, site({}) as server:
        server.pages.update({"/": redirect("/next"), "/next": redirect(f"{other.url}/end"), "/end": page(TEXT)})
        assert text_of(server.url, headers={"Authorization": "Bearer secret"}) == TEXT.decode()
        assert [headers.get("Authorization") for _, headers in server.seen] == ["Bearer secret"] * 2
        assert "Authorization" not in other.seen[0][1]
        assert text_of(server.url, max_redirects=2)
        assert refused(server.url, max_redirects=1) == "redirects"


def _endless(
    handler: BaseHTTPRequestHandler, *, data: bytes, chunked: bool, pause_s: float = 0.0, **headers: str
) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/plain")
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if chunked:
        handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            time.sleep(pause_s)
    except OSError:
        pass


def test_size_is_bounded_as_sent_and_as_unpacked() -> None:
    """By the length that is told, while it comes, behind a content coding, and in a packed file."""
    bomb = gzip.compress(b"0" * 20_000_000)
    twice = gzip.compress(bomb)
    pages = {
        "/told": page(b"x" * 5000),
        "/endless": lambda handler: _endless(handler, data=b"x" * 4096, chunked=False),
        "/chunked": lambda handler: _endless(handler, data=b"x" * 4096, chunked=True),
        "/coded": page(bomb, "text/plain", Content_Encoding="gzip"),
        "/file.gz": page(bomb, "application/gzip"),
        "/twice.gz": page(twice, "application/gzip", Content_Encoding="gzip"),
        "/within.gz": page(gzip.compress(twice), "application/gzip"),
    }
    with site(pages) as server:
        for path in pages:
            assert refused(server.url + path, max_bytes=100_000 if "/told" not in path else 4999) == "max_bytes", path
        assert len(text_of(server.url + "/told", max_bytes=5000)) == 5000
        assert len(text_of(server.url + "/coded")) == 20_000_000


def test_time_is_bounded_as_a_whole() -> None:
    """A silent server, one that drips its head, and one that drips its body are left all the same."""

    def drip_head(handler: BaseHTTPRequestHandler) -> None:
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(300):
                handler.wfile.write(b"X-%d: y\r\n" % number)
                time.sleep(0.05)
        except OSError:
            pass

    done = threading.Event()
    pages = {
        "/silent": lambda handler: done.wait(30),
        "/head": drip_head,
        "/body": lambda handler: _endless(handler, data=b"x", chunked=False, pause_s=0.05),
    }
    with site(pages) as server:
        try:
            for path in pages:
                began = time.process_time()
                assert refused(server.url + path, timeout_s=0.4) == "timeout_s", path
                assert time.process_time() - began < 5
        finally:
            done.set()


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("image/png", False), ("video/mp4", False), ("audio/mpeg", False), ("font/woff2", False), ("application/zip", False),
        ("application/x-executable", False), ("application/vnd.ms-excel", False), ("multipart/form-data", False), ("nonsense", False),
        ("text/markdown", True), ("TEXT/PLAIN; charset=utf-8", True), ("application/json", True), ("application/ld+json", True),
        ("application/x-ndjson", True), ("application/atom+xml", True), ("application/octet-stream", True), ("text/csv", True),
    ],
)  # fmt: skip
def test_types_of_which_no_text_is_made_are_refused(kind: str, taken: bool) -> None:
    with site({"/": page(TEXT, kind)}) as server:
        if taken:
            assert text_of(server.url) == TEXT.decode()
        else:
            assert refused(server.url) == "content_type"


def test_what_is_reported_to_be_text_and_is_none_is_refused(tmp_path: Path) -> None:
    """Whatever a server says of it; a body that ends too early is no document."""

    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.write(TEXT)

    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 2000
    exe = page(b"MZ" + bytes(range(256)) * 20, "text/html")
    gone = {
        "/exe.html": exe,
        "/cut": cut,
        "/half": page(gzip.compress(TEXT)[:-20], "text/plain", Content_Encoding="gzip"),
    }
    with site({"/": page(png), "/odd": page(TEXT, "text/plain", Content_Encoding="br"), **gone}) as server:
        for path, told in (
            ("/", "PNG"),
            ("/exe.html", "binary data"),
            ("/cut", "cannot fetch"),
            ("/half", "cannot fetch"),
            ("/odd", "content coding"),
        ):
            with pytest.raises(SourceError, match=told):
                text_of(server.url + path)


def test_tls_is_for_the_name_and_the_connection_for_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[[str], str]
) -> None:
    """SNI, certificate and Host are of the URL's name; the address is the judged one. A certificate of another fails."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    asked = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=x",
    ]
    files = ["-keyout", str(key), "-out", str(cert), "-addext", "subjectAltName=DNS:site.example.com"]
    subprocess.run([require("openssl"), *asked, *files], check=True, capture_output=True)
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(cert, key)
    names: list[Any] = []
    server_tls.sni_callback = lambda _sock, name, _context: names.append(name)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    hosts = {"site.example.com": [["127.0.0.1"]], "other.example.com": [["127.0.0.1"]]}
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(hosts))  # type: ignore[arg-type]
    with site({"/": page(TEXT)}, server_tls) as server:
        assert text_of(f"https://site.example.com:{server.server_port}/") == TEXT.decode()
        assert names == ["site.example.com"]
        assert server.seen[0][1]["Host"] == f"site.example.com:{server.server_port}"
        with pytest.raises(SourceError, match="TLS"):
            text_of(f"https://other.example.com:{server.server_port}/")


def test_a_proxy_of_the_environment_is_used_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """And then it is given the judged address, and no name to resolve for itself."""
    tunnels: list[str] = []

    def tunnel(handler: BaseHTTPRequestHandler) -> None:
        tunnels.append(handler.path)
        host, _, port = handler.path.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as there:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            there.sendall(handler.connection.recv(65536))
            while data := there.recv(65536):
                handler.wfile.write(data)

    monkeypatch.setattr("tests.sources.pages._Handler.do_CONNECT", tunnel, raising=False)
    with site({"/": page(TEXT)}) as server, site({}) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        monkeypatch.setenv("no_proxy", "")
        assert text_of(server.url) == TEXT.decode()
        assert tunnels == []
        assert text_of(server.url, env_proxy=True) == TEXT.decode()
        assert tunnels == [server.address]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert text_of(server.url, env_proxy=True) == TEXT.decode()
        assert len(tunnels) == 1


def test_fetches_from_one_host_are_spread_over_time() -> None:
    """A few at once, then at the pace; another host has its own."""
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    pace = fetch._Pace(lambda: now[0], sleep)
    for _ in range(12):
        pace.wait("a.example.com", 4.0)
    assert slept == [0.25] * 4
    pace.wait("b.example.com", 4.0)
    now[0] += 60
    pace.wait("a.example.com", 4.0)
    assert slept == [0.25] * 4


def test_urls_are_documents_of_a_job(state_dir: Path) -> None:
    """Named by their URL; one that is refused is a failure of its own; the job goes on without the network."""
    with site({"/a": page(TEXT), "/b": page(b"It rose again."), "/": page(b"x", "image/png")}) as server:
        wanted = [Url(f"{server.url}{path}", allow_private=True) for path in ("/a", "/b", "/")]
        runner = MapReduceRunner("pages", models="fake", strategy="sequential", on_source_error="skip")
        run = runner.run([*wanted, Document("own", Url(server.url + "/b"))], upper)
    assert [result.document_id for result in run.results] == [server.url + "/a", server.url + "/b"]
    assert run.results[1].result == "IT ROSE AGAIN."
    assert [type(error) for error in run.unread] == [UrlRefused, UrlRefused]
    assert [error.rule for error in run.unread] == ["content_type", "address"]  # type: ignore[attr-defined]
    again = runner.resume("pages", upper)
    assert [result.result for result in again.results] == [result.result for result in run.results]


def test_what_http_client_raises_never_leaves() -> None:
    """A server that speaks another protocol is a source that cannot be read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            for said in (b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n", b""):
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(said)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        for _ in range(3):
            with pytest.raises(SourceError, match="cannot fetch"):
                text_of(f"http://127.0.0.1:{port}/", timeout_s=10)
        thread.join(10)
    assert issubclass(http.client.BadStatusLine, http.client.HTTPException)
