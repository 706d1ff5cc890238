"""stream=True: progress, then the text as the model writes it; what was written is in the log when it is whole."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mrengine import Document, Job, ModelSpec, SummaryProgress, summarize
from mrengine.providers.http.streams import Shown
from mrengine.summaries.stream import Writing
from mrengine.testing import fake
from mrengine.testing.llm_server import LLMServer
from tests.summaries.models import document, faithful, options

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the server's process cannot import it
FENCED = re.compile(r"<(data-[0-9a-f]{12})>\n(.*?)\n</\1>", re.DOTALL)
TEXT = "All day long the rain fell on the hills, and nobody knew why. " * 200
STORY = " ".join(f"Word {n} is here." for n in range(40))


def told(prompt: str) -> str:
    """Claims for a part, a text with marks of all for a merge."""
    numbers = re.findall(r"^\[(\d+)\]", FENCED.findall(prompt)[-1][1], re.MULTILINE)
    return " ".join(f"Statement {n} is so [{n}, 99]." for n in reversed(numbers)) if numbers else STORY


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(answer=told, pace_s=0.01, record=20) as server:
        yield server


def model(server: LLMServer, kind: str) -> ModelSpec:
    """The server by each of the roads to it."""
    if kind == "http":
        return ModelSpec(f"{server.url}#m")
    name = "gpt-4o-mini" if kind == "openai" else "claude-haiku-4-5"
    base = server.url if kind == "openai" else server.url.removesuffix("/v1")
    return ModelSpec(name, provider=kind, base_url=base, api_key_env="STREAM_KEY")


@pytest.mark.parametrize("kind", ["http", "openai", "anthropic"])
def test_the_text_is_seen_while_it_is_written(
    server: LLMServer, kind: str, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over sockets and both SDKs; an answer that max_tokens has cut goes on where it was."""
    monkeypatch.setenv("STREAM_KEY", "sk-test")
    server.reset(answer=told, pace_s=0.01, record=20)
    stream = summarize(
        TEXT, models=model(server, kind), stream=True, max_tokens=60, **options(state_dir, target_tokens=1200)
    )
    seen = list(stream)
    pieces = [one for one in seen if isinstance(one, str)]
    progress = [one for one in seen if isinstance(one, SummaryProgress)]
    assert "".join(pieces) == stream.summary.text == STORY
    assert len(pieces) > 12  # three parts of up to eight pieces
    assert [one.stage for one in progress] == ["map"] * (len(progress) - 1) + ["reduce"]
    assert progress[-2].done == progress[-2].total
    streamed = [request["body"].get("stream") for request in server.requests()]
    assert streamed.count(True) == 3
    assert not any(streamed[:-3])


def test_a_cited_text_is_numbered_as_it_appears(server: LLMServer, state_dir: Path) -> None:
    """Each mark is whole, and the one that it stays."""

    def answer(request: Any) -> str:
        return faithful(request)

    stream = summarize(document(6), cite=True, models=fake(answer), stream=True, **options(state_dir))
    pieces = [one for one in stream if isinstance(one, str)]
    assert "".join(pieces) == stream.summary.text
    seen: list[Any] = []
    writing = Writing(seen.append, cited=True)
    raw, at = "  One is so [7, 3]. Two [3][99] is, too [12]. End", 0
    for size in (3, 1, 9, 2, 1, 1, 1, 1, 4, 1, 5, 1, 1, 1, 1, 99):
        writing.piece(at, raw[at : at + size])
        at += size
    assert "".join(seen) == "One is so [1, 2]. Two [2, 3] is, too [4]. End"
    assert all(one.count("[") == one.count("]") for one in seen)


def test_what_was_shown_and_is_another_in_the_end_is_reported_again() -> None:
    seen: list[Any] = []
    writing = Writing(seen.append, cited=False)
    for at, piece in ((0, "The call "), (9, "broke"), (0, "The "), (4, "call went"), (13, " well")):
        writing.piece(at, piece)
    writing.end("The call went well.")
    again = next(place for place, one in enumerate(seen) if isinstance(one, SummaryProgress))
    assert seen[again].stage == "again"
    assert "".join(seen[again + 1 :]) == "The call went well."


