"""A reader of HTTP/1.1 responses: bytes in, one response out, no socket (RFC 9112).

::

    status line CRLF, field lines CRLF, CRLF, body

    1xx                     skipped, the real answer follows        (RFC 9110, 15.2)
    204, 304                no body
    transfer-encoding       chunked: size in hex [;ext] CRLF, data CRLF, … 0 CRLF, trailers, CRLF
    content-length          that many bytes
    neither                 until the connection closes
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import BinaryIO

__all__ = ["Malformed", "ResponseReader"]

MAX_HEAD = 64 * 1024
MAX_BODY = 16 * 1024 * 1024  # of JSON; an answer of 128,000 tokens is below 1 MB
MAX_FILE = 4 * 1024 * 1024 * 1024  # of a body that goes into a file: the answers of a whole batch
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")  # a bare LF ends a line, too (RFC 9112, 2.2)
_HEAD, _SIZED, _CHUNKED, _UNTIL_CLOSE, _DONE = range(5)


class Malformed(ConnectionError):
    """The answer is not HTTP/1.1, is too large, or ended too early. Its connection cannot be used any more."""


class ResponseReader:
    """Reads one response. After ``done``: ``status``, ``headers`` (names in lower case), ``body``, ``reusable``.

    ``into``: a file that takes the body of a success, of any size, in place of ``body``. ``on_data`` is given the parts
    of a body with status 200 as they come.
    """

    __slots__ = (
        "_buffer", "_into", "_need", "_on_data", "_parts", "_size", "_state", "body", "headers", "reusable", "status",
    )  # fmt: skip

    def __init__(self, into: BinaryIO | None = None, on_data: Callable[[bytes], None] | None = None) -> None:
        self._into, self._on_data = into, on_data
        self._buffer = b""
        self._state = _HEAD
        self._parts: list[bytes] = []
        self._size = 0
        self._need = -1
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.reusable = False

    @property
    def done(self) -> bool:
        return self._state == _DONE

    @property
    def started(self) -> bool:
        """Whether anything of the answer has come."""
        return self._state != _HEAD or bool(self._buffer) or self._size > 0

    def feed(self, data: bytes) -> bool:
        """Take the bytes that a socket gave; ``b""`` is its end. True when the response is complete. Malformed."""
        if not data:
            return self._at_end()
        if self._state == _HEAD:
            self._buffer += data
            if not self._read_head():
                return False
        elif self._state == _CHUNKED:
            self._buffer += data
        else:
            self._add(data)
        return self._advance()

    def _at_end(self) -> bool:
        if self._state == _UNTIL_CLOSE:
            return self._finish(b"".join(self._parts), reusable=False)
        if self._state != _DONE:
            raise Malformed("the connection was closed before the answer was complete")
        return True

    def _read_head(self) -> bool:
        while True:
            blank = _BLANK_LINE.search(self._buffer, 0, MAX_HEAD + 4)
            if blank is None:
                if len(self._buffer) > MAX_HEAD:
                    raise Malformed("the head of the answer is too large")
                return False
            lines = self._buffer[: blank.start()].decode("latin-1").replace("\r\n", "\n").split("\n")
            self._buffer = self._buffer[blank.end() :]
            self.status = _status(lines[0])
            if self.status >= 200:
                break
            if self.status == 101:
                raise Malformed("the server switched protocols")
        self.headers = _fields(lines)
        if self.status != 200 or self.headers.get("content-encoding", "identity").lower() != "identity":
            self._into = None  # errors and compressed bodies are small, and are held in memory
        self._choose_body(lines[0])
        return True

    def _choose_body(self, status_line: str) -> None:
        connection = self.headers.get("connection", "").lower()
        old = status_line.startswith("HTTP/1.0")
        self.reusable = "keep-alive" in connection if old else "close" not in connection
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if self.status in (204, 304):
            self._state, self._need = _SIZED, 0
        elif coding is not None:
            if coding.lower() != "chunked":
                raise Malformed("an unknown transfer coding")
            self._state, self._need = _CHUNKED, -1
            return
        elif length is not None:
            self._state, self._need = _SIZED, _length(length, MAX_BODY if self._into is None else MAX_FILE)
        else:
            self._state = _UNTIL_CLOSE
        rest, self._buffer = self._buffer, b""
        self._add(rest)

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > (MAX_BODY if self._into is None else MAX_FILE):
            raise Malformed("the answer is too large")
        if self._into is None:
            self._parts.append(data)
        else:
            self._into.write(data)
        if self._on_data is not None and data and self.status == 200 and "content-encoding" not in self.headers:
            self._on_data(data)

    def _advance(self) -> bool:
        if self._state == _CHUNKED:
            return self._read_chunks()
        if self._state == _SIZED and self._size >= self._need:
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            exact = self._size == self._need  # after surplus bytes, the connection is not trusted again
            if self._into is not None and not exact:
                self._into.truncate(self._need)
            return self._finish(body[: self._need], reusable=self.reusable and exact)
        return False

    def _read_chunks(self) -> bool:
        """``_need``: -1, a size line comes next; -2, the trailers; else the bytes left of a chunk with its CRLF."""
        buffer, at = self._buffer, 0
        while True:
            if self._need >= 0:
                end = at + self._need
                if len(buffer) < end:
                    break
                if buffer[end - 2 : end] != b"\r\n":
                    raise Malformed("a chunk does not end where it says")
                self._add(buffer[at : end - 2])
                at, self._need = end, -1
            end = buffer.find(b"\r\n", at)
            if end < 0:
                if len(buffer) - at > MAX_HEAD:
                    raise Malformed("a line of the answer is too long")
                break
            line, at = buffer[at:end], end + 2
            if self._need == -1:
                size = _chunk_size(line)
                self._need = size + 2 if size else -2
            elif not line:
                return self._finish(b"".join(self._parts), reusable=self.reusable and at == len(buffer))
        self._buffer = buffer[at:]
        return False

    def _finish(self, body: bytes, *, reusable: bool) -> bool:
        self._state = _DONE
        self._parts = []
        self.reusable = reusable
        self.body = _decoded(body, self.headers.get("content-encoding", "identity").lower())
        return True


def _status(line: str) -> int:
    version, _, rest = line.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit()):
        raise Malformed("the answer is not HTTP/1.1")
    return int(code)


def _fields(lines: list[str]) -> dict[str, str]:
    """The header fields. One that comes twice is joined by commas (RFC 9110, 5.2), unless both are equal."""
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        name, value = name.strip().lower(), value.strip()
        fields[name] = value if name not in fields or fields[name] == value else f"{fields[name]}, {value}"
    return fields


def _length(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) > most:  # int() refuses very long ones
        raise Malformed("a content length that cannot be")
    return int(text)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    try:
        size = int(digits, 16)
    except ValueError:
        size = -1
    if not 0 <= size <= MAX_BODY or digits[:1] in (b"+", b"-") or b"_" in digits:
        raise Malformed("a chunk size that cannot be")
    return size


def _decoded(body: bytes, encoding: str) -> bytes:
    """The plain body. We ask for no compression, but some proxies compress all the same."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Malformed("an unknown content coding")
    for wbits in (47, -15):  # gzip or zlib, by the first bytes; some servers' deflate lacks zlib's head
        inflate = zlib.decompressobj(wbits)
        try:
            plain = inflate.decompress(body, MAX_BODY)
        except zlib.error:
            continue
        if inflate.unconsumed_tail or not inflate.eof:
            raise Malformed("a compressed answer that is too large or cut off")
        return plain
    raise Malformed("a compressed answer that cannot be read")
