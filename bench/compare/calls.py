"""What a call costs, client by client: ``python -m bench.compare.calls``.

Each client makes the same calls to the same server, from 2 processes of 100 threads each (or of 100 tasks of an event
loop), in a fresh interpreter, one after the other, several times in turn. Wall and CPU are with interpreter and
imports; the CPU is the client's alone. ``ratio`` is to ``http.client`` in the same run. curator is a whole program,
whose calls cannot be had alone: see ``bench.compare.programs``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from bench.machine import save
from bench.numbers import ratios
from bench.peers.registry import environment
from mrengine.testing import LLMServer

PROCESSES = 2
LATENCY_S = 0.1
PROMPT = "Summarize in one sentence: " + "the patient was seen on the ward and is well. " * 40
Call = Callable[[str], str]


def body(prompt: str) -> dict[str, Any]:
    return {"model": "any", "messages": [{"role": "user", "content": prompt}], "max_tokens": 64}


def plain(url: str, threads: int) -> Callable[[], Call]:
    """http.client, one connection a thread: the floor of what the standard library offers."""
    import http.client

    parts = urlsplit(url)

    def make() -> Call:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)

        def call(prompt: str) -> str:
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(body(prompt)), {"content-type": "application/json"}
            )
            return str(json.loads(connection.getresponse().read())["choices"][0]["message"]["content"])

        return call

    return make


def with_urllib3(url: str, threads: int) -> Callable[[], Call]:
    """One pool a process."""
    import urllib3

    pool = urllib3.PoolManager(maxsize=threads)

    def call(prompt: str) -> str:
        return str(
            pool.request("POST", url + "/chat/completions", json=body(prompt)).json()["choices"][0]["message"][
                "content"
            ]
        )

    return lambda: call


def with_requests(url: str, threads: int) -> Callable[[], Call]:
    """One session a process, which does not look at the environment at each call."""
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=threads))

    def call(prompt: str) -> str:
        answer = session.post(url + "/chat/completions", json=body(prompt)).json()
        return str(answer["choices"][0]["message"]["content"])

    return lambda: call


def with_openai(url: str, threads: int) -> Callable[[], Call]:
    """The SDK as its documentation shows it; one client a process, retries off, a pool as large as the threads."""
    import httpx2
    import openai

    http = httpx2.Client(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=threads), timeout=60)
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, http_client=http)

    def call(prompt: str) -> str:
        return client.chat.completions.create(**body(prompt)).choices[0].message.content or ""

    return lambda: call


def with_anthropic(url: str, threads: int) -> Callable[[], Call]:
    """The SDK for Messages, in the same way."""
    import anthropic
    import httpx2

    http = httpx2.Client(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=threads), timeout=60)
    base = url.removesuffix("/v1")
    client = anthropic.Anthropic(base_url=base, api_key="none", max_retries=0, http_client=http)

    def call(prompt: str) -> str:
        asked: Any = {"model": "any", "messages": [{"role": "user", "content": prompt}], "max_tokens": 64}
        return str(client.messages.create(**asked).content[0].text)

    return lambda: call


def with_litellm(url: str, threads: int) -> Callable[[], Call]:
    """Its ``completion``, retries off."""
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    settings: dict[str, Any] = {"api_base": url, "api_key": "none", "num_retries": 0}

    def call(prompt: str) -> str:
        answer: Any = litellm.completion(**(body(prompt) | {"model": "openai/any"} | settings))
        return str(answer.choices[0].message.content)

    return lambda: call


def with_langchain(url: str, threads: int) -> Callable[[], Call]:
    """Its model's ``invoke``, over a client with a pool as large as the threads, retries off."""
    import httpx2
    from langchain_openai import ChatOpenAI

    http = httpx2.Client(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=threads), timeout=60)
    settings: Any = {"base_url": url, "api_key": "none", "max_retries": 0, "http_client": http}
    model = ChatOpenAI(model="any", max_tokens=64, **settings)
    return lambda: lambda prompt: str(model.invoke(prompt).content)


async def with_asyncio(url: str, prompts: Iterator[str], tasks: int) -> None:
    """AsyncOpenAI on one event loop a process, as many tasks as there are threads elsewhere."""
    import httpx2
    import openai

    http = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=tasks), timeout=60)
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http)

    async def loop() -> None:
        for prompt in prompts:
            await client.chat.completions.create(**body(prompt))

    await asyncio.gather(*(loop() for _ in range(tasks)))


def provider(kind: str) -> Callable[[str, int], Callable[[], Call]]:
    """Ours, with its retry loop."""

    def setup(url: str, threads: int) -> Callable[[], Call]:
        from mrengine.providers.call.retry import call as retried
        from mrengine.providers.connect import connect
        from mrengine.providers.models.model import resolve_models
        from mrengine.records import ModelSpec, Request

        base = url.removesuffix("/v1") if kind == "anthropic" else url
        (model,) = resolve_models(ModelSpec("any", provider=kind, base_url=base))
        connected = connect(model, slots=threads)

        def call(prompt: str) -> str:
            return retried(
                connected.complete, Request("any", prompt, max_tokens=64), deadline=time.monotonic() + 60
            ).text

        return lambda: call

    return setup


