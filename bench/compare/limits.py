"""A limit of 60,000 tokens a minute, kept by the server: ``python -m bench.compare.limits``.

90 calls of 1,038 tokens, 16 in flight: ideally 33.7 s, all answered and none refused. Each client has a server of its
own; all run at the same time, for they only wait, and several times. A peer that is not installed has a row that says
so. ``ratio`` is to the ideal. DBOS is not among them: its queues limit how many start, not their tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from bench.machine import ROOT, save
from bench.peers.registry import PEERS, environment, missing
from bench.peers.work import Limiter
from mrengine.testing import LLMServer

CALLS, INPUT, OUTPUT, IN_FLIGHT = 90, 1018, 20, 16
TPM, LATENCY_S = 60_000, 0.3
IDEAL_S = (CALLS * (INPUT + OUTPUT) - TPM) * 60 / TPM + LATENCY_S
PATIENCE_S = 300
PROMPTS = [f"{i} Summarize: " + "the patient was seen on the ward and is well. " * 60 for i in range(CALLS)]


def mrengine(url: str) -> int:
    """``MapReduceRunner`` with the limit."""
    from mrengine import MapReduceRunner, RateLimit

    def ask(chunk: Any, context: Any) -> str:
        return str(context.complete(chunk.text, max_tokens=OUTPUT).text)

    settings: dict[str, Any] = {"limits": {"m": RateLimit(tpm=TPM)}, "state_dir": tempfile.mkdtemp()}
    runner = MapReduceRunner(workers=4, slots=IN_FLIGHT // 4, models=f"{url}#m", target_tokens=None, **settings)
    return runner.run(PROMPTS, ask).summary.processed_chunks


def mrengine_learned(url: str) -> int:
    """The same, learning the limit from the headers."""
    from mrengine import MapReduceRunner

    def ask(chunk: Any, context: Any) -> str:
        return str(context.complete(chunk.text, max_tokens=OUTPUT).text)

    settings: dict[str, Any] = {"state_dir": tempfile.mkdtemp()}
    runner = MapReduceRunner(workers=4, slots=IN_FLIGHT // 4, models=f"{url}#m", target_tokens=None, **settings)
    return runner.run(PROMPTS, ask).summary.processed_chunks


def _threads(call: Callable[[str], Any]) -> int:
    def tried(prompt: str) -> bool:
        try:
            call(prompt)
        except Exception:  # noqa: BLE001  # whatever a peer raises, its chunk is lost
            return False
        return True

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return sum(pool.map(tried, PROMPTS))


def openai_sdk(url: str) -> int:
    """The SDK in threads, as its documentation shows it: it tries twice again."""
    import openai

    client = openai.OpenAI(base_url=url, api_key="none")
    return _threads(lambda prompt: client.chat.completions.create(**_body(prompt)))


def openai_patient(url: str) -> int:
    """The SDK in threads, with thirty retries."""
    import openai

    client = openai.OpenAI(base_url=url, api_key="none", max_retries=30)
    return _threads(lambda prompt: client.chat.completions.create(**_body(prompt)))


def _body(prompt: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "max_tokens": OUTPUT}


def limiter(url: str) -> int:
    """A thread pool with a token bucket of the same rate, in one process: what one writes by hand."""
    import openai

    client, bucket = openai.OpenAI(base_url=url, api_key="none"), Limiter(TPM)

    def ask(prompt: str) -> Any:
        bucket.wait(INPUT + OUTPUT)
        return client.chat.completions.create(**_body(prompt))

    return _threads(ask)


def async_batch_llm(url: str) -> int:
    """Its stream with token-aware admission, told the limit and the size of a call."""
    import async_batch_llm as lib
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    async def invoke(prompt: str, *, attempt: int, timeout: float | None, state: Any) -> Any:  # its protocol
        answer = await client.chat.completions.create(**_body(prompt))
        used = answer.usage
        usage = {"input_tokens": used.prompt_tokens, "output_tokens": used.completion_tokens}
        return lib.CallOutcome(
            answer.choices[0].message.content, token_usage={**usage, "total_tokens": used.total_tokens}
        )

    async def run() -> int:
        strategy = lib.CallableStrategy(invoke, identity=lib.ArtifactIdentity(provider="bench", model="m"))
        config = lib.ProcessorConfig(
            concurrency=IN_FLIGHT,
            max_tokens_per_minute=TPM,
            token_estimator=lambda *_, **__: lib.TokenEstimate(INPUT, OUTPUT),
            rate_limit=lib.RateLimitConfig(cooldown_seconds=1.0),
        )
        return sum([result.success async for result in lib.process_stream(strategy, PROMPTS, config=config)])

    return asyncio.run(run())


def litellm_router(url: str) -> int:
    """The Router, given the limit, with thirty retries."""
    import litellm

    params = {"model": "openai/m", "api_base": url, "api_key": "none", "tpm": TPM}
    router = litellm.Router(model_list=[{"model_name": "m", "litellm_params": params}], num_retries=30)
    return _threads(lambda prompt: router.completion(**_body(prompt)))


def langchain(url: str) -> int:
    """``batch`` of 16, which returns the answered calls."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", base_url=url, api_key="none", max_tokens=OUTPUT)
    answers = model.batch(PROMPTS, config={"max_concurrency": IN_FLIGHT}, return_exceptions=True)
    return sum(not isinstance(answer, Exception) for answer in answers)


