"""When a job may begin before all of its documents are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document
from mrengine.host.early_start import EarlyStart
from mrengine.host.intake import Intake


@pytest.mark.parametrize(
    ("read_all", "piped", "possible"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_a_new_job_begins_early_where_more_is_to_be_read_and_can_be_read_again(
    tmp_path: Path, read_all: bool, piped: bool, possible: bool
) -> None:
    os.mkfifo(tmp_path / "pipe")
    documents: list[Any] = [Document("a", "One."), "Two."]
    intake = Intake(tmp_path, documents, skip=True)
    if read_all:
        intake.advance()
    plan: Any = None  # it is not asked for
    early = EarlyStart(tmp_path, intake, plan, first_s=0.0, stage=plan)
    if piped:
        documents.append(Document("p", tmp_path / "pipe"))
    assert early.is_possible(None, documents) is possible
    intake.discard()
