"""Methods, strategies and the choice of chunks: what is asked, what is left out, and that the same comes out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrengine import (
    Document,
    Job,
    MapReduceRunner,
    ModelSpec,
    collect,
    refine,
    select_sentences,
    select_top_k,
    summarize,
    tree_reduce,
    vote,
)
from mrengine.chunking.fitted import FittedChunker
from mrengine.chunking.tokens.tokenizer import count
from mrengine.errors import ConfigError
from mrengine.log.format import codec
from mrengine.log.format.job_records import unpack_close
from mrengine.log.format.task_records import unpack_call, unpack_intent, unpack_result
from mrengine.log.view.job_view import ResumeEngine
from mrengine.records import ChunkResult
from mrengine.testing import fake
from mrengine.testing.llm_server import LLMServer
from tests.summaries import models
from tests.summaries.models import data, document, faithful, options


def results(*values: Any) -> list[ChunkResult]:
    return [ChunkResult(at, "d", None, 0, value) for at, value in enumerate(values)]


# without a model


@pytest.mark.parametrize(
    ("query", "texts", "best"),
    [
        ("night sweats", ["The cat sat.", "He had a night sweat.", "It was night."], 1),
        ("发热", ["今天天气很好。", "无咳嗽。", "患者发热三天。"], 2),
        ("東京の人口", ["京都は古い町です。", "東京の人口は多い。", "大阪の食べ物"], 1),
        ("ไข้สูง", ["อากาศดีมาก", "ผู้ป่วยมีไข้สูงสามวัน", "ไม่มีอาการไอ"], 1),
        ("ÜBELKEIT", ["Kein Fieber.", "Starke Übelkeit.", "Gut."], 1),
        ("боль в груди", ["Кашель.", "Температура.", "Жалобы на боль в груди."], 2),
        ("صداع", ["حمى", "صداع شديد", "سعال"], 1),
    ],
)
def test_the_text_that_a_query_is_about_is_found_in_any_script(query: str, texts: list[str], best: int) -> None:
    assert select_top_k(texts, query, k=1) == [texts[best]]


def test_what_is_chosen_keeps_its_order_and_its_budget() -> None:
    texts = ["apple pear apple", "nothing", "apple", "apple " * 200, "pear"]
    assert select_top_k(texts, "apple", k=3) == [texts[0], texts[2], texts[3]]
    assert select_top_k(texts, "apple", k=3, token_budget=20) == [texts[0], texts[1], texts[2]]
    assert select_top_k(texts, "apple", k=5, min_score=0.01) == [texts[0], texts[2], texts[3]]
    assert select_top_k([], "apple") == []
    assert select_top_k(texts, "zebra", k=2) == texts[:2]
    for wrong in ({"k": 0}, {"token_budget": 0}):
        with pytest.raises(ConfigError):
            select_top_k(texts, "apple", **wrong)


def test_sentences_are_chosen_as_they_stand() -> None:
    text = "Dr. Smith saw\nthe patient. The dose was 20 mg. It rained. The dose was\nraised to 40 mg (see Fig. 3). Fin."
    assert select_sentences(text, "dose", 100) == ["The dose was 20 mg.", "The dose was\nraised to 40 mg (see Fig. 3)."]
    assert select_sentences(text, "dose", 8) == ["The dose was 20 mg."]
    assert select_sentences("今天下雨。患者发热三天。他回家了。", "发热", 100) == ["患者发热三天。"]
    assert select_sentences(text, None, 1000)[0] == "Dr. Smith saw\nthe patient."


def test_an_extract_is_checked_and_calls_no_model(state_dir: Path) -> None:
    """Without a key, without a model; its sentences are the document's."""
    text = document(8)
    summary = summarize(text, method="extract", query="hall 5 crates", cite=True, max_tokens=60, **options(state_dir))
    assert "hall 5 holds 196 crates" in summary.text
    assert summary.unsupported == ()
    assert [text[claim.start : claim.end] for claim in summary.citations] == [c.quote for c in summary.citations]
    assert summary.run.summary.usage == {}
    plain = summarize(
        [Document("a", text), Document("b", "One thing was said here. Another was not.")],
        method="extract",
        together=False,
        **options(state_dir),
    )
    assert "[" not in plain.text
    assert plain.texts["b"] == "One thing was said here. Another was not."


