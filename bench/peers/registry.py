"""Which tools there are, what each needs, and the command that runs its program."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec

from bench.machine import ROOT

__all__ = ["PEERS", "Peer", "environment", "missing"]


@dataclass(frozen=True, slots=True)
class Peer:
    """``module``: what must be importable. ``python``: the variable that names another interpreter for it. ``keeps``:
    whether it says that it continues after a crash. ``told``: whether it can be told the provider's limit.
    """

    module: str
    package: str
    about: str
    keeps: bool
    told: bool
    python: str | None = None

    @property
    def interpreter(self) -> str:
        return os.environ.get(self.python, sys.executable) if self.python else sys.executable


PEERS = {
    "mrengine": Peer("mrengine", "mrengine", "2 workers of 4 slots", True, True),
    "threads and a JSONL file": Peer(
        "openai", "openai", "the script one writes by hand: SDK, thread pool, limiter, a line a result", True, True
    ),
    "asyncio and the SDK": Peer("openai", "openai", "gather and a semaphore, nothing kept", False, False),
    "async-batch-llm": Peer(
        "async_batch_llm", "async-batch-llm", "process_stream, JSONL checkpoint with fsync", True, True
    ),
    "DBOS": Peer("dbos", "dbos", "a queue of one-step workflows on SQLite", True, True),
    "litellm": Peer("litellm", "litellm", "Router in threads, nothing kept", False, True),
    "LangChain": Peer("langchain_openai", "langchain-openai", "batch_as_completed, nothing kept", False, True),
    "curator": Peer(
        "bespokelabs.curator", "bespokelabs-curator", "its cache folder", True, True, python="BENCH_CURATOR_PYTHON"
    ),
}


@lru_cache
def missing(name: str) -> str | None:
    """Why a tool cannot run here; None if it can."""
    peer = PEERS[name]
    if peer.python and os.environ.get(peer.python):
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({peer.module!r}) is None)"
        done = subprocess.run([peer.interpreter, "-c", code], check=False, capture_output=True)
        return None if done.returncode == 0 else f"{peer.package} is not installed for {peer.python}"
    try:
        found = find_spec(peer.module) is not None
    except ModuleNotFoundError:
        found = False
    if found:
        return None
    own = (
        f" (it pins old versions of the SDKs: give it a venv of its own, named by {peer.python})" if peer.python else ""
    )
    return f"{peer.package} is not installed{own}"


def environment() -> dict[str, str]:
    """For programs: no telemetry, no proxy between a client and loopback, the sources found from anywhere."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "NO_PROXY": "127.0.0.1",
        "OPENAI_API_KEY": "none",
        "TELEMETRY_ENABLED": "0",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **_vocabularies(),
    }


@lru_cache
def _vocabularies() -> dict[str, str]:
    """Where tiktoken finds what it would download: peers load it by themselves."""
    from mrengine.chunking.tokens import tokenizer

    folder = tokenizer.cache_folder()
    tokenizer.load("cl100k_base")
    return {"TIKTOKEN_CACHE_DIR": str(folder)} if folder else {}
