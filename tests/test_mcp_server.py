"""``mrengine mcp`` over stdio, asked by the ``mcp`` package's own client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mrengine.testing import LLMServer
from tests.sources.pages import page, site
from tests.summaries.test_pages import FACTS, answer, report

mcp = pytest.importorskip("mcp")

WORDS = "The fever fell on Tuesday, and the patient slept well. " * 900
TOOLS = {"summarize_url", "summarize_text", "start_job", "job_status", "job_result"}


def server_of(model: str, state: Path, *options: str) -> Any:
    """How the client starts it; its pid goes to a file, for the kill."""
    code = (
        "import os,sys; open(sys.argv.pop(1),'w').write(str(os.getpid())); from mrengine.__main__ import main; main()"
    )
    asked = [
        "-c",
        code,
        str(state.parent / "pid"),
        "mcp",
        "--model",
        model,
        "--workers",
        "1",
        "--state-dir",
        str(state),
    ]
    keep = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return mcp.StdioServerParameters(command=sys.executable, args=[*asked, *options], env={**keep, "PYTHONPATH": path})


async def call(session: Any, name: str, **given: Any) -> Any:
    """What a tool returns; a refusal as its text."""
    answer = await session.call_tool(name, given)
    text = "".join(part.text for part in answer.content)
    if answer.is_error:
        return RuntimeError(text)
    try:
        return json.loads(text)
    except ValueError:
        return text


async def in_session(server: Any, talk: Any) -> Any:
    with Path(os.devnull).open("w") as quiet:  # noqa: ASYNC230
        async with mcp.stdio_client(server, errlog=quiet) as (read, write), mcp.ClientSession(read, write) as session:
            await session.initialize()
            return await talk(session)


def test_pages_and_texts_are_summarised(state_dir: Path) -> None:
    """Tools are listed; a page comes through the guard; what is refused is said to the model that asked."""

    async def talk(session: Any) -> None:
        assert {tool.name for tool in (await session.list_tools()).tools} == TOOLS
        assert await call(session, "summarize_url", url=f"{pages.url}/page") == "In short."
        assert await call(session, "summarize_text", text="The fever fell.", query="fever") == "In short."
        for name, given, told in (
            ("summarize_url", {"url": "file:///etc/passwd"}, "only http and https"),
            ("summarize_url", {"url": f"{pages.url}/none"}, "404"),
            ("summarize_text", {"text": " "}, "no text"),
            ("start_job", {}, "url or text"),
            ("job_status", {"job_id": "unknown"}, "no job 'unknown'"),
            ("job_status", {"job_id": "../../etc"}, ""),
        ):
            refused = await call(session, name, **given)
            assert isinstance(refused, RuntimeError), name
            assert told in str(refused)

    async def guarded(session: Any) -> None:
        refused = await call(session, "summarize_url", url=f"{pages.url}/page")
        assert "is loopback" in str(refused)

    missing = {"/none": lambda handler: handler.send_error(404)}
    with LLMServer(answer="In short.") as llm, site({"/page": page(WORDS.encode()), **missing}) as pages:
        model = f"{llm.url}#any"
        asyncio.run(in_session(server_of(model, state_dir, "--allow-private"), talk))
        asyncio.run(in_session(server_of(model, state_dir), guarded))


def test_the_pages_of_a_pdf_are_told(state_dir: Path, tmp_path: Path) -> None:
    """In the footnotes of a summary, in a job's citations and in its rows, each beside its quote."""
    pytest.importorskip("pypdf")

    async def talk(session: Any) -> None:
        told = await call(session, "summarize_url", url=url, cite=True)
        for at, fact in FACTS.items():
            assert re.search(rf'^\[\d+\] {re.escape(url)}, page {at}, .*"{re.escape(fact)}"$', told, re.MULTILINE)
        job_id = (await call(session, "start_job", url=url, cite=True))["job_id"]
        found = await call(session, "job_result", job_id=job_id, wait_s=120)
        pages_of = {claim["quote"]: claim["page"] for claim in found["citations"]}
        assert {fact: pages_of[fact] for fact in FACTS.values()} == {fact: at for at, fact in FACTS.items()}
        assert found["unsupported"] == found["uncovered"] == []
        job_id = (await call(session, "start_job", url=url, prompt="Claims in: $text"))["job_id"]
        rows = (await call(session, "job_result", job_id=job_id, wait_s=120))["results"]
        assert sorted({number for row in rows for number in row["pages"]}) == [1, 2, 3, 4, 5, 6]

    data = report(tmp_path / "stock.pdf").read_bytes()
    with LLMServer(answer=answer) as llm, site({"/stock.pdf": page(data, "application/pdf")}) as pages:
        url = f"{pages.url}/stock.pdf"
        asyncio.run(in_session(server_of(f"{llm.url}#any", state_dir, "--allow-private"), talk))


def test_a_job_outlives_the_server(state_dir: Path) -> None:
    """Killed in the middle; another server is asked, and goes on: nothing that was finished is bought again."""

    async def begin(session: Any) -> str:
        job_id = (await call(session, "start_job", url=f"{pages.url}/page", prompt="Fever in: $text"))["job_id"]
        while (await call(session, "job_status", job_id=job_id)).get("done", 0) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        os.kill(int((state_dir.parent / "pid").read_text()), signal.SIGKILL)
        return str(job_id)

    async def collect(session: Any) -> Any:
        assert (await call(session, "job_status", job_id=job_id))["state"] in ("running", "done")
        found: Any = {}
        deadline = time.monotonic() + 90
        while found.get("state") != "done" and time.monotonic() < deadline:
            found = await call(session, "job_result", job_id=job_id, wait_s=20)
        return found

    with LLMServer(answer="It fell.", latency_s=0.3) as llm, site({"/page": page(WORDS.encode() * 5)}) as pages:
        server = server_of(f"{llm.url}#any", state_dir, "--allow-private")
        job_id = asyncio.run(in_session(server, begin))
        found = asyncio.run(in_session(server, collect))
        stats = llm.stats()
    assert found["state"] == "done"
    assert found["chunks"] == found["done"] == len(found["results"]) > 3
    assert {row["result"] for row in found["results"]} == {"It fell."}
    assert stats.requests <= found["chunks"] + 1  # a call in flight in the process that was killed
    assert len(pages.seen) == 1
