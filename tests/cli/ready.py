"""Commands without the wait for their imports: a process that has them, and is forked for each command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

__all__ = ["ReadyProcess"]

# The child leaves the loop, and ends as any program does. What stands in sys.path is what ``-m`` puts there.
PROGRAM = """
import json, os, runpy, socket, sys
import mrengine.cli
channel = socket.socket(fileno=int(sys.argv[1]))
while True:
    asked, fds, _, _ = socket.recv_fds(channel, 1 << 20, 2)
    if not asked:
        sys.exit()
    pid = os.fork()
    if not pid:
        break
    for fd in fds:
        os.close(fd)
    channel.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
channel.close()
for number, fd in enumerate(fds, 1):
    os.dup2(fd, number)
    os.close(fd)
arguments, environment, folder = json.loads(asked)
os.environ.clear()
os.environ.update(environment)
os.chdir(folder)
sys.path[0], sys.argv[1:] = folder, arguments
runpy.run_module("mrengine", run_name="__main__", alter_sys=True)
"""


class ReadyProcess:
    """Runs ``python -m mrengine`` with arguments, one command at a time. Ends with ``close()``."""

    def __init__(self, pythonpath: str) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": pythonpath},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def run(
        self, arguments: tuple[str, ...], environment: dict[str, str], folder: Path, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """What it has written, and its exit code."""
        ends = [os.pipe(), os.pipe()]
        written = ["", ""]

        def read(number: int) -> None:
            with open(ends[number][0], encoding="utf-8") as file:
                written[number] = file.read()

        readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
        for reader in readers:
            reader.start()
        try:
            asked = json.dumps([arguments, environment, os.fspath(folder)]).encode()
            socket.send_fds(self._channel, [asked], [write_end for _, write_end in ends])
        finally:
            for _, write_end in ends:
                os.close(write_end)
        self._channel.settimeout(timeout_s)
        code = int(self._channel.recv(16))
        for reader in readers:
            reader.join()
        return subprocess.CompletedProcess(arguments, code, *written)

    def close(self) -> None:
        """A command that still runs is left to itself."""
        self._channel.close()
        self._process.wait(10)
