"""The HTTP client over real sockets: connections kept and lost, deadlines, proxies, TLS."""

from __future__ import annotations

import base64
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mrengine.errors import ConfigError, ModelError, ModelRefused, ModelUnavailable
from mrengine.providers.http import http1
from mrengine.providers.http.client import HttpClient, Response
from mrengine.providers.http.proxies import Route, resolve
from mrengine.testing import LLMServer
from tests.providers.conftest import ROADS, Connect, ask

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[socket.socket, int], None]


@contextmanager
def listening(serve: Serve) -> Iterator[str]:
    """A server of raw sockets: ``serve`` gets each connection and its number."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)
    stop = threading.Event()

    def accept() -> None:
        number = 0
        while not stop.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(10)
                try:
                    serve(sock, number)
                except OSError:
                    pass
            number += 1

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        stop.set()
        with closing(socket.create_connection(listener.getsockname())):
            pass
        thread.join()
        listener.close()


def request(sock: socket.socket) -> bytes:
    """Read one request with a small body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise OSError
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def post(client: HttpClient, body: bytes = b"{}", *, timeout_s: float = 5.0) -> Response:
    return client.send(client.head("POST", "/chat", {"x-key": "k"}), body, timeout_s=timeout_s)


def test_a_request_is_one_valid_http_message() -> None:
    """Path, host, headers, length and body are as RFC 9112 wants them."""
    got: list[bytes] = []

    def serve(sock: socket.socket, number: int) -> None:
        got.append(request(sock))
        sock.sendall(OK)

    with listening(serve) as url:
        client = HttpClient(url, route=Route())
        assert post(client, b'{"a": 1}').body == b"ok"
        client.close()
    host = url.removeprefix("http://").removesuffix("/v1").encode()
    assert got[0].startswith(b"POST /v1/chat HTTP/1.1\r\nHost: " + host + b"\r\n")
    assert b"x-key: k\r\nContent-Length: 8\r\n\r\n" in got[0]
    assert got[0].endswith(b'\r\n\r\n{"a": 1}')


def test_a_connection_is_used_again() -> None:
    """Ten calls, one connection."""
    numbers: list[int] = []

    def serve(sock: socket.socket, number: int) -> None:
        while True:
            request(sock)
            numbers.append(number)
            sock.sendall(OK)

    with listening(serve) as url:
        client = HttpClient(url, route=Route())
        for _ in range(10):
            post(client)
        client.close()
    assert numbers == [0] * 10


def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    """The end of an idle connection is seen before the next request, which takes a fresh one; nothing fails."""

    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(OK)

    with listening(serve) as url:
        client = HttpClient(url, route=Route())
        for _ in range(5):
            assert post(client).status == 200
            time.sleep(0.02)
        client.close()


def test_a_request_that_was_read_and_not_answered_is_not_sent_again() -> None:
    """On a kept connection too: only the retry loop, which asks the budget, may repeat it."""
    seen: list[int] = []

    def serve(sock: socket.socket, number: int) -> None:
        for _ in range(2):
            request(sock)
            seen.append(number)
            if len(seen) == 2:
                return
            sock.sendall(OK)

    with listening(serve) as url:
        client = HttpClient(url, route=Route())
        post(client)
        with pytest.raises(ConnectionError):
            post(client)
        client.close()
    assert seen == [0, 0]


