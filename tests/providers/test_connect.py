"""What is imported before the fork, and what is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, threading
from mrengine.providers.connect import preload
from mrengine.providers.models.model import resolve_models
preload(sys.argv[1].split(","))
heavy = ("openai", "anthropic", "requests", "httpx2", "numpy", "pydantic", "tiktoken", "rich", "click")
tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
print(threading.active_count(), tasks, *(name for name in heavy if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("kinds", "wanted", "unwanted"),
    [
        ("http", set(), {"openai", "anthropic", "requests", "httpx2", "numpy", "pydantic", "tiktoken"}),
        ("fake,local,custom", set(), {"openai", "anthropic", "requests", "httpx2", "numpy", "pydantic", "tiktoken"}),
        ("requests,tls", {"requests"}, {"openai", "anthropic", "httpx2", "numpy"}),
        ("openai,tls", {"openai"}, {"anthropic", "requests", "numpy", "tiktoken"}),
        ("anthropic", {"anthropic"}, {"openai", "requests", "numpy", "tiktoken"}),
    ],
)
def test_only_what_is_needed_is_imported_and_no_thread_is_left(
    kinds: str, wanted: set[str], unwanted: set[str]
) -> None:
    """The supervisor must be able to fork afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kinds], capture_output=True, text=True, check=True, timeout=60
    )
    threads, tasks, *modules = done.stdout.split()
    assert (threads, tasks) == ("1", "1")
    assert wanted <= set(modules)
    assert not unwanted & set(modules)


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("openai", "anthropic", "httpx2", "rich", "click", "pydantic"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import time
from mrengine.providers.connect import connect, preload
from mrengine.providers.models.model import resolve_models
from mrengine.providers.call.retry import call
from mrengine.records import Request
preload(["openai", "anthropic", "http"])
(model,) = resolve_models(sys.argv[1] + "#any")
print(call(connect(model).complete, Request("any", "hi"), deadline=time.monotonic() + 10).finish_reason)
"""


def test_http_works_without_any_sdk(server: object) -> None:
    """Neither openai nor anthropic nor what they need is missed."""
    url = server.url  # type: ignore[attr-defined]
    done = subprocess.run([sys.executable, "-c", WITHOUT, url], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "stop", done.stderr


FORKED = """
import os, sys, time
from mrengine.providers.connect import connect, preload
from mrengine.providers.models.model import resolve_models
from mrengine.records import ModelSpec, Request
(model,) = resolve_models(ModelSpec("m", provider=sys.argv[1], base_url=sys.argv[2]), env={})
preload(model.preloads)
pids = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if connect(model, slots=2).complete(Request("m", f"hi {number}")).text else 2
        finally:
            os._exit(code)
    pids.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
"""


@pytest.mark.parametrize("provider", ["openai", "anthropic", "http"])
def test_clients_work_in_children_forked_after_the_preload(provider: str, server: object) -> None:
    """Three workers each make a call of their own."""
    base = server.root if provider == "anthropic" else server.url  # type: ignore[attr-defined]
    done = subprocess.run([sys.executable, "-c", FORKED, provider, base], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[0, 0, 0]", done.stderr
