"""The supervisor process: runs the pool, the log and the job, takes the host's requests, and notices the host's death.

It never runs user code, and has one thread whenever it forks. ``step()`` is the body of its one loop.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgpack

from mrengine import posix
from mrengine.backends.process import framing
from mrengine.backends.process.pool import FINISH_S, SHORT_S, ProcessPool
from mrengine.backends.process.preload import HostGone, preload, while_alive
from mrengine.backends.process.private_folder import SocketPlace
from mrengine.backends.process.selector import Selector
from mrengine.engine.protocol import LINE, NOTE, Message
from mrengine.errors import ConfigError, JobBusy, LogError
from mrengine.job.driver import Ended, OpenRequest, RoundRequest
from mrengine.job.round_driver import RoundDriver
from mrengine.worker.redact import describe, where

__all__ = ["HostConnection", "Supervisor", "main"]

MOST_NOTES = 10_000
BEAT_S = 1.0
LOOK_S = 0.5


class HostConnection:
    """The supervisor's end of the connection; implements :class:`mrengine.engine.protocol.Announcer` over a socket.

    It never blocks on the host. The newest durable offset replaces an older one that was not sent yet, and notes beyond
    a bound are dropped and counted. No outcome is lost by that: a slow host reads all of them from the log.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.write_fd = os.dup(fd)  # one that can be watched for room while the other is watched for frames
        self._reader = framing.FrameReader(fd)
        self._queue: deque[bytes] = deque()
        self.rest = memoryview(b"")  # of the frame that is being sent
        self._durable: int | None = None
        self._beat_at = 0.0
        self.dropped = 0
        self.broken = False

    def read(self) -> list[tuple[int, bytes]]:
        """Frames that the host has sent."""
        return self._reader.read()

    @property
    def ended(self) -> bool:
        """Whether the host has closed its end, or is gone."""
        return self._reader.ended or self.broken

    @property
    def waiting(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self.rest or self._queue or self._durable is not None)

    def durable(self, offset: int) -> None:
        self._durable = offset
        self.flush()

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        self._put(framing.frame(framing.NOTE, msgpack.packb([name, dict(fields)])))

    def line(self, packed: bytes) -> None:
        self._put(framing.frame(framing.LINE, packed))

    def _put(self, data: bytes) -> None:
        if len(self._queue) >= MOST_NOTES:
            self.dropped += 1
            return
        self._queue.append(data)
        self.flush()

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send what must not be dropped, behind the newest durable offset."""
        if self._durable is not None:
            self._queue.append(self._durable_frame())
        self._queue.append(framing.frame(kind, payload))
        self.flush()

    def _durable_frame(self) -> bytes:
        data = framing.frame(framing.DURABLE, struct.pack("<Q", self._durable))
        self._durable = None
        return data

    def note_dropped(self) -> None:
        """Report how many notes a slow host did not get."""
        if self.dropped:
            self.send(framing.NOTE, msgpack.packb(["notes:dropped", {"count": self.dropped}]))
            self.dropped = 0

    def beat(self) -> None:
        """Send a sign of life, at most one a second."""
        now = time.monotonic()
        if now - self._beat_at >= BEAT_S and not self.waiting:
            self._beat_at = now
            self._put(framing.frame(framing.BEAT))

    def flush(self) -> None:
        """Write as much as the socket takes."""
        while self.waiting and not self.broken:
            if not self.rest:
                self.rest = memoryview(self._queue.popleft() if self._queue else self._durable_frame())
            try:
                self.rest = self.rest[os.write(self.fd, self.rest) :]
            except BlockingIOError:
                return
            except OSError:
                self.broken = True


class Supervisor:
    """The loop. ``over``: the host has closed the session, or is gone and all that it had paid for is committed."""

    def __init__(self, fd: int, host: int) -> None:
        self._selector = Selector()
        self._connection = HostConnection(fd)
        self._sockets = SocketPlace()
        self._pool: ProcessPool | None = None
        self._rounds = RoundDriver(self._connection)
        self._inbox: list[tuple[int, bytes]] = []
        self._host, self._host_gone = host, False
        self._drain_s = 0.0
        self._look_at = 0.0
        self.over = False
        self._selector.watch(fd, self._on_connection)
        self._host_life = posix.open_pidfd(host)
        if self._host_life is not None:
            self._selector.watch(self._host_life, self._on_host_gone)
        if os.getppid() != host:
            self._on_host_gone()
        self._handlers: dict[int, Callable[[bytes], None]] = {
            framing.OPEN: self._on_open,
            framing.RESTART: self._on_restart,
            framing.APPEND: self._on_append,
            framing.SYNC: self._on_sync,
            framing.RUN: self._on_run,
            framing.EXTEND: self._on_extend,
            framing.STOP: self._on_stop,
            framing.FINISH: self._on_finish,
            framing.CLOSE: self._on_close,
        }

    def run(self) -> None:
        """Step until the session is over, then end every child and clean up."""
        try:
            while not self.over:
                self.step()
        finally:
            self.close()

    def step(self) -> None:
        """Wait for events, handle the host's requests, give the workers' messages to the engine, report to the host."""
        poll = self._selector.poll if self._pool is None else self._pool.poll
        messages = poll(self._rounds.wait_s(BEAT_S))
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            if os.getppid() != self._host:  # without a pidfd, nothing else reports it
                self._on_host_gone()
        inbox, self._inbox = self._inbox, []
        for kind, payload in inbox:
            self._dispatch(kind, payload)
        self._advance(messages)
        self.over = self.over or (self._host_gone and self._rounds.engine is None)
        self._connection.beat()
        self._keep_sending()
        if rest_s := self._rounds.rest_s():
            time.sleep(rest_s)

    def _dispatch(self, kind: int, payload: bytes) -> None:
        try:
            self._handlers[kind](payload)
        except (LogError, OSError) as error:
            self._log_failed(_log_error(error))

    def _keep_sending(self) -> None:
        """While something waits to be sent, wake up when the socket has room for it."""
        self._connection.flush()
        if self._connection.waiting and not self._connection.broken:
            self._selector.watch(self._connection.write_fd, self._on_room, write=True)
        else:
            self._selector.forget(self._connection.write_fd)

    def _on_room(self) -> list[Message]:
        self._connection.flush()
        return []

    # a round

    def _advance(self, messages: list[Message]) -> None:
        if self._rounds.engine is None:
            self._pass_on(messages)
            return
        try:
            ended = self._rounds.take(messages)
        except (LogError, OSError) as error:
            self._log_failed(_log_error(error))
            return
        if ended is not None:
            self._end_round(ended)

    def _end_round(self, ended: Ended) -> None:
        assert self._pool is not None
        # What still runs belongs to the round that is over: the next one would take its outcomes for its own.
        if self._rounds.in_flight or self._host_gone or ended.state == "log":
            self._pool.end_workers(SHORT_S)
        self._pass_on([*self._pool.poll(0.0), *self._pool.last_lines()])
        self._connection.note_dropped()
        self._connection.send(framing.END, msgpack.packb([ended.state, ended.facts]))

    def _pass_on(self, messages: list[Message]) -> None:
        """Pass on what matters to the host while there is no round."""
        for _, kind, _, _, payload in messages:
            if kind == LINE:
                self._connection.line(payload)
            elif kind == NOTE:
                self._connection.note(*msgpack.unpackb(payload))

    def _log_failed(self, error: LogError) -> None:
        """End the round, as the log takes no more, and report why. Nothing that was announced is lost."""
        self._rounds.engine = None
        if self._pool is not None:
            self._pool.end_workers()
        self._connection.send(framing.END, msgpack.packb(["log", error.facts]))

    # the host

    def _on_connection(self) -> list[Message]:
        self._inbox += self._connection.read()
        if self._connection.ended:
            self._selector.forget(self._connection.fd)
            self._on_host_gone()
        return []

    def _on_host_gone(self) -> list[Message]:
        """Start nothing new."""
        # Calls in flight are paid for: they have drain_s to end.
        if self._host_life is not None:
            self._selector.forget(self._host_life)
        if not self._host_gone:
            self._host_gone = True
            if self._rounds.job is not None:
                self._rounds.job.mark_draining(self._drain_s)
            self._rounds.stop("interrupted")
        return []

    def _on_open(self, payload: bytes) -> None:
        request = OpenRequest.unpack(payload)
        try:
            durable = self._rounds.open(request, host=self._host)
        except JobBusy as error:
            self._refuse("busy", str(error), pid=error.pid, draining=error.draining, drain_s=error.drain_s)
            return
        except (LogError, OSError) as error:
            self._refuse_log(_log_error(error))
            return
        with suppress(OSError):  # the Manager, which needs it, says why
            self._sockets.choose(request.folder)
        self._connection.send(framing.FOLDER, self._sockets.private.encode())  # whoever kills this process removes it
        # Before the imports below, which take a while: the host compares and cuts its documents meanwhile.
        self._report_opened(durable)
        if self._pool is None:
            self._pool = ProcessPool(request.workers, request.slots, self._selector, self._sockets)
        try:
            with while_alive(self._host):
                preload(request.kinds, request.modules, self._on_not_preloaded)
        except HostGone:
            self._on_host_gone()

    def _on_not_preloaded(self, module: str, why: str) -> None:
        self._connection.note("preload:failed", {"module": module, "error": why})

    def _refuse(self, why: str, message: str, **facts: Any) -> None:
        self._connection.send(framing.REFUSED, msgpack.packb({"why": why, "message": message, **facts}))

    def _refuse_log(self, error: LogError) -> None:
        self._refuse("log", **error.facts)

    def _on_restart(self, _payload: bytes) -> None:
        if self._rounds.job is not None:
            self._rounds.job.restart()

    def _on_append(self, payload: bytes) -> None:
        if self._rounds.job is not None:
            self._rounds.job.append(payload[0], payload[1:])

    def _on_sync(self, _payload: bytes) -> None:
        if self._rounds.job is None:
            return
        try:
            self._report_opened(self._rounds.job.log.commit())
        except LogError as error:  # of an APPEND before it, too: a log that failed once fails ever after
            self._refuse_log(error)

    def _report_opened(self, durable: int) -> None:
        self._connection.send(framing.OPENED, msgpack.packb({"durable": durable}))

    def _on_run(self, payload: bytes) -> None:
        request = RoundRequest.unpack(payload)
        assert self._pool is not None
        self._drain_s = request.settings.drain_s
        ended = self._rounds.play(request, self._pool)
        if ended is not None:
            self._end_round(ended)
        elif self._host_gone:
            self._rounds.stop("interrupted")

    def _on_extend(self, payload: bytes) -> None:
        self._rounds.extend(last=payload == b"\1")

    def _on_stop(self, payload: bytes) -> None:
        self._rounds.stop(payload.decode())

    def _on_finish(self, payload: bytes) -> None:
        """End the run: write its CLOSE record, and give the job's lock free."""
        if self._pool is not None:
            self._pool.forget_job()
        with suppress(LogError, OSError):  # its CLOSE is not in the log: the run counts as interrupted
            self._rounds.finish(payload)
        self._connection.send(framing.FINISHED)

    def _on_close(self, _payload: bytes) -> None:
        self.over = True

    @property
    def half_sent(self) -> bytes:
        """The rest of a frame that the host may have a part of."""
        return bytes(self._connection.rest)

    def close(self) -> None:
        """End every child, free the lock, remove the private folder."""
        if self._pool is not None:
            self._pool.close(SHORT_S if self._host_gone else FINISH_S)
        self._sockets.close()
        self._rounds.close()
        self._connection.flush()


