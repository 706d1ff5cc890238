"""The model server's process: a script that needs only the standard library and xllamacpp.

It reads one line of JSON from stdin (the order), answers with one on stdout (``{"url", "port"}`` or ``{"error"}``), and
serves until stdin ends: when the process that started it stops it, or dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

HTTP_THREADS = 64  # each keep-alive connection occupies one, and every slot of every worker has a connection


def main() -> None:
    """Serve, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the host, which stops this process when it is done
    order = json.loads(sys.stdin.buffer.readline())
    _die_with(order["parent"])
    sys.path[:] = order["sys_path"]
    answers, noise = _quiet()
    # Threads that wait for each other sleep. The default, spinning, starves on CPUs that others use too: beside two
    # busy processes on two CPUs, 40 tokens took 82 s instead of 12 s.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        server = _serve(order)
        url = server.listening_address
    except BaseException as error:  # noqa: BLE001  # whatever it is, it goes to the parent
        _answer(answers, {"error": _reason(error, noise)})
        os._exit(1)
    _answer(answers, {"url": url + "/v1", "port": int(url.rpartition(":")[2])})
    _silence()
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)  # llama.cpp's own shutdown would wait for the call in flight


def _serve(order: dict[str, Any]) -> Any:
    """llama.cpp's server: one slot, no web page, no listing or cache of prompts, nothing without the key."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["path"]
    params.hostnames = ["127.0.0.1"]
    params.port = order["port"]
    params.api_keys = [order["key"]]
    params.model_alias = {order["alias"]}
    params.n_ctx = order["context_window"]
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
    params.n_threads_http = HTTP_THREADS
    params.cache_prompt = False  # an answer must not depend on the call before it
    params.cache_ram_mib = 0
    params.use_jinja = True  # the chat template in the model's file
    params.ui = params.endpoint_slots = params.endpoint_metrics = params.endpoint_props = params.show_timings = False
    params.cors_origins = params.cors_methods = params.cors_headers = ""
    params.fit_params = params.warmup = False
    params.verbosity = 1  # errors
    for name, value in order["sampling"].items():
        setattr(params.sampling, name, value)
    return xllamacpp.Server(params)


def _die_with(parent: int) -> None:
    """End with the parent (Linux), even if another process holds a copy of the other end of stdin."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _quiet() -> tuple[int, int]:
    """Reserve stdout for the answer, and send llama.cpp's output to a temporary file. The descriptors of both."""
    import tempfile

    answers = os.dup(1)
    with tempfile.TemporaryFile() as file:
        noise = os.dup(file.fileno())
    os.dup2(noise, 1)
    os.dup2(noise, 2)
    return answers, noise


def _silence() -> None:
    """Discard all output from now on: llama.cpp might print parts of a request."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _answer(fd: int, answer: dict[str, Any]) -> None:
    os.write(fd, json.dumps(answer).encode() + b"\n")
    os.close(fd)


def _reason(error: BaseException, noise: int) -> str:
    """Why the server cannot start: the first error that llama.cpp printed says more than its exception."""
    if isinstance(error, ImportError):
        if "libgomp" in str(error):
            return "the library libgomp is missing: apt-get install libgomp1"
        return f"xllamacpp cannot be imported ({error}): pip install 'mrengine[local]'"
    printed = os.pread(noise, 65536, 0).decode(errors="replace").splitlines()
    lines = [line.partition(" E ")[2].strip() for line in printed if " E " in line]
    return lines[0] if lines else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
