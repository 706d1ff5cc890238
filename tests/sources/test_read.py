"""Many sources: what cannot be read is named at once, and may be left out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner, read_source
from mrengine.errors import ConfigError, SourceError
from mrengine.sources import documents_of

RTF = b"{\\rtf1\\ansi The fever fell.}"


def text_of(chunk: Any, context: Any) -> str:
    return chunk.text


def sources(folder: Path) -> list[Any]:
    """Two that can be read around four that cannot, each for a reason of its own."""
    (folder / "good.txt").write_text("The fever fell.")
    (folder / "late.txt").write_bytes(b"fine\n" * 50_000 + b"\xff")
    (folder / "wide.txt").write_bytes("The fever fell.".encode("utf-16-be"))
    bad = [folder / "late.txt", folder / "wide.txt", folder / "nowhere.txt", Document("paper", io.BytesIO(RTF))]
    return [folder / "good.txt", *bad, Document("last", io.BytesIO(b"It rose again."))]


@pytest.mark.parametrize("job_id", [None, "auto", "named"])
def test_all_that_cannot_be_read_are_named(tmp_path: Path, state_dir: Path, job_id: str | None) -> None:
    """In one error, which has one for each; no job is begun."""
    runner = MapReduceRunner(job_id, models="fake", strategy="sequential", on_source_error="fail")
    with pytest.raises(SourceError) as caught:
        runner.run(sources(tmp_path), text_of)
    told = str(caught.value)
    assert told.startswith("4 of 6 sources cannot be read:\n")
    assert "late.txt is not UTF-8 at byte 250000 (line 50001)" in told
    assert "wide.txt is UTF-16BE text" in told
    assert "cannot read " in told
    assert "paper is an RTF document" in told
    assert told.endswith("on_source_error='skip' leaves them out")
    assert (caught.value.line, caught.value.offset) == (50_001, 250_000)
    assert [error.line for error in caught.value.errors] == [50_001, None, None, None]
    assert not list((state_dir / "jobs").glob("*/log"))


@pytest.mark.parametrize("job_id", [None, "auto", "named"])
def test_they_may_be_left_out(tmp_path: Path, state_dir: Path, job_id: str | None) -> None:
    """The others are done, whole; a warning says which were not. Where none can be read it is an error all the same."""
    runner = MapReduceRunner(job_id, models="fake", workers=1)
    run = runner.run(sources(tmp_path), text_of)
    assert [(r.document_id, r.result) for r in run.results] == [
        (str(tmp_path / "good.txt"), "The fever fell."),
        ("last", "It rose again."),
    ]
    (warning,) = run.summary.warnings
    assert "4 of 6 sources cannot be read:" in warning
    assert "paper is an RTF document" in warning
    assert [error.line for error in run.unread] == [50_001, None, None, None]
    assert run.summary.unread_sources == tuple(error.source for error in run.unread)
    assert "paper" in run.summary.to_dict()["unread_sources"]
    assert [(f.document_id, f.kind) for f in run.failures][-1] == ("paper", "source")
    assert [f.message for f in run.failures] == [str(error) for error in run.unread]
    assert [f.message for f in Job(run.job_id).failures()] == [f.message for f in run.failures] if job_id else True
    with pytest.raises(SourceError, match="2 of 2 sources"):
        runner.run([tmp_path / "wide.txt", Document("paper", io.BytesIO(RTF))], text_of, job_id="none")
    assert runner.estimate(sources(tmp_path)).chunks == 2
    with pytest.raises(ConfigError, match="on_source_error"):
        MapReduceRunner(on_source_error="ignore")  # type: ignore[arg-type]


def test_what_cannot_be_documents_says_what_can() -> None:
    """A dict has a way out of its own; a repeated id says at which places."""
    with pytest.raises(ConfigError, match=r"a dict cannot be the documents of a job: .* as \[Document\(id"):
        list(documents_of({"a": "text"}))
    with pytest.raises(ConfigError, match="documents 0 and 2 have the id 'a'"):
        list(documents_of([Document("a", "x"), Document("b", "x"), Document("a", "y")]))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Le café de la gare a fermé à Genève – dit “André”, 12 € la tasse. Déjà vu, garçon !", "cp1252"),
        ("Çà et là, déjà à l'été.", "cp1252"),
        ("à bientôt", "cp1252"),
        ("Perché è così? Più caffè, per piacere, lunedì.", "cp1252"),
        ("Året då älvarna svämmade över.", "cp1252"),
        ("Ačiū už pagalbą, širdingai dėkoju, žmonės.", "cp1257"),
        ("Zażółć gęślą jaźń, proszę bardzo.", "cp1250"),
        ("Teşekkür ederim, çok güzel bir gün, ağaç ışık.", "cp1254"),
        ("Привет, как дела сегодня?", "cp1251"),
    ],
)
def test_a_short_text_is_read_by_the_letters_of_its_language(text: str, encoding: str) -> None:
    """Statistics of a few odd bytes say nothing: they read French as Lithuanian."""
    assert "".join(read_source(text.encode(encoding))) == text
