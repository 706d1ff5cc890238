"""How large chunks are: by the models' windows where the caller says nothing."""

from __future__ import annotations

from mrengine.host.chunk_limits import AUTO_TARGET, chunking_of
from mrengine.settings import Settings


def test_an_overlap_gives_way_to_a_small_target() -> None:
    small, auto = chunking_of(Settings.of({"target_tokens": 100}), ()), chunking_of(Settings.of({}), ())
    assert (small.cut_tokens(), small.overlap_tokens) == (100, 25)
    assert (auto.cut_tokens(), auto.overlap_tokens) == (AUTO_TARGET, 350)
    assert small.fields()["target_tokens"] == 100
