"""Answers over jobs, and identical calls of one job: what is bought once is not bought again, by its owner."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, map_prompt
from mrengine.errors import ConfigError
from mrengine.log import shared_answers
from mrengine.log.shared_answers import SharedAnswers, prune, stats
from mrengine.records import ModelSpec, Price
from mrengine.testing.llm_server import LLMServer
from mrengine.worker import logged_call

DOCUMENTS = [f"document number {n} of some words" for n in range(20)]
NEXT = [*DOCUMENTS[:18], "a new one", "another"]
PRICE = Price(1e5, 1e5)
PROMPT = map_prompt("Say: $text", max_tokens=30)


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def server(shared: LLMServer, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> LLMServer:
    for name in "AB":
        monkeypatch.setenv(f"KEY_{name}", f"sk-{name}-3141592653589793")
    shared.reset()
    return shared


def run(server: LLMServer, job: str | None, documents: Any = DOCUMENTS, prompt: Any = PROMPT, **settings: Any) -> Any:
    given = {"name": "m", "base_url": server.url, "api_key_env": "KEY_A", "price": PRICE, **settings.pop("spec", {})}
    settings = {"answers": "shared", "workers": 3, "slots": 2, "target_tokens": None, **settings}
    return MapReduceRunner(job, models=ModelSpec(**given), **settings).run(documents, prompt)


def test_a_second_job_pays_for_what_is_new(server: LLMServer, state_dir: Path) -> None:
    """The same results, and a tenth of the bill; also where the first job is gone."""
    first = run(server, "a")
    second = run(server, "b", NEXT)
    assert server.stats().requests == 22
    assert [one.result for one in second.results][:18] == [one.result for one in first.results][:18]
    assert second.summary.reused_calls == 18
    assert second.summary.cost_usd == pytest.approx(first.summary.cost_usd * 0.1, rel=0.25)
    assert (state_dir / "answers.sqlite3").stat().st_mode & 0o777 == 0o600
    assert b"3141592653589793" not in (state_dir / "answers.sqlite3").read_bytes()
    assert stats(state_dir / "answers.sqlite3").answers == 22


OTHERS: dict[str, dict[str, Any]] = {
    "key": {"spec": {"api_key_env": "KEY_B"}},
    "model": {"spec": {"name": "n"}},
    "parameters": {"spec": {"params": {"top_p": 0.5}}},
    "headers": {"spec": {"headers": {"x-team": "b"}}},
    "temperature": {"prompt": map_prompt("Say: $text", max_tokens=30, temperature=0.5)},
    "max_tokens": {"prompt": map_prompt("Say: $text", max_tokens=31)},
    "prompt": {"prompt": map_prompt("Tell: $text", max_tokens=30)},
    "not asked for": {"answers": "job"},
    "another file": {"answers": Path("elsewhere/mine.sqlite3")},
}


@pytest.mark.parametrize("what", OTHERS)
def test_nothing_is_taken_from_another(
    server: LLMServer, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model, parameters, prompt, endpoint and the key's owner: any that differs makes another call."""
    monkeypatch.chdir(tmp_path)
    run(server, "a", DOCUMENTS[:3])
    run(server, "b", DOCUMENTS[:3], **OTHERS[what])
    assert server.stats().requests == 6
    run(server, "c", DOCUMENTS[:3])
    assert server.stats().requests == 6


def test_another_endpoint_is_another_owner(server: LLMServer) -> None:
    """Two servers of the same model name need not be the same model."""
    run(server, "a", DOCUMENTS[:3])
    with LLMServer() as other:
        run(other, "b", DOCUMENTS[:3])
        assert other.stats().requests == 3


def test_calls_that_must_not_be_reused_are_not(server: LLMServer) -> None:
    """reuse=False takes none and leaves none; equal chunks of one run have an answer each."""

    def fresh(chunk: Any, context: Any) -> str:
        return str(context.complete(chunk.text, reuse=False))

    run(server, "a", DOCUMENTS[:3], fresh, map_version="1")
    run(server, "b", DOCUMENTS[:3], fresh, map_version="1")
    assert server.stats().requests == 6
    run(server, "c", ["the same"] * 4)
    assert server.stats().requests == 10
    run(server, "d", ["the same"] * 4)
    assert server.stats().requests == 10