# Each with the package it needs.
CLIENTS: dict[str, tuple[Callable[[str, int], Callable[[], Call]], str]] = {
    "mrengine http": (provider("http"), "mrengine"),
    "http.client": (plain, "http"),
    "urllib3": (with_urllib3, "urllib3"),
    "requests": (with_requests, "requests"),
    "mrengine openai": (provider("openai"), "openai"),
    "openai SDK": (with_openai, "openai"),
    "mrengine anthropic": (provider("anthropic"), "anthropic"),
    "anthropic SDK": (with_anthropic, "anthropic"),
    "LangChain": (with_langchain, "langchain_openai"),
    "litellm": (with_litellm, "litellm"),
}
ASYNC = {"asyncio and the openai SDK": (with_asyncio, "openai")}
NEEDS = {client: package for client, (_, package) in {**CLIENTS, **ASYNC}.items()}


def work(client: str, url: str, calls: int, threads: int) -> None:
    """The client's half: fork the processes, make the calls."""
    if client in CLIENTS:
        CLIENTS[client][0](url, threads)  # imports before the fork, as an engine would
    else:
        importlib.import_module(NEEDS[client])
    children = []
    for process in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                run_calls(client, url, range(process, calls, PROCESSES), threads)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    if any(os.waitpid(pid, 0)[1] for pid in children):
        sys.exit(1)


def run_calls(client: str, url: str, numbers: range, threads: int) -> None:
    """One process of a client."""
    if client in ASYNC:
        asyncio.run(ASYNC[client][0](url, (f"{number} {PROMPT}" for number in numbers), threads))
    else:
        run_threads(CLIENTS[client][0](url, threads), numbers, threads)


def run_threads(make: Callable[[], Call], asked: range, threads: int) -> None:
    numbers = iter(asked)
    lock = threading.Lock()

    def loop() -> None:
        call = make()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            call(f"{number} {PROMPT}")

    pool = [threading.Thread(target=loop) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()


def measure(client: str, server: LLMServer, calls: int, threads: int) -> dict[str, float]:
    server.reset(latency_s=LATENCY_S)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "bench.compare.calls", "--client", client, "--url", server.url]
    subprocess.run(
        [*command, "--calls", str(calls), "--threads", str(threads)], check=True, timeout=300, env=environment()
    )
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    stats = server.stats()
    if (stats.ok, stats.distinct) != (calls, calls):
        raise RuntimeError(f"{stats.ok} of {calls} calls were answered, {stats.distinct} of them different")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "span_s": stats.span_s, "cpu_s": cpu, "cpu_ms_a_call": cpu / calls * 1000}


def main() -> None:
    """Measure all clients, or be one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=100, help="in each of two processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", choices=NEEDS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        work(options.client, options.url, options.calls, options.threads)
        return
    gone = {client: f"{package} is not installed" for client, package in NEEDS.items() if find_spec(package) is None}
    found: dict[str, list[dict[str, float]]] = {client: [] for client in NEEDS if client not in gone}
    for _ in range(options.rounds):
        for client in [client for client in found if client not in gone]:
            try:
                # Each has a server of its own: connections that litellm left open slowed down whoever came next.
                with LLMServer() as server:
                    found[client].append(measure(client, server, options.calls, options.threads))
            except subprocess.SubprocessError as error:
                gone[client] = f"could not be measured: {type(error).__name__}"
            except RuntimeError as error:
                gone[client] = f"could not be measured: {error}"
    kept = {client: results for client, results in found.items() if client not in gone}
    medians = {c: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for c, rs in kept.items()}
    over = ratios({c: [result["cpu_s"] for result in results] for c, results in kept.items()}, "http.client")
    rows = [
        {"client": c, **{k: round(v, 3) for k, v in m.items()}, "ratio": over[c], "samples": kept[c]}
        for c, m in medians.items()
    ]
    print(f"{'client':26} {'span s':>7} {'wall s':>7} {'CPU s':>7} {'ms/call':>8} {'ratio':>6}")
    for row in rows:
        print(
            f"{row['client']:26} {row['span_s']:7.2f} {row['wall_s']:7.2f} {row['cpu_s']:7.2f} {row['cpu_ms_a_call']:8.3f} {row['ratio']:6.2f}"  # noqa: E501
        )
    rows += [{"client": client, "missing": reason} for client, reason in gone.items()]
    packages = ["openai", "anthropic", "httpx2", "requests", "urllib3", "langchain-openai", "litellm"]
    in_flight, ideal = PROCESSES * options.threads, options.calls * LATENCY_S / (PROCESSES * options.threads)
    path = save(
        "calls", rows, packages=packages, calls=options.calls, in_flight=in_flight, rounds=options.rounds, ideal_s=ideal
    )
    print(f"ideal {ideal:.2f} s; written to {path}")


if __name__ == "__main__":
    main()
