"""YAML: documents, keys and items stay whole; comments and ``---`` stay with what follows."""

from __future__ import annotations

import pytest

from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import detect
from tests.chunking.records import assert_cut_well, assert_same_in_pieces, assert_survives


@pytest.mark.parametrize("name", ["yaml stream", "yaml one"])
@pytest.mark.parametrize("target", [200, 512])
def test_units_stay_whole(name: str, target: int) -> None:
    """Block scalars, sequences of mappings with dashes indented or not."""
    assert_cut_well(name, "yaml", target=target)


def test_documents_that_fit_stay_whole() -> None:
    """As long as the fill affords it."""
    document = "---\n# Source: x.yaml\nkind: A\nspec:\n  text: |\n    # no comment\n    - no item\n    key: none\n"
    text = document * 60
    chunks = list(safe_chunk(text, target_tokens=200, overlap_tokens=0))
    assert all(chunk.text.startswith("---\n") for chunk in chunks)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb:\n  - x\n  - y: 2\n    z: 3\nc: d\n",
        "---\n# comment\n- name: x\n  hosts: all\n- name: y\n",
        "# a\n\nname: x\non:\n  push:\n    branches: [a]\njobs:\n  run: |\n    Some text.\n    More text, and more.\n",
    ],
)
def test_yaml_is_known(text: str) -> None:
    """Comments with a hash make no Markdown, dashes neither."""
    assert detect(text) == "yaml"


@pytest.mark.parametrize(
    "text",
    [
        "Note: this is prose.\nIt goes on here, and it does not end.\nAnd on it goes.\n",
        "- one item\n- another\n- third\n",
    ],
)
def test_other_texts_with_colons_and_dashes_are_not(text: str) -> None:
    """Prose, lists."""
    assert detect(text) != "yaml"


def test_any_pieces_and_hostile_texts() -> None:
    """The promises hold."""
    assert_same_in_pieces("yaml stream")
    deep = "".join(" " * (n % 90) + "a:\n" for n in range(900))
    for text in ("---\n" * 900, "- " * 2000, "# x\n" * 900, deep, "-" * 3000, "a: |\n" + " x\n" * 900):
        assert_survives(text, "yaml")