def test_turns_are_shared_too(server: LLMServer) -> None:
    """An answer in three parts is found whole."""
    server.reset(answer=" ".join(f"w{n}" for n in range(100)))
    prompt = map_prompt("Say: $text", max_tokens=40, on_truncation="continue")
    first = run(server, "a", DOCUMENTS[:2], prompt)
    asked = server.stats().requests
    second = run(server, "b", DOCUMENTS[:2], prompt)
    assert server.stats().requests == asked > 2
    assert [one.result for one in first.results] == [one.result for one in second.results]


@pytest.mark.parametrize("trouble", ["deleted", "garbage", "folder", pytest.param("locked", marks=pytest.mark.system)])
def test_a_file_in_trouble_costs_calls_and_no_chunk(
    server: LLMServer, state_dir: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands there, the job is done, and told."""
    run(server, "a", DOCUMENTS[:3])
    path = state_dir / "answers.sqlite3"
    lock = sqlite3.connect(path, isolation_level=None)
    if trouble == "locked":
        monkeypatch.setattr(shared_answers, "BUSY_S", 0.05)
        lock.execute("BEGIN IMMEDIATE")
    else:
        lock.close()
        path.unlink()
    if trouble == "garbage":
        path.write_bytes(b"no database at all" * 1000)
    if trouble == "folder":
        path.mkdir()
    assert len(run(server, "b", DOCUMENTS[:4]).results) == 4
    lock.close()
    if trouble == "garbage":
        assert len(run(server, "c", DOCUMENTS[:4]).results) == 4
        assert stats(path).answers > 0


def test_it_is_bounded_by_size_and_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used longest ago goes first; the file shrinks."""
    path = tmp_path / "a.sqlite3"
    store = SharedAnswers(str(path), "run")
    now = [1e9]
    monkeypatch.setattr(shared_answers.time, "time", lambda: now[0])
    for number in range(100):
        store.add(number.to_bytes(16, "big"), "m", bytes(10_000))
        now[0] += 60
    assert store.find((0).to_bytes(16, "big")) is None  # its own
    store.close()
    large = stats(path).file_bytes
    assert prune(path, max_bytes=300_000) == 70
    other = SharedAnswers(str(path), "other")
    assert other.find((69).to_bytes(16, "big")) is None
    assert other.find((70).to_bytes(16, "big")) == bytes(10_000)
    now[0] += shared_answers.TOUCH_S + 1
    assert other.find((75).to_bytes(16, "big")) is not None
    other.close()
    assert stats(path).file_bytes < large / 2
    now[0] += shared_answers.MAX_AGE_S - 10
    assert prune(path) == 29
    assert stats(path).answers == 1
    assert prune(tmp_path / "none") == 0


WRITER = """
import sys
from mrengine.log.shared_answers import SharedAnswers
store = SharedAnswers(sys.argv[1], sys.argv[2])
print("go", flush=True)
number = 0
while True:
    store.add(number.to_bytes(16, "big"), "m", bytes(50) + number.to_bytes(8, "big"))
    number += 1
"""


def test_writers_that_are_killed_leave_a_sound_file(tmp_path: Path) -> None:
    """Again and again, while others write."""
    path = tmp_path / "a.sqlite3"
    for round_ in range(3):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"{round_}-{n}"], stdout=subprocess.PIPE)
            for n in range(3)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        reader = SharedAnswers(str(path), "reader")
        while reader.find((20).to_bytes(16, "big")) is None:
            pass
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.communicate()
        reader.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for digest, payload in db.execute("SELECT digest, payload FROM answers"):
            assert int.from_bytes(digest, "big") == int.from_bytes(payload[50:], "big")


PRUNER = """
import sys
from pathlib import Path
from mrengine.log.shared_answers import prune
print("go", flush=True)
while True:
    prune(Path(sys.argv[1]), max_bytes=int(sys.argv[2]))
"""


