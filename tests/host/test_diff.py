"""What other documents would cost a job, before anything is paid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mrengine import Document, Job
from mrengine.cli import main
from mrengine.errors import JobNotFound
from tests.chunking.test_guide import prose
from tests.host.test_edited import run

pytestmark = pytest.mark.usefixtures("state_dir")


def test_added_and_removed_documents_are_reported() -> None:
    """A price that is unknown stays unknown."""
    texts = {name: prose(5_000) for name in "abc"}
    run([Document(name, text) for name, text in texts.items()], price=None)
    told = Job("j").diff([Document("a", texts["a"]), Document("d", texts["b"])])
    assert (told.added, told.removed, told.changed) == (("d",), ("b", "c"), ())
    assert told.cost_usd is None
    assert told.kept > 0


def test_the_same_documents_cost_nothing_and_leave_nothing_behind() -> None:
    """Not even a file beside the jobs; a job that is not there has no diff."""
    run("a text")
    told = Job("j").diff("a text")
    assert (told.asked, told.cost_usd, told.kept) == (0, 0.0, told.chunks)
    with pytest.raises(JobNotFound):
        Job("nobody").diff("a text")


def test_the_command_line_says_what_diff_says(tmp_path: Path) -> None:
    """For people and for programs."""
    path = tmp_path / "a.txt"
    path.write_text(text := prose(20_000))
    run([Document(str(path), path)])
    path.write_text(text[:9_000] + " A sentence more." + text[9_000:])
    told = Job("j").diff([Document(str(path), path)])
    shown = CliRunner().invoke(main, ["diff", "j", str(path), "--json"])
    facts = json.loads(shown.output)
    assert (facts["asked"], facts["chunks"], facts["changed"]) == (told.asked, told.chunks, [str(path)])
    page = CliRunner().invoke(main, ["diff", "j", str(path)])
    assert page.exit_code == 0
    assert f"{told.asked} of {told.chunks} chunks" in page.output
    assert "changed:" in page.output
