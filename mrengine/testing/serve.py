"""The test server's process: sockets, timers, and the pipes to the test that started it."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import sys
import time
from typing import Any, cast

from mrengine.testing.behaviour import Reply, Simulator
from mrengine.testing.llm_server import pack, unpack

__all__ = ["main"]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST, as a crashed server's kernel does


class _Server:
    """State shared by all connections."""

    def __init__(self) -> None:
        self.simulator: Simulator | None = None
        self.listener: asyncio.Server | None = None

    async def handle(self, what: str, argument: Any) -> Any:
        """Handle one message from the test."""
        if what == "start":
            self.simulator = Simulator(argument["behaviour"], time.monotonic())
            return await self._listen(argument["port"], argument["tls"])
        if self.simulator is None:
            return "error: not started"  # LLMServer raises what begins so
        if what == "reset":
            connections = self.simulator.counts.connections  # they stay open, and are not made again
            self.simulator = Simulator(argument, time.monotonic())
            self.simulator.counts.connections = connections
            return None
        if what == "requests":
            return self.simulator.requests
        if what == "advance":
            self.simulator.batches.advanced += argument
        if what in ("advance", "batches"):
            return self.simulator.batches.facts(time.monotonic())
        return self.simulator.counts.stats(time.process_time())

    async def _listen(self, port: int, tls: tuple[str, str] | None) -> Any:
        context = None
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
        loop = asyncio.get_running_loop()
        try:
            self.listener = await loop.create_server(
                lambda: _Connection(self), "127.0.0.1", port, ssl=context, backlog=4096
            )
        except OSError as error:
            return f"error: cannot listen on port {port}: {error.strerror}"
        return self.listener.sockets[0].getsockname()[1]


class _Connection(asyncio.Protocol):
    """One client connection. Its requests are answered in turn."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = b""
        self._busy = False
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._simulator().counts.connections += 1
        sock = transport.get_extra_info("socket")
        # Otherwise Nagle's algorithm holds the second part of an answer back for 40 ms, and latencies are wrong.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest()

    def _simulator(self) -> Simulator:
        if self._server.simulator is None:
            raise RuntimeError("not started")
        return self._server.simulator

    def _rest(self) -> None:
        self._idle = self._loop.call_later(self._simulator().behaviour.keep_alive_s, self._transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(headers.get("content-length", "0"))
        if len(self._buffer) < end + 4 + size:
            return  # more of the body is on its way
        body = self._buffer[end + 4 : end + 4 + size]
        self._buffer = self._buffer[end + 4 + size :]
        if self._idle is not None:
            self._idle.cancel()
        self._busy = True
        method, path = lines[0].split(" ")[:2]
        simulator = self._simulator()  # reset() may replace it before the reply is sent, which counts in the old one
        reply = simulator.decide(path, headers, body, time.monotonic(), method)
        close = headers.get("connection", "").lower() == "close"
        if reply.delay_s > 0:
            self._loop.call_later(reply.delay_s, self._reply, simulator, reply, close)
        else:
            self._reply(simulator, reply, close)

    def _reply(self, simulator: Simulator, reply: Reply, close: bool) -> None:
        if reply.digest:  # a request that was counted when it arrived; others were no calls to a model
            simulator.counts.left(time.monotonic(), reply.digest, reply.status, good=reply.good)
        if reply.ending == "hang" or self._transport.is_closing():
            return
        if reply.ending == "reset":
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
            return
        if reply.pace_s:  # event by event, so that a client can show the text while it is written
            self._pour(reply.data.split(b"\n\n"), reply, close)
            return
        if reply.data:
            self._transport.write(reply.data)
        self._replied(reply, close)

    def _pour(self, events: list[bytes], reply: Reply, close: bool) -> None:
        """Write a stream event by event."""
        if self._transport.is_closing():
            return
        if len(events) > 1:
            self._transport.write(events[0] + b"\n\n")
            self._loop.call_later(reply.pace_s, self._pour, events[1:], reply, close)
            return
        self._transport.write(events[0])
        self._replied(reply, close)

    def _replied(self, reply: Reply, close: bool) -> None:
        if reply.ending == "close" or close:
            self._transport.close()
            return
        self._busy = False
        self._rest()
        if self._buffer:
            self._next()  # a client may have sent its next request already


class _Control(asyncio.Protocol):
    """The pipe from the test. The kernel closes it however the test ends, and the server ends with it."""

    def __init__(self, server: _Server, gone: asyncio.Event) -> None:
        self._server, self._gone = server, gone
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data  # a pipe keeps no borders of messages
        while (message := unpack(self._buffer)) is not None:
            (what, argument), self._buffer = message
            task = asyncio.get_running_loop().create_task(self._answer(what, argument))
            self._tasks.add(task)  # the loop itself holds tasks only weakly
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, what: str, argument: Any) -> None:
        sys.stdout.buffer.write(pack(await self._server.handle(what, argument)))
        sys.stdout.buffer.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()


async def _serve() -> None:
    gone = asyncio.Event()
    server = _Server()
    await asyncio.get_running_loop().connect_read_pipe(lambda: _Control(server, gone), sys.stdin)
    await gone.wait()


def main() -> None:
    """Serve until standard input ends."""
    if sys.argv[1:]:
        sys.exit("usage: python -m mrengine.testing.serve: a child of LLMServer, which speaks to it on stdin")
    asyncio.run(_serve())
    os._exit(0)  # calls in flight are dropped, as they are when a server dies


if __name__ == "__main__":
    main()
