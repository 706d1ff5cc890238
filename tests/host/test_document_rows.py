"""Documents that a log has alike are counted, and not kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner
from mrengine.host.document_rows import DocumentRows, digest_of
from mrengine.host.intake import Intake, spool_all
from mrengine.log.view.job_view import ResumeEngine

TEXTS = [f"Note {number} says little." for number in range(50)]


@pytest.fixture
def stored(state_dir: Path) -> Any:
    MapReduceRunner("job", workers=1, map_version="1", backend="sequential").run(TEXTS, lambda chunk, context: None)
    with ResumeEngine(Job("job").folder) as view:
        yield view


def read(folder: Path, given: list[Any], stored: ResumeEngine | None = None) -> DocumentRows:
    spooled = spool_all(Intake(folder, given, skip=False), stored)
    spooled.spool.discard()
    return spooled.rows


@pytest.mark.parametrize("changed", [None, 0, 20, 49])
def test_rows_are_the_same_whether_a_log_has_them_or_not(tmp_path: Path, stored: ResumeEngine, changed: Any) -> None:
    given: list[Any] = [*TEXTS, Document("new", "", fields={"n": 1})]
    if changed is not None:
        given[changed] = "Another."
    rows = read(tmp_path, given, stored)
    plain = read(tmp_path, given)
    assert list(rows) == list(plain)
    assert [rows[at] for at in range(-51, 51)] == [*plain, *plain]
    assert rows[10:40:3] == plain[10:40:3]
    assert len(rows) == len(plain) == 51
    assert digest_of(rows) == digest_of(plain) == digest_of(list(plain))
    assert (rows.has_facts, rows.textless) == (True, ["new"])
    assert len(rows._others) == 51 - (50 if changed is None else changed)
    assert not rows.are_those_of(stored)
    with pytest.raises(IndexError):
        rows[51]


def test_a_log_is_known_for_the_one_that_has_them_all(tmp_path: Path, stored: ResumeEngine) -> None:
    rows = read(tmp_path, list(TEXTS), stored)
    assert rows.are_those_of(stored)
    assert stored.epoch is not None
    assert rows.summary == stored.epoch.job.documents
    stored.epoch.documents[0] = stored.epoch.documents[0]._replace(offset=512)
    assert not rows.are_those_of(stored)
    assert sys.getsizeof(rows._others) < 200


def test_a_finished_job_is_found_finished_without_its_documents(stored: ResumeEngine) -> None:
    """And nothing is written."""
    path = Job("job").folder / "log"
    before = path.read_bytes()
    again = MapReduceRunner("job", workers=1, map_version="1", backend="sequential").run(
        TEXTS, lambda chunk, context: None
    )
    assert again.summary.processed_chunks == 0
    assert path.read_bytes() == before
    assert os.listdir(path.parent).count("log") == 1


def test_rows_without_a_log_are_kept() -> None:
    rows = DocumentRows()
    assert list(rows) == []
    assert digest_of(rows) == digest_of([])