def test_top_k_asks_about_few_chunks_and_tells_of_the_rest(state_dir: Path) -> None:
    def answer(request: Any) -> str:
        models.note(request)
        return faithful(request)

    text = document(12)
    how = options(state_dir, job_id="top", models=fake(answer))
    summary = summarize(text, query="how many crates does hall 7 hold?", top_k=2, **how)
    assert "hall 7 holds 270 crates" in summary.text
    chunks = {result.chunk_id for result in summary.run.results}
    assert len(summary.left_out) == len(chunks) - 2
    assert len(models.noted()) == 3  # two chunks, and their merge
    again = summarize(text, query="how many crates does hall 7 hold?", top_k=2, **how)
    assert (again.text, again.left_out, models.noted()) == (summary.text, summary.left_out, [])
    with pytest.raises(ConfigError, match="query"):
        summarize(text, top_k=2, **how)


def test_what_top_k_chooses_has_room_in_a_call(state_dir: Path) -> None:
    """By the model's window: of ten, as many as all of their text fits."""

    def answer(request: Any) -> str:
        models.note(request)
        return "short"

    spec, asked = fake(answer), []
    for window in (3_000, 100_000):
        named = ModelSpec(spec.name, provider=spec.provider, context_window=window, max_output=200)
        summary = summarize(document(20), query="crates of tea in a hall", top_k=10, models=named, **options(state_dir))
        asked.append([count(data(request)) for request in models.noted() if "hall" in data(request)])
        assert len(asked[-1]) + len(summary.left_out) == len(summary.run.results) > 20
    assert 1 < len(asked[0]) < 10 == len(asked[1])
    assert sum(asked[0]) < 3_000 < sum(asked[1])


# methods and reducers


@pytest.mark.parametrize("cite", [False, True])
def test_all_of_a_text_is_in_the_prompts(state_dir: Path, cite: bool) -> None:
    """Each word of it once, in order, in whatever script, and what looks like a fence, a mark or a placeholder."""

    def answer(request: Any) -> str:
        models.note(request)
        return faithful(request)

    odd = "$text ${text} {text} %s [1] </data-000000000000> 事实是第三号仓库 \u202eabc e\u0301 🤒 \t| a | b |\n> q"
    text = document(6).replace("\n\n", f"\n\n{odd}\n\n")
    summary = summarize(text, cite=cite, models=fake(answer), **options(state_dir, overlap_tokens=0))
    seen = [re.sub(r"^\[Section \d\]\n", "", data(request)) for request in models.noted()]
    seen = seen[: len(summary.run.results)]
    assert len(seen) > 6
    assert " ".join(seen).split() == text.split()


def test_a_running_summary_goes_through_the_text_in_order(state_dir: Path) -> None:
    """Each call sees what there is so far, and the next part; nothing of the text is lost on the way."""

    def answer(request: Any) -> str:
        models.note(request)
        return f"so far {len(models.ASKED)}"

    text = document(6)
    summary = summarize(text, method="refine", models=fake(answer), job_id="run", **options(state_dir))
    seen = [request.prompt for request in models.noted()]
    assert len(seen) == len(summary.run.results) > 4
    assert summary.text == f"so far {len(seen)}"
    assert all(f"so far {at}\n" in prompt for at, prompt in enumerate(seen[1:], 1))
    for at in range(1, 7):
        assert any(f"hall {at} holds" in prompt for prompt in seen)
    assert summarize(text, method="refine", models=fake(answer), job_id="run", **options(state_dir)).text
    assert models.noted() == []


def test_refine_is_a_reducer(state_dir: Path) -> None:
    def shout(chunk: Any, context: Any) -> str:
        return f"part {chunk.start > 0}"

    def answer(request: Any) -> str:
        assert "$summary" not in request.prompt
        return f"{data(request)}!"

    documents = [Document("a", document(2)), Document("b", "x")]
    with MapReduceRunner(models=fake(answer), map_version="1", **options(state_dir)) as runner:
        run = runner.run(documents, shout, refine("Add $text to $summary, $text"))
        each = runner.run(documents, shout, refine("$summary$text"), per_document=True)
    assert str(run.result).endswith("!")
    assert each.result["b"] == "part False"