def test_thoughts_are_not_shown() -> None:
    seen: list[str] = []
    shown = Shown(lambda event: str(event["t"]), seen.append)
    for part in (b'data: {"t": "<th"}\n\nda', b'ta: {"t": "ink>well, "}\n\n', b'data: {"t": "so</think>\\n\\nYes"}\n'):
        shown(part)
    shown(b'data: nonsense\ndata: [DONE]\n: comment\ndata: {"t": " it is."}\n')
    assert "".join(seen) == "Yes it is."


def test_leaving_the_stream_stops_the_job_and_it_goes_on_later(server: LLMServer, state_dir: Path) -> None:
    """What was paid for is not bought again; nothing is left running."""
    server.reset(answer=told, pace_s=0.02, record=50)
    how = {"models": model(server, "http"), **options(state_dir, target_tokens=1200)}
    stream = summarize(TEXT, stream=True, job_id="left", **how)
    for one in stream:
        if isinstance(one, str):
            break
    stream.close()
    assert "mrengine-summary" not in [thread.name for thread in threading.enumerate()]
    before = len(server.requests())
    assert summarize(TEXT, job_id="left", **how).text == STORY
    assert len(server.requests()) - before <= 1
    assert Job("left", state_dir=state_dir).status().state == "done"


def test_parts_and_merges_are_reported_with_their_texts(state_dir: Path) -> None:
    """Each part's summary, each merge's below the last one; with claims, what they say, without marks."""

    def answer(request: Any) -> str:
        return "A part. " * 150 if "parts" not in request.prompt else f"A merge. {'And so on. ' * 150}"

    text = document(30)
    stream = summarize(text, models=fake(answer), stream=True, max_tokens=900, **options(state_dir))
    seen = list(stream)
    progress = [one for one in seen if isinstance(one, SummaryProgress)]
    chunks = len(stream.summary.run.results)
    parts = [one for one in progress if one.stage == "map"]
    assert [one.done for one in parts] == list(range(1, chunks + 1))
    assert {one.chunk_id for one in parts} == set(range(chunks))
    assert all(one.text.startswith("A part.") for one in parts)
    begun, *merges = [one for one in progress if one.stage == "reduce"]
    assert (begun.done, begun.total) == (0, chunks)
    assert len(merges) >= 2
    assert all(one.text.startswith("A merge.") and 0 < one.done <= one.total for one in merges)
    assert "".join(one for one in seen if isinstance(one, str)) == stream.summary.text
    assert not any(isinstance(one, SummaryProgress) for one in seen[seen.index(merges[-1]) + 1 :])
    cited = list(summarize(document(6), cite=True, models=fake(faithful), stream=True, **options(state_dir)))
    told = " ".join(one.text for one in cited if isinstance(one, SummaryProgress) and one.stage == "map")
    assert all(f"hall {at} holds" in told for at in range(1, 7))
    assert "[" not in told


@pytest.mark.parametrize("cite", [False, True])
def test_each_document_is_reported_when_its_summary_is_there(state_dir: Path, cite: bool) -> None:
    """together=False: in the order in which they are done, those without anything to say, too."""
    sources = [Document("long", document(6)), Document("short", document(1, words=20)), Document("none", "No.")]
    how = options(state_dir)
    stream = summarize(sources, together=False, cite=cite, models=fake(faithful), stream=True, **how)
    seen = list(stream)
    told = [one for one in seen if isinstance(one, SummaryProgress) and one.stage == "document"]
    assert {one.document_id for one in told} == {"long", "short", "none"}
    assert told[-1].document_id == "long"
    assert [(one.done, one.total) for one in told] == [(1, 3), (2, 3), (3, 3)]
    texts = {name: re.sub(r" \[[\d, ]+\]", "", text) for name, text in stream.summary.texts.items()}
    for one in told:
        assert one.text in ("", texts[one.document_id]) if cite else one.text == texts[one.document_id]
    assert texts["long"] == told[-1].text
    assert "".join(one for one in seen if isinstance(one, str)) == stream.summary.text


def test_errors_are_raised_where_the_stream_is_read(state_dir: Path) -> None:
    stream = summarize("Some text.", models=fake(lambda request: ValueError("no")), stream=True, **options(state_dir))
    with pytest.raises(Exception, match="ValueError"):
        list(stream)
