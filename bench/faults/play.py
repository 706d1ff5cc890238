"""One program under one fault: start it, strike, start it again, count."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench.faults.cases import Case
from bench.faults.disk import Disk
from bench.faults.judge import Run, asked, judge, read_output
from bench.machine import ROOT
from bench.peers.registry import PEERS, environment
from bench.peers.work import answer_to
from bench.processes import MARK, end_all, new_mark
from mrengine.testing import LLMServer
from mrengine.testing.llm_server import Stats

__all__ = ["CALLS", "IN_FLIGHT", "play"]

CALLS, IN_FLIGHT = 60, 8
LATENCY_S = 0.1
TIMEOUT_S = 5.0  # of a call, which every tool is told
PATIENCE_S = 120.0


class Provider(LLMServer):
    """A model server that can refuse everything for a while."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._options = options
        self._past: list[Stats] = []

    def refuse(self, seconds: float) -> None:
        """Its counts begin anew twice: an answer from before the storm that is bought again after it is not seen."""
        for faults, pause in (({"429": 1.0}, seconds), ({}, 0.0)):
            self._past.append(self.stats())
            self.reset(**{**self._options, "faults": faults})
            time.sleep(pause)

    def refusals(self) -> dict[str, int]:
        """Requests refused, and those repeated before the time they were told, over all its phases."""
        phases = [*self._past, self.stats()]
        return {"refused": sum(one.rate_limited for one in phases), "early": sum(one.early for one in phases)}


class Program:
    """A tool's program, from its start to its end. Its output is read as it comes: it may be killed at any instant."""

    def __init__(self, command: list[str], extra: dict[str, str]) -> None:
        self.mark = new_mark()
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env={**environment(), **extra, MARK: self.mark},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while block := os.read(self.process.stdout.fileno(), 65536):
            self._output += block

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> str:
        """How it ended; it has ``PATIENCE_S``."""
        try:
            code = self.process.wait(max(0.0, PATIENCE_S - (time.monotonic() - self._began)))
        except subprocess.TimeoutExpired:
            end_all(self.mark)
            self.process.wait()
            return "never returned"
        return "returned" if code == 0 else f"exit code {code}"

    def kill(self, *, everything: bool) -> str:
        """SIGKILL, of the process that was started or of all."""
        if everything:
            end_all(self.mark)
        else:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return "killed"

    def seen(self, ended: str) -> Run:
        """What it has said until now."""
        self._reader.join(0.3)  # what was written is in the pipe; its end may be held by a process that lives on
        announced, answers = read_output(self._output.decode(errors="replace"))
        return Run(announced, answers, ended, time.monotonic() - self._began)


def play(name: str, case: Case, calls: int = CALLS) -> dict[str, Any]:
    """The counts of one tool under one fault; see :func:`bench.faults.judge.judge`."""
    calls = case.calls or calls
    options: dict[str, Any] = {"latency_s": LATENCY_S, "answer": answer_to, "record": 50 * calls, **case.server}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        Provider(rpm=case.rpm, **options) as server,
    ):
        state = Path(scratch) / "state"
        state.mkdir()
        disk = Disk(state, Path(scratch) / "disk") if case.on_disk else None
        command = [PEERS[name].interpreter, "-m", "bench.peers", name, "--url", server.url, "--state", str(state)]
        command += ["--calls", str(calls), "--in-flight", str(IN_FLIGHT), "--timeout-s", str(TIMEOUT_S)]
        command += ["--rpm", str(case.rpm)] if case.rpm else []
        extra = disk.environment if disk else {}
        programs = [Program(command, extra)]
        try:
            runs = [_first(programs[0], case, server, disk, calls)]
            before = len(server.requests())
            again = case.again and not _complete(runs[0], calls)
            if again:
                if disk is not None:
                    disk.mend()
                programs.append(Program(command, extra))
                runs.append(programs[1].seen(programs[1].wait()))
            return judge(
                runs,
                calls,
                bought_twice=server.stats().paid_twice,
                asked_again=asked(server.requests()[before:]) if again else [],
                **server.refusals(),
            )
        finally:
            for program in programs:
                end_all(program.mark)


def _first(program: Program, case: Case, server: Provider, disk: Disk | None, calls: int) -> Run:
    """The run that is struck."""
    if not case.strike:
        return program.seen(program.wait())
    _until_bought(server, program, case.at * calls)
    if case.strike == "storm":
        server.refuse(case.storm_s)
        return program.seen(program.wait())
    if disk is not None and "lie" in case.strike:
        disk.lie()
        _until_bought(server, program, (case.at + case.later) * calls)
    if disk is not None and case.strike == "full":
        disk.fill()
        return program.seen(program.wait())
    ended = program.kill(everything=case.strike != "host")
    run = program.seen(ended)
    if disk is not None and "power" in case.strike:
        disk.cut_power()
    return run


def _complete(run: Run, calls: int) -> bool:
    """The fault did not reach it: nobody would start it again."""
    return run.ended == "returned" and len(run.answers or {}) == calls


def _until_bought(server: Provider, program: Program, answers: float) -> None:
    until = time.monotonic() + PATIENCE_S
    while server.stats().ok < answers and not program.over and time.monotonic() < until:
        time.sleep(0.01)
