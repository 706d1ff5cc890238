"""What is known of a job from its folder."""

from __future__ import annotations

from pathlib import Path

from mrengine import Job, MapReduceRunner
from mrengine.host.prepared import cut_short_before, identity, is_begun, no_text


def test_a_job_is_begun_when_it_has_its_chunks(state_dir: Path, tmp_path: Path) -> None:
    MapReduceRunner("done").run("text", lambda chunk, _context: chunk.text)
    folder = Path(Job("done").folder)
    assert is_begun(folder)
    assert identity(folder) == (folder.stat().st_dev, folder.stat().st_ino)
    assert cut_short_before(folder) == []
    assert not is_begun(tmp_path)
    assert identity(tmp_path / "none") is None
    assert cut_short_before(tmp_path) == ()
    assert "keep='results'" in str(no_text("j"))