CLIENTS: dict[str, tuple[Callable[[str], int], str]] = {
    "mrengine, limit given": (mrengine, "mrengine"),
    "mrengine, limit learned": (mrengine_learned, "mrengine"),
    "openai SDK": (openai_sdk, "openai"),
    "openai SDK, 30 retries": (openai_patient, "openai"),
    "threads with the same limiter": (limiter, "openai"),
    "async-batch-llm": (async_batch_llm, "async_batch_llm"),
    "litellm Router, 30 retries": (litellm_router, "litellm"),
    "langchain batch": (langchain, "langchain_openai"),
}


# Whole programs of bench/peers: one that is told nothing, and one with an interpreter of its own.
PROGRAMS = ("asyncio and the SDK", "curator")


def _command(client: str, url: str, state: str) -> list[str]:
    if client not in PROGRAMS:
        return [sys.executable, "-m", "bench.compare.limits", "--client", client, "--url", url]
    command = [PEERS[client].interpreter, "-m", "bench.peers", client, "--url", url, "--state", state]
    told = ["--tpm", str(TPM)] if PEERS[client].told else []
    return [*command, "--calls", str(CALLS), "--in-flight", str(IN_FLIGHT), "--timeout-s", "60", *told]


def measure(client: str) -> dict[str, Any]:
    """One client in a fresh interpreter; RuntimeError: it failed."""
    limits = {"tpm": TPM, "input_tokens": INPUT, "answer": "word " * OUTPUT, "latency_s": LATENCY_S}
    with LLMServer(**limits) as server, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state:
        command = _command(client, server.url, state)
        try:
            subprocess.run(
                command, check=True, timeout=PATIENCE_S, capture_output=True, text=True, cwd=ROOT, env=environment()
            )
        except subprocess.CalledProcessError as error:
            raise RuntimeError((error.stderr.strip().splitlines() or ["it failed"])[-1][:200]) from None
        except subprocess.TimeoutExpired:
            pass  # what was answered until then counts
        stats = server.stats()
    facts = {"answered": min(CALLS, stats.ok - stats.paid_twice), "refused": stats.rate_limited, "early": stats.early}
    return {"span_s": round(stats.span_s, 2), **facts}


def _row(client: str, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians, but of what went wrong the most."""
    span_s = round(statistics.median(sample["span_s"] for sample in samples), 1)
    answered = min(sample["answered"] for sample in samples)
    facts = {name: max(sample[name] for sample in samples) for name in ("refused", "early")}
    ratio = round(span_s / IDEAL_S, 2) if answered == CALLS else None
    return {"client": client, "span_s": span_s, "answered": answered, **facts, "ratio": ratio, "samples": samples}


def main() -> None:
    """Measure all clients, or be one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(CLIENTS[options.client][0](options.url))
        return
    needs = {client: package for client, (_, package) in CLIENTS.items()}
    gone = {client: f"{package} is not installed" for client, package in needs.items() if find_spec(package) is None}
    gone |= {client: reason for client in PROGRAMS if (reason := missing(client))}
    found: dict[str, list[dict[str, Any]]] = {client: [] for client in (*CLIENTS, *PROGRAMS) if client not in gone}
    with ThreadPoolExecutor(len(found)) as pool:
        for _ in range(options.turns):
            for client, sample in [(client, pool.submit(measure, client)) for client in found if client not in gone]:
                try:
                    found[client].append(sample.result())
                except RuntimeError as error:
                    gone[client] = str(error)
    rows = [_row(client, samples) for client, samples in found.items() if client not in gone]
    rows += [{"client": client, "missing": reason} for client, reason in gone.items()]
    for row in rows:
        print(json.dumps(row))
    packages = ["openai", "async-batch-llm", "litellm", "langchain-openai", "bespokelabs-curator", "httpx2"]
    settings = {"calls": CALLS, "in_flight": IN_FLIGHT, "ideal_s": round(IDEAL_S, 1), "turns": options.turns}
    path = save("limits", rows, packages=packages, tpm=TPM, **settings)
    print(f"ideal {IDEAL_S:.1f} s; written to {path}")


if __name__ == "__main__":
    main()
