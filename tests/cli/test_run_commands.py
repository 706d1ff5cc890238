"""run, resume and chunk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mrengine.testing.server import LLMServer

ASK = ["--prompt", "Say: $text", "--model", "fake", "--target-tokens", "200"]


def test_a_run_prints_data_on_stdout_and_the_rest_on_stderr(cli: Any) -> None:
    """The job id comes first on stderr, and that the same command resumes; it does."""
    done = cli("run", "visit.txt", *ASK)
    assert done.returncode == 0
    assert all(line.startswith("An answer of the fake model") for line in done.stdout.splitlines())
    told = re.match(r"job (auto-[0-9a-f]{16}): (\d+) chunks, 0 done; the same command resumes\n", done.stderr)
    assert told
    again = cli("run", "visit.txt", *ASK)
    assert again.stdout == done.stdout
    assert f"job {told[1]}: {told[2]} chunks, {told[2]} done" in again.stderr


def test_json_is_a_line_for_each_record(cli: Any) -> None:
    """Results as objects, with their usage; --quiet says nothing else."""
    done = cli("run", "visit.txt", *ASK, "--json", "--quiet")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["chunk_id"] for record in records] == list(range(len(records)))
    assert {record["type"] for record in records} == {"result"}
    assert records[0]["usage"]["output_tokens"] > 0
    assert done.stderr == ""


def test_lines_end_with_a_line_feed_alone(cli: Any, tmp_path: Path) -> None:
    """A line separator inside a JSON string is no end of the line; blank lines are no documents."""
    (tmp_path / "lines.jsonl").write_bytes('{"a": "x\u2028y"}\r\n\n{"a": "z"}'.encode())
    (tmp_path / "own.py").write_text("def text(chunk, context):\n    return [chunk.document_id, chunk.text]\n")
    done = cli("run", "lines.jsonl", "--each-line", "--map", "own:text", "--json")
    assert [json.loads(line)["result"] for line in done.stdout.splitlines()] == [
        ["lines.jsonl:1", '{"a": "x\u2028y"}'],
        ["lines.jsonl:3", '{"a": "z"}'],
    ]


def test_a_mended_function_goes_on_with_its_job_and_its_answers(cli: Any, tmp_path: Path) -> None:
    """A mistake after the call costs no second call: the same command runs the mended function over what was bought."""
    code = (
        'def half(chunk, context):\n    answer = context.complete("Say: " + chunk.fenced).text\n    return {}["text"]\n'
    )
    (tmp_path / "mine.py").write_text(code)
    with LLMServer(answer="bought") as server:
        command = ["run", "visit.txt", "--map", "mine:half", "--model", f"{server.url}#m", "--target-tokens", "200"]
        failed = cli(*command)
        asked = server.stats().requests
        (tmp_path / "mine.py").write_text(code.replace('{}["text"]', "answer"))
        done = cli(*command)
        assert (failed.returncode, done.returncode) == (1, 0)
        assert asked > 1
        assert server.stats().requests == asked
    assert set(done.stdout.split()) == {"bought"}
    assert re.findall("auto-[0-9a-f]{16}", failed.stderr)[0] in done.stderr


def test_a_schema_makes_answers_values(cli: Any, tmp_path: Path) -> None:
    """What the model answers is validated JSON, printed as such; the prompt is read from its file."""
    (tmp_path / "visit.json").write_text(json.dumps({"type": "object", "properties": {"fever": {"type": "boolean"}}}))
    (tmp_path / "ask.txt").write_text("Was there a fever?\n$text")
    with LLMServer(answer='{"fever": true}', record=1) as server:
        options = ["--prompt-file", "ask.txt", "--schema", "visit.json", "--system", "Be brief.", "--max-tokens", "9"]
        done = cli("run", "visit.txt", *options, "--model", f"{server.url}#m")
        body = json.dumps(server.requests()[0]["body"])
    assert json.loads(done.stdout) == {"fever": True}
    assert "Was there a fever?" in body
    assert "Be brief." in body


def test_a_reducer_makes_one_answer(cli: Any) -> None:
    """By name; with --json the value in one line."""
    done = cli("run", "visit.txt", *ASK, "--reduce", "medical_report_aggregator", "--json")
    assert json.loads(done.stdout)["metadata"]["total_sections"] > 1


def test_failed_chunks_withhold_the_answer(cli: Any, tmp_path: Path) -> None:
    """Exit code 3, records are written all the same; --max-failed accepts them."""
    (tmp_path / "triage.py").write_text("def odd(chunk, context):\n    return 1 / (chunk.id % 2)\n")
    options = ["run", "visit.txt", "--map", "triage:odd", "--target-tokens", "200", "--model", "fake"]
    done = cli(*options, "--reduce", "collect")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "chunk 0 of visit.txt failed (error): ZeroDivisionError" in done.stderr
    assert "--max-failed" in done.stderr
    records = cli(*options, "--json")
    assert records.returncode == 3
    assert {json.loads(line)["type"] for line in records.stdout.splitlines()} == {"result", "failure"}
    assert cli(*options, "--reduce", "collect", "--max-failed", "99").returncode == 0


def test_what_json_or_the_terminal_cannot_say_is_escaped(cli: Any, tmp_path: Path) -> None:
    """Bytes, NaN, lone surrogates: a line of output each, no traceback."""
    code = 'def odd(chunk, context):\n    return {"n": float("nan"), "b": b"\\0", "s": "\\ud800"}\n'
    code += 'def text(chunk, context):\n    return "\\ud800é"\n'
    (tmp_path / "values.py").write_text(code)
    done = cli("run", "visit.txt", "--map", "values:odd")
    assert json.loads(done.stdout) == {"n": None, "b": "AA==", "s": "\ud800"}
    done = cli("run", "visit.txt", "--map", "values:text", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "\\ud800\\xe9\n")


def test_a_dry_run_calls_nothing(cli: Any) -> None:
    """It says chunks, calls and tokens."""
    done = cli("run", "visit.txt", *ASK, "--dry-run")
    estimate = json.loads(done.stdout)
    assert estimate["calls"] == estimate["chunks"] > 1
    assert cli("jobs").stdout == ""


def test_a_job_is_resumed_by_its_id_alone(cli: Any, tmp_path: Path) -> None:
    """After a budget stopped it: without its document and its prompt, with another budget; nothing is asked twice."""
    with LLMServer(latency_s=0.01) as server:
        options = ["--prompt", "Say $text", "--model", f"{server.url}#m", "--target-tokens", "100", "--workers", "1"]
        options += ["--max-tokens", "50"]
        stopped = cli("run", "visit.txt", *options, "--job-id", "j", "--max-tokens-total", "900")
        assert stopped.returncode == 4
        assert "mrengine export j" in stopped.stderr
        assert server.stats().ok > 0
        (tmp_path / "visit.txt").unlink()
        done = cli("resume", "j", "--max-tokens-total", "100000", "--json")
        assert done.returncode == 0
        assert "the same command resumes" in done.stderr
        assert len(done.stdout.splitlines()) == server.stats().distinct
        assert server.stats().paid_twice == 0


def test_chunk_prints_the_chunks(cli: Any, tmp_path: Path) -> None:
    """They tile the document."""
    rows = [line.split("\t") for line in cli("chunk", "visit.txt", "--target-tokens", "100").stdout.splitlines()]
    assert rows[0][2] == "0"
    assert [row[2] for row in rows[1:]] == [row[3] for row in rows[:-1]]
    assert rows[-1][3] == str(len((tmp_path / "visit.txt").read_text()))
    assert all(int(row[5]) <= 100 for row in rows)