@pytest.mark.parametrize("at_s", [0.0, 0.02, 0.2])
def test_a_prune_that_is_killed_leaves_a_sound_file(tmp_path: Path, at_s: float) -> None:
    """At any moment, while others write; the next one makes the file small, and the writers go on."""
    path = tmp_path / "a.sqlite3"
    with ExitStack() as stack:

        def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", code, str(path), *map(str, arguments)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            return process

        writers = [start(WRITER, n) for n in range(2)]
        for most in (20_000, 0, 5_000):
            pruner = start(PRUNER, most)
            time.sleep(at_s)
            os.kill(pruner.pid, signal.SIGKILL)
            pruner.wait()
        with closing(sqlite3.connect(path)) as db:
            newest = db.execute("SELECT MAX(at) FROM answers").fetchone()[0] or 0.0
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        patience = time.monotonic() + 60
        while (stats(path).newest_use or 0.0) <= newest:
            assert time.monotonic() < patience
        assert [writer.poll() for writer in writers] == [None, None]
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        prune(path, max_bytes=20_000)
        assert stats(path).bytes <= 20_000
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            for digest, payload in db.execute("SELECT digest, payload FROM answers"):
                assert int.from_bytes(digest, "big") == int.from_bytes(payload[50:], "big")


def test_a_file_that_is_deleted_or_pruned_under_a_running_job_costs_no_chunk(
    server: LLMServer, state_dir: Path
) -> None:
    """Nor is a call made twice within the job; what is answered later is kept in a new file."""
    documents = [f"document {number}" for number in range(30)]
    path = state_dir / "answers.sqlite3"

    def ask(chunk: Any, context: Any) -> str:
        if chunk.id == 10:
            prune(path, max_bytes=0)
        if chunk.id == 20:
            for file in path.parent.glob("answers.sqlite3*"):
                file.unlink()
        return str(context.complete(f"Say: {chunk.text}", max_tokens=20).text)

    done = run(server, "under", documents, ask, strategy="sequential")
    assert (len(done.results), server.stats().requests) == (30, 30)
    assert 9 <= stats(path).answers <= 10


def test_a_single_flight_makes_identical_calls_once(server: LLMServer) -> None:
    """In all workers, whichever chunk makes them, and where the first one fails."""

    def classify(chunk: Any, context: Any) -> str:
        return str(context.complete("kind of " + chunk.text.split()[-1], max_tokens=20))

    def less_patient() -> None:
        """Those that wait for a call that fails look for its answer for so long before they make their own."""
        logged_call.COMMIT_S = 1.5

    documents = [f"{n} cat" if n % 2 else f"{n} dog" for n in range(24)]
    settings: dict[str, Any] = {"answers": "job", "map_version": "1", "slots": 4, "backoff_s": 0.01}
    server.reset(latency_s=0.2, script=["500", "drop"])
    done = run(server, "a", documents, classify, single_flight=True, initializer=less_patient, **settings)
    assert server.stats().ok == 2
    assert len({one.result for one in done.results}) == 2
    assert done.summary.reused_calls == 22
    server.reset()
    run(server, "b", documents, classify, **settings)
    assert server.stats().ok == 24


def test_who_asks_twice_gets_two_answers_in_a_single_flight_too(server: LLMServer) -> None:
    """And threads of one task do not wait for each other for ever."""

    def vote(chunk: Any, context: Any) -> int:
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(context.complete("the same"))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(found)

    server.reset(latency_s=0.05)
    done = run(server, "a", DOCUMENTS[:6], vote, single_flight=True, answers="job", map_version="1")
    assert [one.result for one in done.results] == [3] * 6
    assert server.stats().ok == 3


@pytest.mark.parametrize("wrong", ["everywhere", 5])
def test_answers_is_checked(wrong: Any) -> None:
    """A word that is none."""
    with pytest.raises(ConfigError, match="answers"):
        MapReduceRunner(models="fake", answers=wrong)