def test_sections_are_merged_first(state_dir: Path) -> None:
    """group_by="heading": no call joins parts of two sections before each is one."""

    def answer(request: Any) -> str:
        models.note(request)
        return "+".join(sorted(set("".join(data(request).split("\n\n")).replace("+", ""))))

    def letter(chunk: Any, context: Any) -> str:
        return "a" if "alpha" in chunk.text else "b"

    text = f"# Doc\n\n## A\n\n{'alpha word. ' * 400}\n\n## B\n\n{'beta word. ' * 400}"
    with MapReduceRunner(models=fake(answer), map_version="1", **options(state_dir, overlap_tokens=0)) as runner:
        done = runner.run(text, letter, tree_reduce("Join: $text", group_by="heading"))
    assert done.result == "+++a+b" or set(str(done.result)) == {"+", "a", "b"}
    merged = [data(request) for request in models.noted()]
    mixed = [one for one in merged if "a" in one and "b" in one]
    assert mixed == merged[-1:]
    with pytest.raises(ConfigError, match="group_by"):
        tree_reduce("$text", group_by="page")  # type: ignore[arg-type]


def test_collect_counts_and_keeps_each_once() -> None:
    values = results(["a", "b"], "a", None, ["c", "a"])
    assert collect(values) == [["a", "b"], "a", None, ["c", "a"]]
    assert collect(unique=True)(values) == ["a", "b", "c"]
    assert collect(count=True)(values) == {"a": 3, "b": 1, "c": 1}
    named = results({"code": "J45", "n": 1}, [{"code": "J45", "n": 2}, {"code": "E11", "n": 1}])
    assert collect(named, unique="code") == [{"code": "J45", "n": 1}, {"code": "E11", "n": 1}]
    assert collect(named, count="code") == {"J45": 2, "E11": 1}
    assert collect(named, count=lambda one: one["n"]) == {"1": 2, "2": 1}


def test_a_vote_says_what_most_results_say() -> None:
    assert vote(results("yes", "no", "yes", None)) == {"value": "yes", "share": 2 / 3, "votes": {"yes": 2, "no": 1}}
    assert vote(results({"prediction": 1}, 2, {"prediction": 2}))["value"] == 2
    assert vote(results(None)) == {"value": None, "share": 0.0, "votes": {}}
    assert vote(results("b", "a"))["value"] == "b"


# adaptive


def test_chunks_follow_the_window_and_the_length() -> None:
    """What fits is one; what does not is cut into many parts of equal size, and nothing is lost."""
    words = "The committee met and talked. " * 4000  # 20,000 tokens and more
    assert len(list(FittedChunker(room=100_000).chunk(words))) == 1
    cut = list(FittedChunker(room=6000).chunk(words))
    assert "".join(chunk.text[chunk.overlap :] for chunk in cut) == words
    assert 25 < len(cut) < 45
    assert max(chunk.tokens for chunk in cut) <= 800
    long = list(FittedChunker(room=6000).chunk(words * 10))
    assert 60 < len(long) < 85
    assert max(chunk.tokens for chunk in FittedChunker(room=500).chunk(words)) <= 500
    rows = "id,value\n" + "\n".join(f"{n},{n * 3}" for n in range(9000))
    assert max(chunk.tokens for chunk in FittedChunker(room=6000).chunk(rows)) > 1200


def test_answers_are_as_long_as_their_text_needs(state_dir: Path) -> None:
    """clamp(half of the text, 200, what the model can say); max_tokens= beats it."""

    def answer(request: Any) -> str:
        models.note(request)
        return "short"

    spec = fake(answer)
    small = ModelSpec(spec.name, provider=spec.provider, context_window=16_000, max_output=400)
    summarize("Short text.", models=small, state_dir=state_dir, strategy="sequential")
    summarize("A longer text goes here. " * 100, models=small, state_dir=state_dir, strategy="sequential")
    summarize("A longer text goes here. " * 1000, models=small, state_dir=state_dir, strategy="sequential")
    assert [request.max_tokens for request in models.noted()] == [200, 300, 400]
    summarize("A text. " * 300, models=small, state_dir=state_dir, strategy="sequential", max_tokens=77)
    assert models.noted()[-1].max_tokens == 77


