"""Keys never leave the environment of the processes: a whole job with one of each kind, and all that it leaves behind.

Every key holds the word canary. The server repeats what it was sent wherever a server can.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner, ModelSpec, collect
from mrengine.errors import ConfigError, JobFailed
from tests.providers.conftest import ROADS

ROOT = Path(__file__).parents[2]
KEYS = {
    "LAB_API_KEY": "sk-canary-of-the-lab-31415",
    "GATEWAY_TOKEN": "canary-of-the-gateway-92653",
    "OPENAI_API_KEY": "sk-canary-of-openai-58979",
    "ANTHROPIC_API_KEY": "sk-canary-of-anthropic-32384",
    "ANTHROPIC_AUTH_TOKEN": "canary-of-a-subscription-62643",
}
LITERAL = "canary-in-a-literal-header-38327"
PASSWORD = "canary-of-the-proxy-95028"


class Echo(BaseHTTPRequestHandler):
    """Answers, or refuses, as the prompt says, and repeats all that it was sent. It is its own proxy, too."""

    protocol_version = "HTTP/1.1"
    seen: list[str]

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        sent = " ".join(self.headers.values())
        type(self).seen.append(sent)
        key = self.headers.get("authorization", "").removeprefix("Bearer ") or self.headers.get("x-api-key")
        word = next(word for word in ("BAD", "AGAIN", "HTML", "GOOD") if word in body)
        if word == "AGAIN" and self.server.again.pop(body, True):  # type: ignore[attr-defined]
            self.server.again[body] = False  # type: ignore[attr-defined]
            self.reply(429, {"error": {"message": sent, "code": key, "type": key, "param": key}})
        elif word == "BAD":
            self.reply(
                400,
                {"error": {"message": sent + body, "code": key, "type": key, "param": self.headers.get("x-literal")}},
            )
        else:
            text = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}], "model": key}
            self.reply(200, {**text, "content": [{"type": "text", "text": "fine"}], "stop_reason": "end_turn"})

    def do_GET(self) -> None:
        self.reply(404, {"error": {"message": " ".join(self.headers.values())}})

    def reply(self, status: int, said: Any) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class EchoServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.handler = type("Handler", (Echo,), {"seen": []})
        self.again: dict[str, bool] = {}
        super().__init__(("127.0.0.1", 0), self.handler)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def arguments() -> bytes:
    """The command lines of all processes of this machine."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes())
        except OSError:
            continue  # it has ended
    return b"\n".join(found)


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete(f"Do this: {chunk.text}", max_tokens=5).text)


def own_error(chunk: Any, context: Any) -> str:
    raise ValueError(f"401 for {os.environ['LAB_API_KEY']}")


@pytest.mark.parametrize(
    "road", ["http:openai", *(pytest.param(road, marks=pytest.mark.system) for road in ROADS if road != "http:openai")]
)
def test_no_key_is_left_behind(
    road: str, echo: EchoServer, state_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Files, events, logs, results, failures, exceptions, reprs, arguments; and the server got the right ones."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)
    spec = ModelSpec(
        "m",
        provider=road,
        base_url=echo.root if "anthropic" in road else f"{echo.root}/v1",
        api_key_env="LAB_API_KEY",
        headers={"X-Gateway": "Bearer ${GATEWAY_TOKEN}", "X-Literal": LITERAL},
        proxy=f"http://user:{PASSWORD}@127.0.0.1:{echo.server_port}",
    )
    runner = MapReduceRunner(models=spec, workers=2, target_tokens=None, backoff_s=0.01, keep="always")
    shown: list[str] = [repr(spec), repr(runner)]
    argv: list[bytes] = []
    runner.on("*", lambda event: shown.append(repr(event)))
    runner.on("chunk:processed", lambda event: argv.append(arguments()))
    documents = [Document(f"d{number}", word) for number, word in enumerate(["GOOD", "AGAIN", "BAD", "GOOD 2"])]
    run = runner.run(documents, ask, collect, job_id="keys")
    assert (run.summary.processed_chunks, run.summary.failed_chunks) == (3, 1)
    shown += [repr(run), repr(list(run.results)), repr(run.failures), json.dumps(run.summary.to_dict())]
    for function in (own_error, ask):
        with pytest.raises(JobFailed) as caught:
            runner.run([Document("bad", "BAD")], function, collect, job_id=f"keys-{function.__name__}")
        shown += ["".join(traceback.format_exception(caught.value)), repr(vars(caught.value))]
        shown.append(repr(list(Job(f"keys-{function.__name__}").failures())))
    shown += [record.getMessage() for record in caplog.records if record.name.startswith("mrengine")]
    for text in shown:
        assert "canary" not in text
    assert argv
    assert all(b"canary" not in text for text in argv)
    files = [path for path in state_dir.rglob("*") if path.is_file()]
    assert len(files) >= 6
    assert [path for path in files if b"canary" in path.read_bytes()] == []
    sent = "\n".join(echo.handler.seen)  # type: ignore[attr-defined]
    for right in (KEYS["LAB_API_KEY"], KEYS["GATEWAY_TOKEN"], LITERAL):
        assert right in sent
    for foreign in (KEYS["OPENAI_API_KEY"], KEYS["ANTHROPIC_API_KEY"], KEYS["ANTHROPIC_AUTH_TOKEN"]):
        assert foreign not in sent
    gc.collect()


URLS = ["http://user:canary-password@127.0.0.1:1/v1#m", "http://canary-user@127.0.0.1:1/v1#m",
        "http://127.0.0.1:1/v1?key=canary-key#m", "http://user:canary-password@127.0.0.1:1/v1",
        "http://user:canary-password@127.0.0.1:x/v1#m", "https://user:canary-password@/v1#m"]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_a_password_in_an_address_is_refused_without_showing_it(url: str) -> None:
    """It belongs into headers= or api_key_env=, which the error says."""
    for given in (url, ModelSpec("m", base_url=url.partition("#")[0]), ModelSpec(url, provider="http")):
        with pytest.raises(ConfigError) as caught:
            MapReduceRunner(models=given, strategy="sequential").run("text", ask)
        assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_no_command_shows_a_key(echo: EchoServer, state_dir: Path, tmp_path: Path) -> None:
    """Neither what it prints nor its arguments; --debug neither."""
    environment = {**os.environ, **KEYS, "PYTHONPATH": str(ROOT), "OPENAI_BASE_URL": f"{echo.root}/v1"}
    environment["HTTP_PROXY"] = f"http://user:{PASSWORD}@127.0.0.1:{echo.server_port}"
    (tmp_path / "bad.txt").write_text("BAD")
    (tmp_path / "good.txt").write_text("GOOD")
    run = ["run", "good.txt", "bad.txt", "--prompt", "Do: $text", "--model", "gpt-4o-mini", "--json", "--debug"]
    commands = [run, ["models"], ["models", "--json"], ["jobs"], ["jobs", "--json"]]
    commands += [["run", "good.txt", "--prompt", "x", "--model", url] for url in URLS[:2]]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "mrengine", *command], cwd=tmp_path, env=environment, capture_output=True,
            text=True, check=False, timeout=60,
        )  # fmt: skip
        assert "canary" not in done.stdout + done.stderr
    assert KEYS["OPENAI_API_KEY"] in "\n".join(echo.handler.seen)  # type: ignore[attr-defined]
    assert all(b"canary" not in path.read_bytes() for path in state_dir.rglob("*") if path.is_file())
