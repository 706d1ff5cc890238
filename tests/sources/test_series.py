"""Tables as the document: a Series' index is the ids, a table is refused with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner
from mrengine.errors import ConfigError

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.usefixtures("state_dir")


def size(chunk: Any, _context: Any) -> list[Any]:
    return [chunk.document_id, len(chunk.text)]


def runner(job_id: str | None = None) -> MapReduceRunner:
    return MapReduceRunner(job_id, strategy="sequential", models="fake")


@pytest.mark.parametrize(
    ("index", "ids"),
    [
        (["a", "b"], ["a", "b"]),
        ([7, 9], ["7", "9"]),
        (None, ["0", "1"]),
        (pd.MultiIndex.from_tuples([("x", 1), ("y", 2)]), ["x 1", "y 2"]),
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), ["2024-01-01 00:00:00", "2024-01-02 00:00:00"]),
    ],
)
def test_the_index_of_a_series_is_the_ids(index: Any, ids: list[str]) -> None:
    """In a run, a resumed one, under an id made of the inputs, and in an estimate."""
    series = pd.Series(["one text", "another"], index=index)
    want = [[ids[0], 8], [ids[1], 7]]
    for name in ("table", "table", "auto", None):
        assert [r.result for r in runner(name).run(series, size).results] == want
    assert runner().estimate(series).chunks == 2
    assert len(Job("table").results()) == 2


def test_a_table_is_refused_with_the_way_out() -> None:
    """Its columns' names are no documents; nothing is begun."""
    frame = pd.DataFrame({"id": ["a", "b"], "text": ["one", "two"], "read": [1, 2]})
    for call in (
        lambda: runner().run(frame, size),
        lambda: list(runner().stream(frame, size)),
        lambda: runner().estimate(frame),
    ):
        with pytest.raises(ConfigError, match=r"frame\['text'\].*Document\(id, text\)"):
            call()
    run = runner().run([Document(*row) for row in zip(frame["id"], frame["text"], strict=True)], size)
    assert [r.document_id for r in run.results] == ["a", "b"]
    assert [r.result for r in runner().run(frame.set_index("id")["text"], size).results] == [["a", 3], ["b", 3]]


def test_rows_without_a_text_or_an_id_of_their_own_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'b'.*dropna"):
        runner().run(pd.Series(["one", None], index=["a", "b"]), size)
    with pytest.raises(ConfigError, match="have the id 'a'"):
        runner().run(pd.Series(["one", "two"], index=["a", "a"]), size)