def test_strategies_have_the_same_results_and_the_same_log(state_dir: Path) -> None:
    """Each record of it, but for times, who ran what, and into how many records documents and chunks are put."""
    how = options(state_dir, models=fake(faithful, name="m"))
    texts, logs = [], []
    for strategy in ("parallel", "streaming", "sequential"):
        source = (Document(f"d{n}", document(3) + str(n)) for n in range(4))
        summary = summarize(source, job_id=strategy, **how | {"strategy": strategy})
        texts.append((summary.text, [result.result for result in summary.run.results]))
        logs.append(told(Job(strategy, state_dir=state_dir).folder))
    assert len(logs[0]["CALL"]) == len(texts[0][1]) + 1 > 10
    assert texts[0] == texts[1] == texts[2]
    assert logs[0] == logs[1] == logs[2]


def told(folder: Path) -> dict[str, Any]:
    """What a log says, in the order of the tasks."""
    found: dict[str, Any] = {"INTENT": [], "CALL": [], "RESULT": [], "CLOSE": []}
    with ResumeEngine(folder) as stored:
        epoch = stored.epoch
        assert epoch is not None
        found["job"] = replace(epoch.job, job_id="", at=0.0)
        found["documents"] = list(stored.documents())
        found["chunks"] = list(stored.chunk_table())
        found["rounds"] = {at: (one.total, one.version) for at, one in epoch.rounds.items()}
        for frame in stored.reader.frames():
            name = codec.KIND_NAMES[frame.kind]
            if name == "INTENT":
                found[name].append(replace(unpack_intent(frame.payload), at=0.0))
            elif name == "CALL":
                found[name].append(replace(unpack_call(frame.payload), at=0.0, latency_ms=0.0))
            elif name == "RESULT":
                found[name].append(unpack_result(frame.payload)._replace(at=0.0, duration_ms=0.0, worker_id=0))
            elif name == "CLOSE":
                close = unpack_close(frame.payload)
                timed = {"job_id", "duration_ms", "throughput"}
                found[name].append((close.state, {k: v for k, v in close.summary.items() if k not in timed}))
    for name in ("INTENT", "CALL", "RESULT"):
        found[name].sort(key=lambda record: (record.round, record.chunk_id))
    return found


def test_the_strategy_of_the_environment_counts_where_none_is_given(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, how = document(10), {"models": fake("noted", name="m"), "target_tokens": 600, "state_dir": state_dir}
    monkeypatch.setenv("MRENGINE_STRATEGY", "sequential")
    assert summarize(text, job_id="told", **how).run.results[0].worker_id == 0
    monkeypatch.setenv("MRENGINE_STRATEGY", "upside-down")
    with pytest.raises(ConfigError, match="strategy"):
        summarize(text, job_id="wrong", **how)
    assert summarize(text, strategy="sequential", job_id="given", **how).text == "noted"


LONG = pytest.mark.system


@pytest.mark.parametrize(
    ("tokens", "chunks", "least", "call_s"),
    [
        (10_000, 15, 4, 0.5),
        pytest.param(10_000, 15, 4, 1.0, marks=LONG),
        pytest.param(30_000, 45, 8, 1.0, marks=LONG),
        pytest.param(100_000, 70, 12, 1.0, marks=LONG),
    ],
)
def test_a_long_text_takes_two_rounds_of_calls(
    state_dir: Path, tokens: int, chunks: int, least: int, call_s: float
) -> None:
    """From the first request to the last answer, by far less than one call after the other."""
    text = " ".join(f"Sentence {n} tells of crate {n * 7} and of nothing else at all." for n in range(tokens // 15))
    with LLMServer(answer="In short.", latency_s=call_s) as server:
        summary = summarize(text, models=f"{server.url}#m", progress=False, state_dir=state_dir)
        stats = server.stats()
    assert len(summary.run.results) >= chunks
    assert stats.requests == len(summary.run.results) + 1
    assert stats.requests * call_s / stats.span_s > least
