"""The host's end of the process backend: requests and news over the connection to a supervisor."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgpack

from mrengine import posix
from mrengine.backends.process import framing
from mrengine.backends.process.supervisor_handle import SupervisorHandle, host_path
from mrengine.errors import ConfigError, JobBusy, LogError, SupervisorDied
from mrengine.job.driver import Durable, Ended, Note, OpenRequest, PrintedLine, RoundRequest, Update
from mrengine.job.local_driver import DRAIN_POLL_S, LOCK_WAIT_S

__all__ = ["ProcessDriver"]

OPEN_S = 60.0  # how long a supervisor may take to open a log


class ProcessDriver:
    """Implements :class:`mrengine.job.driver.Driver` with a supervisor and its pool."""

    # The supervisor is started at once, so that its imports overlap with reading and chunking.
    def __init__(self, *, drain_s: float) -> None:
        self._drain_s = drain_s
        try:
            self._wake_read, self._wake_write = os.pipe()
        except OSError as error:
            raise ConfigError(f"the supervisor cannot be started: {error}", setting="workers") from error
        # stop() may be called in any thread or signal handler. Only the thread that owns the connection may write a
        # frame to it, and a byte in this pipe wakes that.
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._waking = threading.RLock()  # a signal handler may come while its own thread holds it
        self._reason: str | None = None
        self._sent_reason: str | None = None
        self._early: list[tuple[int, bytes]] = []  # frames that came while another was awaited
        self._request, self._job_id = b"", ""
        try:
            self._supervisor = SupervisorHandle()
        except BaseException:
            self._close_pipe()
            raise

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        return self._supervisor.pid

    def begin(self, request: OpenRequest) -> None:
        self._reason = self._sent_reason = None
        self._request, self._job_id = request.pack(), request.job_id
        self._supervisor.send(framing.OPEN, self._request)

    def opened(self) -> int:
        began = time.monotonic()
        while True:
            kind, answer = self._await(framing.OPENED, framing.REFUSED)
            facts = msgpack.unpackb(answer)
            if kind == framing.OPENED:
                return int(facts["durable"])
            wait_s = LOCK_WAIT_S + max(self._drain_s, facts.get("drain_s", 0.0))
            if not (facts["why"] == "busy" and facts["draining"] and time.monotonic() - began < wait_s):
                raise _refusal(facts, self._job_id)
            time.sleep(DRAIN_POLL_S)  # the supervisor of a dead host commits what was paid for
            self._supervisor.send(framing.OPEN, self._request)

    def restart(self) -> None:
        self._supervisor.send(framing.RESTART)

    def _await(self, *kinds: int) -> tuple[int, bytes]:
        until = time.monotonic() + OPEN_S
        while time.monotonic() < until:
            frames = self._supervisor.receive(0.5)
            for at, frame in enumerate(frames):
                if frame[0] in kinds:
                    self._early += frames[at + 1 :]
                    return frame
                self._early.append(frame)
            if self._supervisor.gone:
                code = self._supervisor.returncode(wait_s=1.0)
                raise SupervisorDied(f"the supervisor ended too early (exit code {code}){self._crash_report()}")
        raise SupervisorDied(f"the supervisor did not answer for {OPEN_S:g} s")

    def _crash_report(self) -> str:
        for kind, payload in self._early:
            if kind == framing.CRASH:
                return ": " + payload.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return ""

    def append(self, kind: int, payload: bytes) -> None:
        self._supervisor.send(framing.APPEND, bytes([kind]) + payload)

    def sync(self) -> int:
        self._supervisor.send(framing.SYNC)
        return self.opened()

    def play(self, request: RoundRequest) -> None:
        self._supervisor.send(framing.RUN, replace(request, path=host_path()).pack())
        self._send_stop()

    def extend(self, *, last: bool) -> None:
        self._supervisor.send(framing.EXTEND, bytes([last]))

    def receive(self, timeout_s: float) -> list[Update]:
        frames = self._early or self._supervisor.receive(timeout_s, self._wake_read)
        self._early = []
        self._send_stop()
        updates = [item for frame in frames if (item := _update(*frame)) is not None]
        if not frames and self._supervisor.gone:
            updates.append(Ended("died", {"message": "the supervisor died"}))
        return updates

    def _send_stop(self) -> None:
        """Pass a stop on, from the thread that owns the connection."""
        if posix.readable((self._wake_read,), 0.0):  # eventlet's read would wait
            os.read(self._wake_read, 64)
        if self._reason is not None and self._sent_reason is None:
            self._sent_reason = self._reason
            self._supervisor.send(framing.STOP, self._reason.encode())

    def stop(self, reason: str) -> None:
        self._reason = self._reason or reason
        with self._waking:
            if self._wake_write < 0:
                return  # closed: the number may be another file's by now
            try:
                os.write(self._wake_write, b".")
            except BlockingIOError:
                pass  # it is awake already

    def finish(self, close: bytes) -> None:
        self._supervisor.send(framing.FINISH, close)
        self._await(framing.FINISHED)
        self._early = []

    def kill(self) -> None:
        self._supervisor.kill()

    def close(self) -> None:
        try:
            self._supervisor.close(wait_s=5.0)
        finally:
            self._close_pipe()

    def _close_pipe(self) -> None:
        with self._waking:
            pipe = self._wake_read, self._wake_write
            self._wake_read = self._wake_write = -1
            for fd in pipe:
                if fd >= 0:
                    os.close(fd)


def _refusal(facts: Mapping[str, Any], job_id: str) -> Exception:
    if facts["why"] == "config":
        return ConfigError(facts["message"], setting=facts["setting"])
    if facts["why"] == "busy":
        return JobBusy(facts["message"], job_id=job_id, pid=facts.get("pid"))
    ranges = [tuple(span) for span in facts.get("ranges", ())]
    return LogError(facts["message"], reason=facts["reason"], path=facts.get("path"), ranges=ranges)


def _update(kind: int, payload: bytes) -> Update | None:
    if kind == framing.DURABLE:
        return Durable(struct.unpack("<Q", payload)[0])
    if kind == framing.NOTE:
        return Note(*msgpack.unpackb(payload))
    if kind == framing.LINE:
        return PrintedLine(*msgpack.unpackb(payload))
    if kind == framing.END:
        return Ended(*msgpack.unpackb(payload))
    if kind == framing.CRASH:
        return Note("supervisor:crashed", {"report": payload.decode("utf-8", "replace")})
    return None
