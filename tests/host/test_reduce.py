"""The end of a run that has its results: groups of a document each, or of as many texts as a call holds."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner, tree_reduce
from mrengine.host.reduce import _groups, _Item
from mrengine.reducers.tree import TreeReduce, ValueMerge
from mrengine.testing import fake

DOCUMENTS = [Document("a", "one " * 60), Document("b", "two " * 60)]
pytestmark = pytest.mark.usefixtures("state_dir")


def text_of(chunk: Any, _context: Any) -> str:
    return str(chunk.text)


def not_two(chunk: Any, _context: Any) -> str:
    if "two" in chunk.text and chunk.start == 0:
        raise ValueError("no")
    return str(chunk.text)


def runner(job_id: str | None = None) -> MapReduceRunner:
    return MapReduceRunner(
        job_id, strategy="sequential", models=fake("joined"), target_tokens=16, overlap_tokens=0, map_version="1"
    )


def test_each_document_is_reduced_by_itself() -> None:
    """With its own failures beside its results."""
    seen: dict[str, tuple[int, int]] = {}

    def note(results: Any) -> str:
        seen[results[0].document_id] = (len(results), len(results.failures))
        return "".join(r.result for r in results)

    done = runner().run(DOCUMENTS, not_two, note, per_document=True)
    assert done.result["a"] == DOCUMENTS[0].source
    assert seen["a"][1] == 0
    assert seen["b"][1] == 1


def test_results_of_documents_are_groups_without_a_function() -> None:
    done = runner().run(DOCUMENTS, text_of, per_document=True)
    assert list(done.result) == ["a", "b"]
    assert "".join(r.result for r in done.result["b"]) == DOCUMENTS[1].source


def test_a_reduce_by_prompt_has_one_answer_for_each_document() -> None:
    """Over levels that the log keeps: the same again costs no call."""
    tree = tree_reduce("Join: $text", fan_in=2)
    first = runner("tree").run(DOCUMENTS, text_of, tree, per_document=True)
    assert first.result == {"a": "joined", "b": "joined"}
    assert Job("tree").status().round >= 2
    again = runner("tree").run(DOCUMENTS, text_of, tree, per_document=True)
    assert (again.result, again.summary.usage) == (first.result, {})


def test_groups_are_of_neighbours_of_one_document() -> None:
    """Two at least, so that each level has fewer."""
    items = [_Item("a", (), "x"), _Item("a", (), "y"), _Item("a", (), "z"), _Item("b", (), "x")]

    def texts(limit: int, fan_in: int | None = None) -> list[tuple[str, str]]:
        groups = _groups(items, TreeReduce(None, fan_in), limit)
        return [(group[0].name, ValueMerge().text([item.value for item in group])) for group in groups]

    assert texts(100) == [("a", "x\n\ny\n\nz"), ("b", "x")]
    assert texts(100, 2) == [("a", "x\n\ny"), ("a", "z"), ("b", "x")]
    assert texts(1) == [("a", "x\n\ny"), ("a", "z"), ("b", "x")]
    assert ValueMerge().text([{"text": "t", "n": 1}, [1, "é"]]) == 't\n\n[1, "é"]'