def test_a_request_that_could_not_be_sent_is_sent_over_a_fresh_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server closes between our look and our write: it cannot have read it whole, so once more is safe."""
    numbers: list[int] = []

    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        numbers.append(number)
        if number == 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(OK)

    with listening(serve) as url:
        client = HttpClient(url, route=Route())
        post(client)
        time.sleep(0.05)
        monkeypatch.setattr("mrengine.providers.http.client._Connection.readable", lambda self: False)
        assert post(client, b"x" * 5_000_000).status == 200
        client.close()
    assert numbers == [0, 1]


def test_an_answer_that_comes_before_the_request_is_read_counts() -> None:
    """A server that says 413 and closes while we still send is heard."""

    def serve(sock: socket.socket, number: int) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        sock.recv(100_000_000)
        time.sleep(0.1)

    with listening(serve) as url:
        client = HttpClient(url, route=Route())
        try:
            status = post(client, b"x" * 30_000_000).status
        except ConnectionError:
            status = 413  # the kernel may drop what was received when it learns of the reset
        assert status == 413
        client.close()


def test_the_deadline_is_for_the_whole_call() -> None:
    """A server that sends a byte now and then does not stretch it."""

    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            sock.sendall(b"x")
            time.sleep(0.03)

    with listening(serve) as url:
        client = HttpClient(url, route=Route())
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            post(client, timeout_s=0.3)
        assert time.monotonic() - started < 2.5
        client.close()


def test_a_body_that_comes_long_after_its_head_is_waited_for() -> None:
    """Proxies send the head at once and the body when the model has thought: the call's own deadline counts."""

    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        time.sleep(0.8)
        sock.sendall(b"some")

    with listening(serve) as url:
        client = HttpClient(url, route=Route())
        head = client.head("POST", "/chat", {})
        assert client.send(head, b"{}", timeout_s=0.3, finish_s=60).body == b"some"
        client.close()  # this server closes after an answer: a second request must not meet that close
        with pytest.raises(TimeoutError):
            client.send(head, b"{}", timeout_s=0.1, finish_s=0.4)
        client.close()


def test_a_peer_that_is_gone_is_noticed_without_a_timeout() -> None:
    """The kernel asks it: nothing else tells a silent model from a pulled cable."""
    with listening(lambda sock, number: None) as url:
        client = HttpClient(url, route=Route())
        sock = client._dial(time.monotonic() + 5)._sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.close()


@pytest.mark.parametrize("road", ROADS)
def test_an_answer_that_has_begun_may_take_the_calls_own_time(road: str, connected: Connect) -> None:
    """On every road: it is paid for, and cutting it off buys it again."""

    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.8)
        sock.sendall(b'{"a": 1} ')

    with listening(serve) as url:
        provider = connected(road, base_url=url)
        with pytest.raises(ModelUnavailable, match="sent a body"):
            provider.complete(ask(timeout_s=0.3, finish_s=30.0))
        provider.close()


