"""Sequences as one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mrengine.outputs.run_result import Chained


@pytest.mark.parametrize("parts", [[], [[]], [[1, 2], [], [3]], [range(5), [7]]], ids=str)
def test_it_is_what_its_parts_are_in_a_row(parts: list[Sequence[int]]) -> None:
    """By index from either end, by slice, and one after another."""
    whole = [one for part in parts for one in part]
    chained = Chained(parts)
    assert list(chained) == whole
    assert [chained[at] for at in range(-len(whole), len(whole))] == whole + whole
    assert chained[1:] == whole[1:]
    for outside in (len(whole), -len(whole) - 1):
        with pytest.raises(IndexError):
            chained[outside]