def _log_error(error: LogError | OSError) -> LogError:
    """The LogError for an error that reaches the loop."""
    # An OSError here is about the job's files: all others are handled where they occur.
    if isinstance(error, LogError):
        return error
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    path = error.filename if isinstance(error.filename, str) else None
    message = f"the job's files cannot be read or written: {error.strerror or error}{f' ({path})' if path else ''}"
    return LogError(message, reason="full" if full else "io", path=path)


def main(fd: int, facts: dict[str, Any]) -> None:
    """Run the supervisor in its process, and end the process."""
    posix.reset_signals()
    posix.adopt_orphans()
    code = 0
    supervisor = None
    try:
        supervisor = Supervisor(fd, facts["host"])
        supervisor.run()
    except ConfigError as error:
        code = 1
        refusal = {"why": "config", "message": str(error), "setting": error.setting}
        with suppress(OSError):
            os.write(fd, framing.frame(framing.REFUSED, msgpack.packb(refusal)))
    except BaseException as error:  # noqa: BLE001  # whatever it is, the host must learn of it
        code = 70
        report = f"{where(error, own='/dev/null')}\n{describe(error)}".encode()
        try:
            os.set_blocking(fd, True)
            # The host reads on in the middle of a frame: the report must stand behind its end.
            half_sent = b"" if supervisor is None else supervisor.half_sent
            os.write(fd, half_sent + framing.frame(framing.CRASH, report))
        except OSError:
            pass  # the host is gone, too
    finally:
        os._exit(code)
