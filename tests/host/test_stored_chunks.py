"""Chunks as the host reads them again, and the headings above them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrengine import Job, MapReduceRunner
from mrengine.errors import LogError
from mrengine.host.stored_chunks import chunks_of, headings_of
from mrengine.log.view.job_view import ResumeEngine

BODY = "The *river* rose, and the **mill** stood in the water.\n\n- a boat\n- a bridge\n\n" * 6
TEXT = f"# One\n\n{BODY}\n\n## Inner\n\n{BODY}\n\n# Two\n\n{BODY}\n" * 2


def test_chunks_and_their_headings_come_from_log_and_spool(state_dir: Path) -> None:
    """A chunk that begins with a heading has it, in the place of its like."""
    runner = MapReduceRunner("j", strategy="sequential", models="fake", target_tokens=120, overlap_tokens=0)
    runner.run(TEXT, lambda chunk, context: 1)
    folder = Path(Job("j").status().folder)
    with ResumeEngine(folder) as view:
        (spool,) = [path for path in folder.iterdir() if path.name.startswith("spool")]
        found = [(chunk, chunk.text) for chunk in chunks_of(view, spool)]  # read while it is open
        heads = headings_of(view, spool)
        without = headings_of(view, folder / "is-not-there")
    assert "".join(text for _, text in found) == TEXT
    chunks = [chunk for chunk, _ in found]
    assert list(heads) == [chunk.id for chunk in chunks]
    for chunk in chunks:
        above = TEXT[: chunk.start] + chunk.text.lstrip().split("\n")[0]
        last = [line.lstrip("# ") for line in above.splitlines() if line.startswith("#")][-1]
        assert heads[chunk.id][-1] == last
    assert (heads[0], heads[2]) == (("One",), ("One", "Inner"))
    assert set(without.values()) == {()}  # they are in the spool alone


def test_headings_of_another_spool_are_told_as_damage(state_dir: Path) -> None:
    """The log vouches for them by a digest: a chunk is never given another's title."""
    runner = MapReduceRunner("j", strategy="sequential", models="fake", target_tokens=120, overlap_tokens=0)
    runner.run(TEXT, lambda chunk, context: 1)
    folder = Path(Job("j").status().folder)
    (spool,) = [path for path in folder.iterdir() if path.name.startswith("spool")]
    spool.write_bytes(spool.read_bytes().replace(b"## Inner", b"## Other"))
    with ResumeEngine(folder) as view:
        table = view.chunk_table()
        below = [chunk for chunk, row in enumerate(table) if len(table.heads(chunk, row).titles) > 1]
        chunks = chunks_of(view, spool)
        for _ in range(below[0]):
            next(chunks)
        with pytest.raises(LogError, match=f"chunk {below[0]} in the spool is damaged"):
            next(chunks)
