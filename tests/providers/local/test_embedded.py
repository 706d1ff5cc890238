"""The embedded model itself: a real server process, real answers over the http provider."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mrengine import Document, MapReduceRunner, collect
from mrengine.errors import ConfigError, ContextOverflow
from mrengine.providers import Provider
from mrengine.providers.connect import connect
from mrengine.providers.local import embedded, model_file
from mrengine.providers.local.embedded import ModelServer
from mrengine.providers.models.model import resolve_models
from mrengine.records import Request
from tests.system.processes import pids

TEXT = (
    "The harbour committee of Porto Velho met on Monday. Its chair, Ana Duarte, said that the lighthouse would be "
    "closed for repairs. The next meeting is on Tuesday in Lisbon, together with the port authority."
)


@pytest.fixture(scope="module")
def model_path() -> Path:
    """The real model; fetched if need be. Skipped where that cannot be, but not in CI."""
    try:
        import xllamacpp  # noqa: F401

        return model_file.ensure()
    except (ImportError, ConfigError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server(model_path: Path) -> Iterator[ModelServer]:
    server = embedded.model_server("local")
    server.start()
    yield server
    server.stop()
    assert not server.alive


@pytest.fixture(scope="module")
def provider(server: ModelServer) -> Iterator[Provider]:
    (model,) = resolve_models("local")
    provider = connect(model, endpoint=server.address(), slots=2)
    yield provider
    provider.close()


def ask(prompt: str, **settings: Any) -> Request:
    return Request("local", prompt, **{"max_tokens": 40, **settings})


def call(address: tuple[str, str], path: str, key: str | None) -> int:
    """Status of a plain request."""
    url = urlsplit(address[0])
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("POST", path, json.dumps({"messages": [], "max_tokens": 1}), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_answers_from_the_text(provider: Provider) -> None:
    """A fact that only the text has, with the tokens counted; greedy, so the same again."""
    answer = provider.complete(ask(f"{TEXT}\n\nIn which city is the next meeting?"))
    assert "Lisbon" in answer.text
    assert answer.usage.input_tokens > 40
    assert 0 < answer.usage.output_tokens <= 40
    assert provider.complete(ask(f"{TEXT}\n\nIn which city is the next meeting?")).text == answer.text


def test_one_sentence_summary_of_a_paragraph_is_sound(provider: Provider) -> None:
    """The main job's call: names of the text are in it, and no loop."""
    text = provider.complete(ask(f"Summarize the following text in one sentence.\n\n{TEXT}", max_tokens=80)).text
    assert any(name in text for name in ("Porto Velho", "Lisbon", "lighthouse"))
    words = text.split()
    assert max(words.count(word) for word in words) < len(words) / 2


def test_prompt_beyond_the_window_is_reported(provider: Provider) -> None:
    """The server's own refusal becomes a ContextOverflow; nothing is cut silently."""
    with pytest.raises(ContextOverflow):
        provider.complete(ask("word " * (embedded.CONTEXT_WINDOW + 100)))


def test_nothing_is_answered_without_the_key(server: ModelServer) -> None:
    """Other users of this machine can reach the port, but not the model."""
    address = server.address()
    assert call(address, "/v1/chat/completions", None) == 401
    assert call(address, "/v1/chat/completions", "guess") == 401
    assert call(address, "/v1/chat/completions", address[1]) == 200


def test_listens_on_loopback_only_and_hides_the_key(server: ModelServer) -> None:
    """The key is in no argument, environment or repr."""
    url, key = server.address()
    assert url.startswith("http://127.0.0.1:")
    proc = Path(f"/proc/{server.pid}")
    assert key.encode() not in (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
    assert key not in repr(server)
    port = int(url.rsplit(":")[-1].split("/")[0])
    listening = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    mine = [line[1] for line in listening if line[3] == "0A" and line[1].endswith(f":{port:04X}")]
    assert mine == [f"0100007F:{port:04X}"]


def test_started_again_at_the_same_address(model_path: Path) -> None:
    """After a SIGKILL: clients go on with what they know."""
    server = embedded.model_server("local")
    server.start()
    try:
        before = server.address()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while server.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not server.alive
        server.start()
        assert server.address() == before
        assert call(before, "/v1/chat/completions", before[1]) == 200
    finally:
        server.stop()


def test_ends_with_the_process_that_started_it(model_path: Path) -> None:
    """Its parent is killed while another process holds a copy of the pipe: it must not live on."""
    code = (
        "import os, sys, time\n"
        "from mrengine.providers.local import embedded as local\n"
        "server = local.model_server('local'); server.start(); server.address()\n"
        "if os.fork() == 0:\n"
        "    time.sleep(30); os._exit(0)\n"
        "print(server.pid, flush=True); time.sleep(30)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline, "the model server outlived its parent"
            time.sleep(0.01)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()


def test_broken_file_is_named_with_llama_cpps_own_reason(tmp_path: Path, model_path: Path) -> None:
    """The head of a model file is not a model."""
    broken = tmp_path / "broken.gguf"
    with model_path.open("rb") as whole:
        broken.write_bytes(whole.read(100_000))
    server = embedded.model_server(f"local:{broken}")
    server.start()
    with pytest.raises(ConfigError, match=r"broken\.gguf cannot be served: .*(gguf|load)"):
        server.address()
    assert not server.alive


def test_child_that_dies_before_it_answers_is_an_error(tmp_path: Path) -> None:
    """Not a wait without end."""
    server = ModelServer(tmp_path / "none.gguf", alias="none", context_window=8, executable="/bin/false")
    server.start()
    with pytest.raises(ConfigError, match="its process ended"):
        server.address()
    with pytest.raises(ConfigError, match="was not started"):
        server.address()


def test_wait_for_the_server_is_bounded(tmp_path: Path) -> None:
    """A child that says nothing is ended."""
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 30\n")
    silent.chmod(0o755)
    server = ModelServer(tmp_path / "none.gguf", alias="none", context_window=8, executable=str(silent))
    server.start()
    with pytest.raises(ConfigError, match=r"within 0\.2 s"):
        server.address(timeout_s=0.2)
    assert not server.alive


def test_no_more_threads_than_cpus() -> None:
    """Threads that take turns on one CPU are slower than one."""
    assert 1 <= embedded.threads() <= min(len(os.sched_getaffinity(0)), embedded.MOST_THREADS)


@pytest.mark.system
def test_a_job_goes_on_when_its_model_dies(model_path: Path, state_dir: Path) -> None:
    """Its server is killed in the middle: it is started again, and every chunk has its answer."""
    killed: list[int] = []

    def kill(event: object) -> None:
        if not killed:
            killed.extend(pid for pid in pids() if b"server_main.py" in read(pid, "cmdline") and mine(pid))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    def mine(pid: int) -> bool:
        return f"MRENGINE_STATE_DIR={state_dir}".encode() in read(pid, "environ")

    runner = MapReduceRunner(models="local", workers=2, target_tokens=None, backoff_s=0.2)
    runner.on("chunk:processed", kill)
    documents = [Document(f"d{number}", f"The car number {number} is red.") for number in range(12)]
    run = runner.run(documents, ask_for_a_word, collect)
    assert len(killed) == 1
    assert (run.summary.processed_chunks, run.summary.failed_chunks) == (12, 0)


def ask_for_a_word(chunk: Any, context: Any) -> str:
    prompt = f"Answer in one word. What colour is it? {chunk.text}"
    return str(context.complete(prompt, max_tokens=6, on_truncation="allow").text)


def read(pid: int, name: str) -> bytes:
    """A file of /proc; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
