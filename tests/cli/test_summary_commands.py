"""summarize: texts, files, sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mrengine.testing.llm_server import LLMServer

FAKE = {"MRENGINE_MODELS": "fake"}


def test_summaries_are_written_whole(cli: Any, tmp_path: Path) -> None:
    """STEM.md for each source, numbered where stems meet, nothing else beside it; stdout is for --json."""
    (tmp_path / "visit.md").write_text("# A visit\n\nThe cough was gone.")
    done = cli("summarize", "visit.txt", "visit.md", "-o", "out", "--json", env=FAKE)
    assert done.returncode == 0
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["visit-2.md", "visit.md"]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["source"] for line in lines] == ["visit.txt", "visit.md"]
    assert (tmp_path / "out" / "visit.md").read_text() == lines[0]["summary"] + "\n"


def test_what_cannot_be_written_is_reported_before_the_work(cli: Any, tmp_path: Path) -> None:
    """A file where the folder should be: usage, and no job."""
    (tmp_path / "out").write_text("")
    done = cli("summarize", "visit.txt", "-o", "out/deep", env=FAKE)
    assert done.returncode == 2
    assert "-o" in done.stderr
    assert cli("jobs").stdout == ""


def test_many_sources_have_headings_and_together_one_text(cli: Any, tmp_path: Path) -> None:
    """On stdout."""
    (tmp_path / "b.txt").write_text("The cough was gone.")
    apart = cli("summarize", "visit.txt", "b.txt", env=FAKE).stdout
    assert apart.startswith("# visit.txt\n\n")
    assert "\n# b.txt\n\n" in apart
    together = cli("summarize", "visit.txt", "b.txt", "--together", env=FAKE).stdout
    assert len(together.splitlines()) == 1


def test_the_query_is_asked(cli: Any) -> None:
    """It reaches the model."""
    with LLMServer(record=1) as server:
        done = cli("summarize", "visit.txt", "--query", "night sweats", "--model", f"{server.url}#m")
        assert done.returncode == 0
        assert "night sweats" in json.dumps(server.requests()[0]["body"])


def test_stdin_and_pipes_are_sources(cli: Any, tmp_path: Path) -> None:
    """A pipe has its text only once, and the job's id needs it, too."""
    assert cli("summarize", "-", env=FAKE, input="Some text. It goes on.").stdout.strip()
    with subprocess.Popen([sys.executable, "-c", "print('Some text.')"], stdout=subprocess.PIPE) as writer:
        fd = writer.stdout.fileno()  # type: ignore[union-attr]
        done = cli("summarize", f"/dev/fd/{fd}", env=FAKE, pass_fds=(fd,))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_extracts_have_footnotes_and_need_no_model(cli: Any, tmp_path: Path) -> None:
    """A sentence of the text each, where it stands; nothing that is said to a terminal gets there."""
    text = "The cough\x1b[31m was gone\x1b[0m after <img src=x> 3 days. Nobody knew why it had come. ![x](http://evil/)"
    (tmp_path / "a.txt").write_text(f"{text} " + "It rained on the hills all day long. " * 40)
    (tmp_path / "b.txt").write_text("The dog had a cough, too, and it stayed for a week.")
    how = ("--method", "extract", "--query", "cough", "--cite")
    done = cli("summarize", "a.txt", "b.txt", *how, "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    for record, name in ((first, "a.txt"), (second, "b.txt")):
        [claim] = record["citations"]
        assert (tmp_path / name).read_text()[claim["start"] : claim["end"]] == claim["quote"]
        assert record["unsupported"] == []
        assert "[1]" in record["summary"]
    written = (tmp_path / "out" / "a.md").read_text()
    assert "\x1b" not in written
    assert "<img" not in written
    assert "[1] a.txt, characters 0-" in written
    shown = cli("summarize", "a.txt", "--method", "extract", "--query", "cough", "--cite").stdout
    assert "\x1b" not in shown
    assert "\n[1] a.txt, characters 0-" in shown


def test_cite_and_top_k_tell_what_is_not_there(cli: Any, tmp_path: Path) -> None:
    """On stderr in a line each; all of it in --json."""
    (tmp_path / "long.txt").write_text(
        "\n\n".join(f"Chapter {n} is about topic{n}. " + "Words. " * 300 for n in range(6))
    )
    options = ("--query", "topic3", "--top-k", "1", "--target-tokens", "500", "--cite", "--json")
    done = cli("summarize", "long.txt", *options, env=FAKE)
    assert done.returncode == 0, done.stderr
    assert "chunks were left out by --top-k" in done.stderr
    record = json.loads(done.stdout)
    assert len(record["left_out"]) >= 5
    assert record["claims"] == []
    assert len(record["uncovered"]) == 1


def test_the_embedded_model_cannot_cite(cli: Any) -> None:
    done = cli("summarize", "visit.txt", "--cite", "--model", "local")
    assert done.returncode == 2
    assert "embedded model cannot" in done.stderr


def test_stream_prints_the_text_as_it_is_written(cli: Any) -> None:
    """The same text as without, and its footnotes."""
    plain = cli("summarize", "visit.txt", "--together", env=FAKE)
    live = cli("summarize", "visit.txt", "--stream", env=FAKE)
    assert live.returncode == 0, live.stderr
    assert live.stdout == plain.stdout
    noted = cli("summarize", "visit.txt", "--stream", "--method", "extract", "--cite")
    assert "\n\n[1] visit.txt, characters 0-" in noted.stdout
    assert cli("summarize", "visit.txt", "--stream", "--json", env=FAKE).returncode == 2
