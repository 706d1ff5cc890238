"""The program of each tool, as its documentation shows it, with the settings it has for durability and limits."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from bench.peers.work import OUTPUT, Limiter, Work, announce, finish, number_of

__all__ = ["PROGRAMS"]

RETRIES = 6
PATIENT_S = 75.0  # of a chunk of ours: its call has half of it, and at least 30 s, so that there can be a second


def mrengine(work: Work) -> None:
    """``MapReduceRunner`` under a name: the same name again continues."""
    from mrengine import MapReduceRunner, RateLimit
    from mrengine.errors import JobFailed, LogError

    def ask(chunk: Any, context: Any) -> str:
        return str(context.complete(chunk.text, max_tokens=OUTPUT).text)

    settings: dict[str, Any] = {"limits": {"m": RateLimit(rpm=work.rpm)}} if work.rpm else {}
    with MapReduceRunner(
        "bench",
        workers=2,
        slots=work.in_flight // 2,
        models=f"{work.url}#m",
        target_tokens=None,
        state_dir=work.state,
        on_busy="wait",
        chunk_timeout_s=max(work.timeout_s, PATIENT_S),
        **settings,
    ) as runner:
        runner.on("chunk:processed", lambda event: announce(event.chunk_id))
        try:
            results = runner.run(work.prompts, ask).results
        except (JobFailed, LogError) as error:
            results = error.results
    finish({result.chunk_id: result.result for result in results})


def _body(question: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": question}], "max_tokens": OUTPUT}


def _text(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def by_hand(work: Work) -> None:
    """A thread pool, the SDK with its retries, a limiter, and a line in a file for each answer."""
    import openai

    path = work.state / "answers.jsonl"
    answers: dict[int, str] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                number, text = json.loads(line)
            except ValueError:
                continue  # the line that was being written
            answers[number] = text
    client = openai.OpenAI(base_url=work.url, api_key="none", max_retries=RETRIES, timeout=work.timeout_s)
    limiter = Limiter(work.rpm)

    def ask(question: str) -> str:
        limiter.wait()
        return _text(client.chat.completions.create(**_body(question)))

    left = [question for question in work.prompts if number_of(question) not in answers]
    with path.open("a") as file:
        for number, text in _threads(work, ask, left):
            file.write(json.dumps([number, text]) + "\n")
            file.flush()
            answers[number] = text
            announce(number)
    finish(answers)


def _threads(work: Work, ask: Callable[[str], str], questions: list[str]) -> Any:
    """(number, answer) as they come; a question that raises has none."""
    with ThreadPoolExecutor(work.in_flight) as pool:
        futures = {pool.submit(ask, question): number_of(question) for question in questions}
        for future in as_completed(futures):
            if future.exception() is None:
                yield futures[future], future.result()


def with_asyncio(work: Work) -> None:
    """``gather`` over AsyncOpenAI, behind a semaphore."""
    import openai

    async def run() -> dict[int, str | None]:
        client = openai.AsyncOpenAI(base_url=work.url, api_key="none", max_retries=RETRIES, timeout=work.timeout_s)
        gate = asyncio.Semaphore(work.in_flight)

        async def ask(question: str) -> tuple[int, str | None]:
            async with gate:
                try:
                    text = _text(await client.chat.completions.create(**_body(question)))
                except Exception:  # noqa: BLE001  # whatever it is, the question has no answer
                    return number_of(question), None
            announce(number_of(question))
            return number_of(question), text

        return dict(await asyncio.gather(*map(ask, work.prompts)))

    finish(asyncio.run(run()))


def async_batch_llm(work: Work) -> None:
    """Its stream, with a checkpoint that is synced before a result is given out."""
    import async_batch_llm as lib
    import openai

    async def run() -> dict[int, str | None]:
        client = openai.AsyncOpenAI(base_url=work.url, api_key="none", max_retries=0, timeout=work.timeout_s)

        async def invoke(question: str, *, attempt: int, timeout: float | None, state: Any) -> Any:  # its protocol
            return lib.CallOutcome(_text(await client.chat.completions.create(**_body(question))))

        identity = lib.ArtifactIdentity(provider="bench", model="m")
        config = lib.ProcessorConfig(
            concurrency=work.in_flight,
            attempt_timeout=work.timeout_s,
            max_requests_per_minute=work.rpm,
            rate_limit=lib.RateLimitConfig(cooldown_seconds=1.0),
        )
        store = lib.JsonlArtifactStore(work.state / "checkpoint.jsonl", identity=identity, fsync=True)
        prompts = [(str(number_of(question)), question) for question in work.prompts]
        answers: dict[int, str | None] = {}
        async for result in lib.process_stream(
            lib.CallableStrategy(invoke, identity=identity),
            prompts,
            config=config,
            artifact_store=store,
            resume=lib.ResumePolicy.REUSE_SUCCESSES,
        ):
            if result.success:
                answers[int(result.item_id)] = result.output
                announce(int(result.item_id))
        return answers

    finish(asyncio.run(run()))


def dbos(work: Work) -> None:
    """A durable queue; every question is a workflow with one step, named by its number."""
    import openai
    from dbos import DBOS, SetWorkflowID

    database = f"sqlite:///{work.state}/dbos.sqlite"
    DBOS(
        config={
            "name": "bench",
            "system_database_url": database,
            "run_admin_server": False,
            "log_level": "CRITICAL",
            "application_version": "1",
        }
    )
    client = openai.OpenAI(base_url=work.url, api_key="none", max_retries=RETRIES, timeout=work.timeout_s)

    @DBOS.step()
    def ask(question: str) -> str:
        return _text(client.chat.completions.create(**_body(question)))

    @DBOS.workflow()
    def one(question: str) -> str:
        return str(ask(question))

    DBOS.launch()
    limiter: Any = {"limit": work.rpm, "period": 60.0} if work.rpm else None
    queue = DBOS.register_queue(
        "questions", worker_concurrency=work.in_flight, limiter=limiter, polling_interval_sec=0.1
    )
    handles = {}
    for question in work.prompts:
        with SetWorkflowID(f"question-{number_of(question)}"):
            handles[number_of(question)] = queue.enqueue(one, question)

    answers: dict[int, str] = {}
    with ThreadPoolExecutor(work.in_flight) as pool:
        futures = {pool.submit(handle.get_result): number for number, handle in handles.items()}
        for future in as_completed(futures):
            if future.exception() is None:
                answers[futures[future]] = future.result()
                announce(futures[future])
    finish(answers)
    DBOS.destroy()


def litellm(work: Work) -> None:
    """The Router, told the limit, in threads. Its caches live in memory or in another server: nothing is kept."""
    import litellm as lib

    lib.telemetry = False
    lib.suppress_debug_info = True
    params: dict[str, Any] = {"model": "openai/m", "api_base": work.url, "api_key": "none", "timeout": work.timeout_s}
    if work.rpm:
        params["rpm"] = work.rpm
    router = lib.Router(
        model_list=[{"model_name": "m", "litellm_params": params}], num_retries=RETRIES, disable_cooldowns=True
    )

    def ask(question: str) -> str:
        text = _text(router.completion(**_body(question)))
        announce(number_of(question))
        return text

    finish(dict(_threads(work, ask, work.prompts)))


def langchain(work: Work) -> None:
    """``batch_as_completed``, with its rate limiter where there is a limit."""
    from langchain_core.rate_limiters import InMemoryRateLimiter
    from langchain_openai import ChatOpenAI

    limiter = InMemoryRateLimiter(requests_per_second=work.rpm / 60, max_bucket_size=work.rpm) if work.rpm else None
    model = ChatOpenAI(
        model="m",
        base_url=work.url,
        api_key="none",
        max_tokens=OUTPUT,
        max_retries=RETRIES,
        timeout=work.timeout_s,
        rate_limiter=limiter,
    )
    answers: dict[int, str | None] = {}
    config: Any = {"max_concurrency": work.in_flight}
    for number, answer in model.batch_as_completed(work.prompts, config=config, return_exceptions=True):
        if not isinstance(answer, Exception):
            answers[number] = str(answer.content)
            announce(number)
    finish(answers)


def curator(work: Work) -> None:
    """Its LLM over a list of prompts; its cache folder is its way to continue. It tells nothing before the end."""
    os.environ["CURATOR_CACHE_DIR"] = str(work.state / "curator")
    from bespokelabs import curator as lib

    params = {
        "base_url": work.url,
        "api_key": "none",
        "max_requests_per_minute": work.rpm or 100_000,
        "max_tokens_per_minute": work.tpm or 100_000_000,
        "max_concurrent_requests": work.in_flight,
        "max_retries": RETRIES,
        "request_timeout": int(work.timeout_s),
        "require_all_responses": False,
    }
    llm = lib.LLM(model_name="m", backend="openai", backend_params=params, generation_params={"max_tokens": OUTPUT})
    rows = llm(work.prompts)
    texts = [str(row["response"]) for row in getattr(rows, "dataset", rows)]
    # Its rows do not name their prompt; what is no answer of the model has no number, and stands for a wrong one.
    named = ((re.match(r"Answer (\d+)", text), text) for text in texts)
    finish({int(found[1]) if found else -1 - at: text for at, (found, text) in enumerate(named)})


PROGRAMS: dict[str, Callable[[Work], None]] = {
    "mrengine": mrengine,
    "threads and a JSONL file": by_hand,
    "asyncio and the SDK": with_asyncio,
    "async-batch-llm": async_batch_llm,
    "DBOS": dbos,
    "litellm": litellm,
    "LangChain": langchain,
    "curator": curator,
}