def answer_of(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def drip(sock: socket.socket, number: int) -> None:
    """An answer that comes byte by byte, and never whole."""
    request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(200):
        sock.sendall(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("road", ROADS)
def test_no_drip_stretches_a_call(road: str, connected: Connect) -> None:
    """Alike for every provider: an SDK's own timeout is for each read, ours for the call."""
    with listening(drip) as url:
        begun = time.monotonic()
        with pytest.raises(ModelUnavailable, match="in time"):
            connected(road, base_url=url).complete(ask(timeout_s=0.5))
        assert time.monotonic() - begun < 5  # what it drips takes 10


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("packed", [False, True])
def test_no_body_is_larger_than_what_we_hold(
    road: str, packed: bool, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that does not end, nor one that is small until it is unpacked."""
    monkeypatch.setattr(http1, "MAX_BODY", 1 << 20)
    sent: list[int] = []
    bomb = gzip.compress(b" " * (16 << 20))

    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        if packed:
            sock.sendall(answer_of(bomb).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1))
            return
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(64):
            sock.sendall(b" " * (1 << 20))
            sent.append(1)

    with listening(serve) as url, pytest.raises(ModelUnavailable, match="too large"):
        connected(road, base_url=url).complete(ask())
    assert len(sent) < 32


@pytest.mark.parametrize("road", ROADS)
def test_a_redirect_is_refused_and_takes_no_key_elsewhere(road: str, server: LLMServer, connected: Connect) -> None:
    """The error says what it is; the target never hears of us."""

    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nLocation: " + server.url.encode() + b"\r\n\r\n")

    with listening(serve) as url, pytest.raises(ModelRefused, match="redirects") as caught:
        connected(road, base_url=url).complete(ask())
    assert caught.value.scope == "model"
    assert server.stats().requests == 0


@pytest.mark.parametrize("road", ROADS)
def test_the_cause_of_a_lost_connection_is_named(road: str, connected: Connect) -> None:
    """Not the name of an SDK's error for all of them."""

    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(answer_of(b"{}")[:-1])

    with listening(serve) as url, pytest.raises(ModelUnavailable, match="closed before the answer was complete"):
        connected(road, base_url=url).complete(ask())


def test_a_header_with_a_line_break_is_refused() -> None:
    """Nobody smuggles a second header, or request, into a value."""
    client = HttpClient("http://127.0.0.1:1", route=Route())
    with pytest.raises(ValueError, match="line break"):
        client.head("POST", "/", {"x": "a\r\nb: c"})


@contextmanager
def proxy(requests: list[bytes], *, status: bytes = b"200 OK") -> Iterator[str]:
    """An HTTP proxy for plain requests and tunnels."""

    def serve(sock: socket.socket, number: int) -> None:
        head = request(sock)
        requests.append(head)
        method, target, _ = head.split(b" ", 2)
        host, _, port = target.partition(b":") if method == b"CONNECT" else target.split(b"/")[2].partition(b":")
        if not status.startswith(b"200"):
            sock.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n")
            return
        with socket.create_connection((host.decode(), int(port))) as upstream:
            if method == b"CONNECT":
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(head.replace(b"http://" + host + b":" + port, b"", 1))
            back = threading.Thread(target=pump, args=(upstream, sock))
            back.start()
            pump(sock, upstream)
            back.join()

    with listening(serve) as url:
        yield url.removesuffix("/v1")


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def tls_server(certificate: tuple[str, str]) -> Iterator[LLMServer]:
    with LLMServer(tls=certificate) as server:
        yield server


@pytest.mark.parametrize("road", ROADS)
def test_a_plain_request_goes_through_the_proxy(road: str, server: LLMServer, connected: Connect) -> None:
    """The proxy gets the whole URL and its password; the server answers."""
    requests: list[bytes] = []
    with proxy(requests) as url:
        provider = connected(road, proxy=url.replace("http://", "http://us%20er:pass@"))
        assert provider.complete(ask()).text
        provider.close()
    base = server.root if "anthropic" in road else server.url
    assert requests[0].startswith(b"POST " + base.encode())
    assert b"Basic " + base64.b64encode(b"us er:pass") in requests[0]


@pytest.mark.parametrize("road", ROADS)
def test_a_tls_request_goes_through_a_tunnel(
    road: str, tls_server: LLMServer, authority: Path, connected: Connect
) -> None:
    """The proxy sees CONNECT and no more; the private CA is trusted through verify."""
    requests: list[bytes] = []
    base = tls_server.root if "anthropic" in road else tls_server.url
    with proxy(requests) as url:
        provider = connected(road, base_url=base, proxy=url, verify=str(authority / "ca.pem"))
        assert provider.complete(ask("a secret")).text
        provider.close()
    assert requests[0].startswith(f"CONNECT 127.0.0.1:{tls_server.port}".encode())
    assert all(b"secret" not in data for data in requests)


@pytest.mark.parametrize("road", ROADS)
def test_tls_connections_are_kept_through_a_tunnel_and_without(
    road: str, tls_server: LLMServer, authority: Path, connected: Connect
) -> None:
    """A handshake for each call would cost more than the call: what TLS 1.3 sends afterwards ends no connection."""
    requests: list[bytes] = []
    base = tls_server.root if "anthropic" in road else tls_server.url
    with proxy(requests) as url:
        for more in ({}, {"proxy": url}):
            before = tls_server.stats().connections
            provider = connected(road, base_url=base, verify=str(authority / "ca.pem"), **more)
            for _ in range(5):
                provider.complete(ask())
            provider.close()
            assert tls_server.stats().connections - before == 1
    assert len(requests) == 1


@pytest.mark.parametrize("road", ROADS)
def test_the_proxy_of_the_environment_is_used_unless_excluded(
    road: str, server: LLMServer, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY and NO_PROXY, by the rules of requests, for every provider."""
    requests: list[bytes] = []
    with proxy(requests) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.delenv("no_proxy", raising=False)
        provider = connected(road)
        provider.complete(ask())
        provider.close()
        assert len(requests) == 1
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        connected(road).complete(ask())
        assert len(requests) == 1


@pytest.mark.parametrize("road", ROADS)
def test_an_unknown_authority_is_refused_and_named(road: str, tls_server: LLMServer, connected: Connect) -> None:
    """It is no transient failure: the error says what to do, and the model is of no use until then."""
    base = tls_server.root if "anthropic" in road else tls_server.url
    with pytest.raises(ModelRefused, match="REQUESTS_CA_BUNDLE") as caught:
        connected(road, base_url=base).complete(ask())
    assert caught.value.scope == "model"
    assert connected(road, base_url=base, verify=False).complete(ask()).text


@pytest.mark.parametrize("road", ROADS)
def test_a_certificate_for_another_host_is_reported_as_that(
    road: str, tls_server: LLMServer, authority: Path, connected: Connect
) -> None:
    """Its authority is trusted; to name another would not help."""
    base = (tls_server.root if "anthropic" in road else tls_server.url).replace("127.0.0.1", "localhost")
    with pytest.raises(ModelRefused, match="Hostname mismatch") as caught:
        connected(road, base_url=base, verify=str(authority / "ca.pem")).complete(ask())
    assert caught.value.scope == "model"
    assert "verify=" not in str(caught.value)


@pytest.mark.parametrize("road", ROADS)
def test_the_authorities_of_the_environment_are_trusted(
    road: str,
    tls_server: LLMServer,
    authority: Path,
    connected: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """REQUESTS_CA_BUNDLE, for every provider."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority / "ca.pem"))
    base = tls_server.root if "anthropic" in road else tls_server.url
    assert connected(road, base_url=base).complete(ask()).text


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(("status", "transient"), [("407", False), ("403", False), ("502", True)])
def test_a_proxy_that_makes_no_tunnel_is_reported_apart(
    road: str, status: str, transient: bool, tls_server: LLMServer, connected: Connect
) -> None:
    """A password that it wants ends the model at once; a server that it does not reach is tried again."""
    base = tls_server.root if "anthropic" in road else tls_server.url
    with proxy([], status=status.encode() + b" No") as url, pytest.raises(ModelError, match=status) as caught:
        connected(road, base_url=base, verify=False, proxy=url).complete(ask())
    assert (caught.value.transient, caught.value.sent) == (transient, False)
    assert caught.value.scope == ("chunk" if transient else "model")
    assert ("name and password" in str(caught.value)) is (status == "407")


@pytest.mark.parametrize("road", ROADS)
def test_a_proxy_that_wants_a_password_for_a_plain_request_is_reported(
    road: str, server: LLMServer, connected: Connect
) -> None:
    """Its 407 is no answer of the model's."""
    with proxy([], status=b"407 No\r\ncontent-length: 0") as url, pytest.raises(ModelRefused, match="proxy") as caught:
        connected(road, proxy=url).complete(ask())
    assert caught.value.scope == "model"


@pytest.mark.parametrize("road", ROADS)
def test_a_server_without_tls_is_reported_at_once(road: str, connected: Connect) -> None:
    """https:// where it should be http:// is a slip that no retry mends."""

    def serve(sock: socket.socket, number: int) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    with listening(serve) as url, pytest.raises(ModelRefused, match="does not speak TLS") as caught:
        connected(road, base_url=url.replace("http:", "https:")).complete(ask())
    assert (caught.value.scope, caught.value.sent) == ("model", False)


def test_a_proxy_that_cannot_be_used_is_a_config_error() -> None:
    """SOCKS is told early, without the password."""
    with pytest.raises(ConfigError, match="proxy") as caught:
        resolve("https://example.org", proxy="socks5://user:hunter2@127.0.0.1:1080")
    assert "hunter2" not in str(caught.value)


def test_a_missing_ca_file_is_a_config_error(tmp_path: object) -> None:
    """The path and the reason."""
    with pytest.raises(ConfigError, match="CA certificates"):
        resolve("https://example.org", verify=f"{tmp_path}/none.pem")


def test_one_tls_context_serves_all_connections() -> None:
    """It is what the workers share through the fork."""
    first, second = resolve("https://one.example"), resolve("https://two.example")
    assert first.tls is second.tls
    assert first.tls is not None
    assert first.tls.verify_mode is ssl.CERT_REQUIRED


def test_a_server_of_the_jobs_own_is_never_behind_a_proxy(server: LLMServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model's endpoint is on loopback, whatever HTTP_PROXY says; its key is sent."""
    from mrengine.providers.connect import connect
    from mrengine.providers.models.model import Model
    from mrengine.records import ModelSpec

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    server.reset(api_key="random")
    model = Model(0, "local", "local", "openai", "local", "local", ModelSpec("local"))
    provider = connect(model, endpoint=(server.url, "random"))
    assert provider.complete(ask()).text
    provider.close()
