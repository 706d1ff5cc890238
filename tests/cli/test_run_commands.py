"""run, resume and chunk."""

from __future__ import annotations

import bz2
import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from mrengine.testing.llm_server import LLMServer
from tests.sources.pages import page, site

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
    assert f"job {told[1]}: {told[2]} chunks, {told[2]} done already\n" in again.stderr
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(rf"done: {told[2]} chunks, [\d.]+ s, [\d,]+ tokens, cost unknown; job {told[1]}", last)
    assert f"done: {told[2]} chunks, {told[2]} of earlier runs, " in again.stderr.splitlines()[-1]


def test_json_is_a_line_for_each_record(cli: Any, tmp_path: Path) -> None:
    """Results as objects, with their usage; --quiet says nothing else."""
    done = cli("run", "visit.txt", *ASK, "--json", "--quiet", "--profile", "profile.json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["chunk_id"] for record in records] == list(range(len(records)))
    assert {record["type"] for record in records} == {"result"}
    assert records[0]["usage"]["output_tokens"] > 0
    assert done.stderr == ""
    stages = json.loads((tmp_path / "profile.json").read_text())["statistics"]
    assert {"read", "cut", "call", "map function", "commit"} <= stages.keys()
    assert stages["call"]["count"] == len(records)


def test_lines_end_with_a_line_feed_alone(cli: Any, tmp_path: Path) -> None:
    """A line separator inside a JSON string is no end of the line; blank lines are no documents."""
    (tmp_path / "lines.jsonl").write_bytes('{"a": "x\u2028y"}\r\n\n{"a": "z"}'.encode())
    (tmp_path / "own.py").write_text("def text(chunk, context):\n    return [chunk.document_id, chunk.text]\n")
    done = cli("run", "lines.jsonl", "--each-line", "--map", "own:text", "--json")
    assert [json.loads(line)["result"] for line in done.stdout.splitlines()] == [
        ["lines.jsonl:1", '{"a": "x\u2028y"}'],
        ["lines.jsonl:3", '{"a": "z"}'],
    ]
    (tmp_path / "named.jsonl").write_text('{"visit": "v7", "note": "x"}\n{"visit": 9}\n')
    done = cli("run", "named.jsonl", "--each-line", "--id-column", "visit", "--map", "own:text", "--json")
    assert [json.loads(line)["result"] for line in done.stdout.splitlines()] == [
        ["named.jsonl:v7", '{"visit": "v7", "note": "x"}'],
        ["named.jsonl:9", '{"visit": 9}'],
    ]
    assert "visit" in cli("run", "lines.jsonl", "--each-line", "--id-column", "visit", "--map", "own:text").stderr


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
        (job,) = set(re.findall("auto-[0-9a-f]{16}", failed.stderr))
        (tmp_path / "mine.py").write_text(code.replace('{}["text"]', "answer * 2"))
        refused = cli("resume", job)
        again = cli("resume", job, "--on-mismatch", "recompute")
        assert server.stats().requests == asked
    assert set(done.stdout.split()) == {"bought"}
    assert (refused.returncode, "--on-mismatch 'recompute'" in refused.stderr) == (1, True)
    assert (again.returncode, set(again.stdout.split())) == (0, {"boughtbought"})
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
    assert "--max-failed is 0: the reduced answer is withheld" in done.stderr
    assert "results.failures" not in done.stderr
    assert "withheld" not in cli(*options).stderr
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
    """It says chunks, calls and tokens: to people, or with --json in a line."""
    estimate = json.loads(cli("run", "visit.txt", *ASK, "--dry-run", "--json").stdout)
    assert estimate["calls"] == estimate["chunks"] > 1
    told = cli("run", "visit.txt", *ASK, "--dry-run").stdout
    assert f"chunks:        {estimate['chunks']}\ncalls:         {estimate['calls']} to fake\n" in told
    assert "cost:          unknown: no price of fake is known; --price IN:OUT gives it" in told
    priced = json.loads(cli("run", "visit.txt", *ASK, "--dry-run", "--json", "--price", "1:0").stdout)
    assert priced["cost_usd"] == pytest.approx(estimate["input_tokens"] * 1.3e-6, rel=0.01)
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


@pytest.mark.parametrize("command", [["run", "visit.txt", "--prompt", "x"], ["summarize", "visit.txt"]])
@pytest.mark.parametrize("model", [["--model", "gpt-4o"], ["--model", "claude-sonnet-4-5", "--model", "gpt-4o"], []])
def test_a_dry_run_needs_no_key(cli: Any, command: list[str], model: list[str]) -> None:
    """Nor a model: then the embedded one is asked, which costs nothing, or the cost is unknown. What was assumed is
    said, and nothing is an upper bound.
    """
    done = cli(*command, *model, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "assumed:" in done.stdout
    assert "at most" not in done.stdout
    cost = next(line for line in done.stdout.splitlines() if line.startswith("cost:"))
    if model:
        assert re.fullmatch(r"cost: +\$0\.0\d*[1-9]\d*; \$0\.0\d* in batches \(--batch\)", cost)
    elif " to local" in done.stdout:
        assert re.fullmatch(r"cost: +nothing: local runs on this machine", cost)
    else:
        assert re.fullmatch(r"cost: +unknown: no model is named \(--model\)", cost)
    refused = cli(*command, "--model", "gpt-4o")
    assert (refused.returncode, "OPENAI_API_KEY" in refused.stderr) == (2, True)
    assert cli("jobs", "--json").stdout == ""


def test_a_dry_run_counts_the_calls_of_a_function(cli: Any, tmp_path: Path) -> None:
    """As it is told, or by a few chunks with a fake model."""
    code = "def twice(chunk, context):\n    return [context.complete(chunk.text).text for _ in range(2)]\n"
    (tmp_path / "triage.py").write_text(code)
    options = ["run", "visit.txt", "--map", "triage:twice", "--target-tokens", "200", "--dry-run", "--json"]
    one, told, measured = (
        json.loads(cli(*options, *more).stdout) for more in ([], ["--calls-per-chunk", "2"], ["--sample", "3"])
    )
    assert one["calls"] == one["chunks"]
    assert told["calls"] == measured["calls"] == 2 * one["chunks"]
    assert "--sample" in one["assumed"][0] or "sample" in one["assumed"][0]


def test_records_are_printed_where_every_chunk_failed(cli: Any, tmp_path: Path) -> None:
    """With --json, a line for each failure, and the exit code of a failed job; by resume, too, and after a budget."""
    (tmp_path / "triage.py").write_text("def bad(chunk, context):\n    raise KeyError('x')\n")
    options = ["--target-tokens", "200", "--model", "fake", "--job-id", "bad", "--json"]
    for done in (cli("run", "visit.txt", "--map", "triage:bad", *options), cli("resume", "bad", "--json")):
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 1
        assert len(records) > 1
        assert {record["type"] for record in records} == {"failure"}
    stopped = cli("run", "visit.txt", *ASK, "--max-tokens-total", "1200", "--json", "--workers", "1")
    assert stopped.returncode == 4
    kinds = [json.loads(line)["type"] for line in stopped.stdout.splitlines()]
    assert set(kinds) <= {"result"}


MODULE = """
import os
from pydantic import BaseModel
import mrengine, words

class Visit(BaseModel):
    text: str = "n"

ask = mrengine.map_prompt("$text", response_model=Visit)

def classify(chunk, context):
    if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")) and chunk.id > 1:
        raise ValueError
    import later
    return [words.count(chunk.text), later.NAME]
"""


def test_resume_finds_the_function_that_run_map_used(cli: Any, tmp_path: Path) -> None:
    """In the same folder, in another one that has a module of the same name, and what it imports later; not once it is
    gone, and then it says where it was.
    """
    (tmp_path / "words.py").write_text("def count(text):\n    return len(text.split())\n")
    (tmp_path / "later.py").write_text("NAME = 'later'\n")
    module = tmp_path / "triage.py"
    module.write_text(MODULE)
    (tmp_path / "broken").touch()
    options = ["run", "visit.txt", "--map", "triage:classify", "--target-tokens", "200", "--job-id", "j"]
    assert cli(*options).returncode == 3
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "triage.py").write_text("raise ImportError('another one')\n")
    assert cli("resume", "j", cwd=tmp_path).returncode == 3
    (tmp_path / "broken").unlink()
    for folder in (other, tmp_path):
        done = cli("resume", "j", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert {json.loads(line)["result"][1] for line in done.stdout.splitlines()} == {"later"}
    module.unlink()
    done = cli("resume", "j", cwd=other)
    assert (done.returncode, str(tmp_path) in done.stderr) == (2, True)


def test_results_that_are_instances_are_printed_as_json(cli: Any, tmp_path: Path) -> None:
    """A prompt of the user's module, whose response model is a class."""
    (tmp_path / "words.py").touch()
    (tmp_path / "triage.py").write_text(MODULE)
    done = cli("run", "visit.txt", "--map", "triage:ask", "--model", "fake", "--json")
    assert json.loads(done.stdout)["result"] == {"text": "n"}
    assert json.loads(cli("run", "visit.txt", "--map", "triage:ask", "--model", "fake").stdout) == {"text": "n"}
    collected = cli("run", "visit.txt", "--map", "triage:ask", "--model", "fake", "--reduce", "collect")
    assert json.loads(collected.stdout) == [{"text": "n"}]


def test_a_command_can_wait_for_another_one(cli: Any, tmp_path: Path) -> None:
    """--wait: it prints what the other one has done; without it, exit code 5 and the way out."""
    (tmp_path / "triage.py").write_text(
        "import os, time\n\ndef slow(chunk, context):\n    print('here')\n"
        "    while not os.path.exists('go'):\n        time.sleep(0.05)\n    return chunk.id\n"
    )
    options = ["run", "visit.txt", "--map", "triage:slow", "--target-tokens", "200", "--job-id", "j", "--json"]
    first = cli(*options, "--workers", "1", start=True)
    while "here" not in (line := first.stderr.readline()):
        assert line
    busy = cli(*options)
    assert (busy.returncode, "--wait" in busy.stderr) == (5, True)
    second = cli(*options, "--wait", "--timeout", "50", start=True)
    (tmp_path / "go").touch()
    waited, told = second.communicate(timeout=60)
    assert second.returncode == 0, told
    results = [[json.loads(line)["result"] for line in out.splitlines()] for out in (waited, first.communicate()[0])]
    assert results[0] == results[1]


def test_results_of_several_sources_have_headings(cli: Any, tmp_path: Path) -> None:
    """A heading for each source, not for each line of it; one source has none, and JSON never."""
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("three\n")
    (tmp_path / "own.py").write_text("def text(chunk, context):\n    return chunk.text.strip()\n")
    options = ["--map", "own:text", "--model", "fake"]
    assert cli("run", "a.txt", "b.txt", *options).stdout == "# a.txt\n\none\ntwo\n\n# b.txt\n\nthree\n"
    lines = ["run", "a.txt", "b.txt", "--each-line", *options, "--job-id", "lines"]
    assert cli(*lines).stdout == "# a.txt\n\none\ntwo\n\n# b.txt\n\nthree\n"
    assert cli("resume", "lines").stdout == "# a.txt\n\none\ntwo\n\n# b.txt\n\nthree\n"
    assert cli("run", "b.txt", *options).stdout == "three\n"
    assert len(cli(*lines, "--json").stdout.splitlines()) == 3


@pytest.mark.parametrize("prompt", ["Say {text}", "Say $txt", "Say {{ chunk }}", "Say ${document}", "Say %(text)s"])
def test_a_prompt_that_means_the_chunk_otherwise_is_warned_of(cli: Any, prompt: str) -> None:
    """It is sent as it stands; $text, and prompts with braces of their own beside it, are not warned of."""
    options = ["--model", "fake"]
    told = cli("run", "visit.txt", "--prompt", prompt, *options).stderr
    assert f"the prompt holds {prompt[4:]}, which is sent as it is: only $text stands for the chunk" in told
    sound = 'Answer as {"fever": bool, "costs": {usd}}, in $100 at most: $text'
    assert "sent as it is" not in cli("run", "visit.txt", "--prompt", sound, *options).stderr
    assert "sent as it is" not in cli("run", "visit.txt", "--prompt", "no place", *options).stderr


def test_all_sources_that_cannot_be_read_are_named(cli: Any, tmp_path: Path) -> None:
    """Whatever is wrong with each, with the pipe that makes text of it; nothing is asked, and no job begun."""
    (tmp_path / "paper.txt").write_bytes(rb"{\rtf1\ansi The fever fell.}")
    (tmp_path / "my notes.bz2").write_bytes(bz2.compress(b"notes"))
    (tmp_path / "wide.txt").write_bytes("The fever fell.".encode("utf-16-le"))
    (tmp_path / "late.txt").write_bytes(b"fine\n" * 9 + b"\xe4")
    sources = ["paper.txt", "visit.txt", "my notes.bz2", "wide.txt", "late.txt"]
    for more in ([], ["nofile", "https://user@example.org/"]):
        done = cli("run", *sources, *more, *ASK)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{4 + len(more)} of {5 + len(more)} sources cannot be read:\n" in done.stderr
        assert "paper.txt is an RTF document, not UTF-8 text" in done.stderr
        assert "'bzip2 -dc 'my notes.bz2' | mrengine … -' unpacks it" in done.stderr
        assert "'iconv -f UTF-16LE -t UTF-8 wide.txt | mrengine … -' converts it" in done.stderr
        assert "late.txt is not UTF-8 at byte 45 (line 10)" in done.stderr
    assert "nofile: there is no such file" in done.stderr
    assert cli("jobs").stdout == ""


def test_a_broken_line_of_json_is_reported_and_not_sent(cli: Any, tmp_path: Path) -> None:
    """With path and line; a byte order mark breaks none, and lines that are text are no JSON."""
    with LLMServer(record=9) as server:
        ask = ["--each-line", "--prompt", "x $text", "--model", f"{server.url}#m"]
        for name in ("visits.jsonl", "visits.txt"):
            (tmp_path / name).write_text('{"a": 1}\n{"a": "secret\n\n{"a": 3}\n{"a"}\n')
            done = cli("run", name, *ask)
            assert (done.returncode, done.stdout) == (1, "")
            assert f"{name}, line 2: not JSON" in done.stderr
            assert f"{name}, line 5: not JSON" in done.stderr
            assert "secret" not in done.stderr
        assert server.stats().requests == 0
        (tmp_path / "visits.jsonl").write_text('\ufeff{"a": 1}\n[2]\n')
        (tmp_path / "lines.log").write_text("[a line\n{another\n")
        assert cli("run", "visits.jsonl", "lines.log", *ask).returncode == 0
        assert server.stats().ok == 4


def test_a_price_makes_a_cost_limit_work_for_any_endpoint(cli: Any) -> None:
    """Given for all models or for one, in a run and in what resumes it; it changes nothing in the job."""
    with LLMServer(latency_s=0.01) as server:
        options = ["run", "visit.txt", "--prompt", "x $text", "--model", f"{server.url}#m", "--target-tokens", "100"]
        options += ["--max-tokens", "20", "--job-id", "priced", "--workers", "1"]
        stopped = cli(*options, "--price", "m=1000:1000", "--max-cost", "1")
        assert stopped.returncode == 4
        assert "could exceed the budget: " in stopped.stderr
        assert "USD are spent" in stopped.stderr
        assert "20 for the answer (its max_tokens)" in stopped.stderr
        assert "a larger --max-tokens-total or --max-cost goes on" in stopped.stderr
        assert re.search(
            r"^stopped: \d of \d+ chunks, .* tokens, \$[01]\.\d+; job priced$", stopped.stderr, re.MULTILINE
        )
        done = cli("resume", "priced", "--price", "0.1:0.2", "--max-cost", "2")
        assert done.returncode == 0, done.stderr
        assert "$" in done.stderr.splitlines()[-1]
        assert server.stats().paid_twice == 0
    for wrong in ("1", "a:b", "-1:2", "nan:1", "m:1:2:3"):
        assert "write IN:OUT" in cli("run", "visit.txt", *ASK, "--price", wrong).stderr
    assert "'z' is none of the models" in cli("run", "visit.txt", *ASK, "--price", "z=1:2").stderr


def test_sources_that_cannot_be_read_may_be_left_out(cli: Any, tmp_path: Path) -> None:
    """Those that are missing, too; each is told, and the others are done."""
    (tmp_path / "paper.txt").write_bytes(rb"{\rtf1\ansi The fever fell.}")
    options = [*ASK, "--skip-unreadable"]
    done = cli("run", "visit.txt", "paper.txt", "nofile", *options)
    assert done.returncode == 0, done.stderr
    assert "An answer" in done.stdout
    assert "2 of 3 sources cannot be read:" in done.stderr
    assert "nofile: there is no such file" in done.stderr
    assert "paper.txt is an RTF document" in done.stderr
    assert "they are left out" in done.stderr
    records = [
        json.loads(line)
        for line in cli("run", "visit.txt", "paper.txt", "nofile", *options, "--json").stdout.splitlines()
    ]
    told = [(record["document_id"], record["kind"]) for record in records if record["type"] == "failure"]
    assert told == [("paper.txt", "source"), ("nofile", "source")]
    assert cli("run", "nofile", "paper.txt", *options).returncode == 1
    one = cli("run", "visit.txt", "nofile", *ASK).stderr
    assert (
        "1 of 2 sources cannot be read:\n  nofile: there is no such file\n  --skip-unreadable leaves them out\n" in one
    )


def test_folders_urls_and_tables_are_sources(cli: Any, tmp_path: Path) -> None:
    """A folder's files by their paths, one of which cannot be read; rows of a table; pages."""
    ward = tmp_path / "ward"
    ward.mkdir()
    (ward / "a.txt").write_bytes("Größe".encode("utf-16"))
    (ward / "b.txt").write_text("The fever fell.")
    (ward / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    done = cli("run", "ward", *ASK, "--json", "--job-id", "ward")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["document_id"] for record in records] == ["ward/a.txt", "ward/b.txt", "ward/c.png"]
    assert (records[2]["kind"], "PNG" in records[2]["message"]) == ("source", True)
    (tmp_path / "visits.csv").write_text("visit,note,age\n7,It fell.,41\n9,It rose.,\n")
    how = ["--text-column", "note", "--id-column", "visit", "-o", "out.csv", "--job-id", "visits"]
    done = cli("run", "visits.csv", *ASK, *how)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "wrote out.csv" in done.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["document_id"], row["fields.age"]) for row in rows] == [("visits.csv:7", "41"), ("visits.csv:9", "")]
    assert "wrote again.jsonl" in cli("export", "visits", "-o", "again.jsonl").stderr
    assert len((tmp_path / "again.jsonl").read_text().splitlines()) == 2
    with site({"/": page(b"The fever fell.")}) as server:
        assert "is loopback" in cli("run", server.url, *ASK).stderr
        assert cli("run", server.url, *ASK, "--allow-private").returncode == 0
    assert cli("run", "visit.txt", *ASK, "-o", "out.xls").returncode != 0
