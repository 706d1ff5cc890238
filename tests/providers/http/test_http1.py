"""The reader of HTTP/1.1 answers: any cut of the bytes gives the same answer, and nonsense is refused."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.providers.http.http1 import MAX_BODY, Malformed, ResponseReader


def read(data: bytes, cuts: list[int] | None = None) -> ResponseReader:
    reader = ResponseReader()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    for start, end in zip(edges, edges[1:], strict=False):  # noqa: RUF007
        if start < end and not reader.done:
            reader.feed(data[start:end])
    return reader


def sized(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-A: 1\r\nx-a: 2\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%X;ext=1\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\nx-trailer: 1\r\n\r\n"


@given(st.binary(max_size=300), st.lists(st.integers(0, 1000), max_size=20), st.booleans())
def test_a_sized_answer_is_read_whatever_the_cuts(body: bytes, cuts: list[int], early_hints: bool) -> None:
    """Interim answers are skipped, names are lower case, a field that comes twice is joined."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" if early_hints else b""
    reader = read(interim + sized(body), cuts)
    assert reader.done
    assert (reader.status, reader.body, reader.reusable) == (200, body, True)
    assert reader.headers["x-a"] == "1, 2"


@given(st.binary(max_size=300), st.integers(1, 50), st.lists(st.integers(0, 1000), max_size=20))
def test_a_chunked_answer_is_read_whatever_the_cuts(body: bytes, size: int, cuts: list[int]) -> None:
    """Extensions and trailers are read over."""
    reader = read(chunked(body, size), cuts)
    assert reader.done
    assert (reader.body, reader.reusable) == (body, True)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_an_answer_that_ends_early_is_never_taken_for_one(body: bytes, data: st.DataObject) -> None:
    """Every proper prefix, followed by the end of the connection, is an error."""
    for whole in (sized(body), chunked(body, 7)):
        reader = read(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert not reader.done
        with pytest.raises(Malformed):
            reader.feed(b"")


@given(st.binary(max_size=400))
def test_noise_raises_nothing_but_malformed(noise: bytes) -> None:
    """Whatever comes, the reader answers with a response or with Malformed."""
    for data in (
        noise,
        b"HTTP/1.1 200 OK\r\n" + noise,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + noise,
    ):
        reader = ResponseReader()
        try:
            reader.feed(data)
            reader.feed(b"")
        except Malformed:
            pass


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """Neither length nor chunks: until close, and the connection is not used again."""
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\nab")
    reader.feed(b"cd")
    assert not reader.done
    assert reader.feed(b"")
    assert (reader.body, reader.reusable) == (b"abcd", False)


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_a_connection_is_kept_as_the_server_says(head: bytes, reusable: bool) -> None:
    """HTTP/1.1 keeps by default, 1.0 closes."""
    assert read(head + b"Content-Length: 1\r\n\r\nx").reusable is reusable


def test_unasked_bytes_end_the_trust_in_a_connection() -> None:
    """What follows an answer belongs to nobody."""
    reader = read(sized(b"abc") + b"HTTP/1.1 200 OK\r\n")
    assert reader.body == b"abc"
    assert not reader.reusable


def test_statuses_without_a_body_are_complete_at_once() -> None:
    """204 has none, whatever the fields say."""
    assert read(b"HTTP/1.1 204 No Content\r\n\r\n").done


def test_a_compressed_answer_is_unpacked() -> None:
    """Nobody asked for it; it is read all the same, unless it is cut off."""
    packed = gzip.compress(b"hello " * 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    assert read(head % len(packed) + packed).body == b"hello " * 100
    with pytest.raises(Malformed):
        read(head % (len(packed) - 9) + packed[:-9])


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    ],
)
def test_what_is_no_http_is_refused(data: bytes) -> None:
    """Each is told as Malformed, which is a ConnectionError."""
    with pytest.raises(Malformed):
        read(data)


def test_a_bare_line_feed_ends_a_line() -> None:
    """Small servers forget the CR; waiting for it would last until the call's deadline."""
    reader = ResponseReader()
    assert reader.feed(b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok")
    assert (reader.status, reader.body) == (200, b"ok")


def test_deflate_without_zlibs_head_is_unpacked() -> None:
    """What some servers mean by it."""
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(b"hello") + packer.flush()
    reader = ResponseReader()
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(body)
    assert reader.feed(head + body)
    assert reader.body == b"hello"


def test_many_small_chunks_take_time_in_proportion() -> None:
    """Ten times as many cost about ten times as much, not a hundred times."""

    def seconds(chunks: int) -> float:
        data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n"
        begun = time.process_time()
        assert ResponseReader().feed(data)
        return time.process_time() - begun

    assert min(seconds(100_000) for _ in range(3)) < 40 * min(seconds(10_000) for _ in range(3))
