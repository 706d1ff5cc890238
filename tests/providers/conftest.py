"""A test server for the room, and providers of every road to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine.providers import Provider
from mrengine.providers.call.retry import Caller, call
from mrengine.providers.connect import connect
from mrengine.providers.models.model import resolve_models
from mrengine.records import Completion, ModelSpec, Request
from mrengine.testing import LLMServer

ROADS = ["openai", "anthropic", "http:openai", "http:anthropic"]
KEY = "sk-canary-3141592653589793"


@pytest.fixture(scope="package")
def shared_server() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture
def server(shared_server: LLMServer) -> LLMServer:
    """The room's server, with no behaviour but the default's, and nothing counted."""
    shared_server.reset()
    return shared_server


Connect = Callable[..., Provider]


@pytest.fixture
def connected(server: LLMServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """connected(road, **spec) is a provider for the server; closed after the test."""
    opened: list[Provider] = []
    monkeypatch.setenv("CANARY", KEY)

    def make(road: str = "http:openai", *, name: str = "model-1", slots: int = 1, **spec: Any) -> Provider:
        base_url = spec.pop("base_url", server.root if "anthropic" in road else server.url)
        spec.setdefault("api_key_env", "CANARY")
        (model,) = resolve_models(ModelSpec(name, provider=road, base_url=base_url, **spec))
        opened.append(connect(model, slots=slots))
        return opened[-1]

    yield make
    for provider in opened:
        provider.close()


def ask(prompt: str = "Tell me.", **fields: Any) -> Request:
    """A request that a test has no wishes about."""
    return Request("model-1", prompt, **({"timeout_s": 10.0} | fields))


def persist(
    provider: Provider, prompt: str = "Tell me.", *, within_s: float = 10.0, on_retry: Any = None
) -> Completion:
    """A call through the retry loop, with short waits."""
    caller = Caller(on_retry=on_retry)
    return call(provider.complete, ask(prompt), deadline=time.monotonic() + within_s, backoff_s=0.02, caller=caller)


@pytest.fixture(scope="session")
def authority(require: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a private CA: ca.pem, and a server's cert.pem and key.pem for 127.0.0.1 that it has signed."""
    import subprocess

    folder: Path = tmp_path_factory.mktemp("tls")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for arguments in (
        ["req", "-x509", *curve, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=a private CA"],
        ["req", *curve, "-keyout", "key.pem", "-out", "server.csr", "-subj", "/CN=test"],
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-extfile", "names", "-out", "cert.pem"],
    ):  # fmt: skip
        subprocess.run([require("openssl"), *arguments], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def certificate(authority: Path) -> tuple[str, str]:
    """The server's certificate and its key."""
    return str(authority / "cert.pem"), str(authority / "key.pem")
