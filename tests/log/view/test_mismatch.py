"""What differs from the stored job, and which of its results still fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format import task_records as r
from mrengine.log.format.chunk_rows import pack_chunks
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.format.packing import stamp
from mrengine.log.view.carry_over import carried
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.mismatch import compare
from tests.log.sample import begin, job, result, row

DOCS = [("a", b"1"), ("b", b"2")]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"models": (("m", "p"), ("n", "q"))}, "models: m then, m, n now"),
        ({"models": (("m", "other"),)}, "parameters of model m"),
        ({"all_models": True}, "every model on every chunk: False then, True now"),
        ({"chunking": {"target_tokens": 500}}, "target_tokens: 6000 then, 500 now"),
        ({"map_version": "v2"}, "the map function: app:f v1 then, app:f v2 now"),
    ],
)
def test_each_difference_is_named(changes: dict[str, object], line: str) -> None:
    """With what was and what is."""
    found = compare(job(), replace(job(), **changes))  # type: ignore[arg-type]
    assert line in found.lines
    assert not found.extends


def test_what_changed_in_a_function_or_a_prompt_is_named() -> None:
    """By the names that its code has for it; no value is told."""
    was = replace(job(), settings={"map_parts": {"its code": "1", "PROMPT": "2", "gone": "3"}})
    now = replace(was, map_version="v2", settings={"map_parts": {"its code": "1", "PROMPT": "x", "new": "4"}})
    assert compare(was, now).lines == ("the map function: app:f v1 then, app:f v2 now (changed: PROMPT, gone, new)",)
    assert "changed" not in compare(was, replace(now, python="3.12")).lines[0]
    prompt = replace(job(), map_source={"template": "secret", "system": None})
    other = replace(prompt, map_version="v2", map_source={"template": "other", "system": None})
    assert compare(prompt, other).lines[0].endswith("(changed: template)")


def test_another_python_is_named_where_the_digest_changed() -> None:
    """A digest of bytecode is of one minor version; a version that the user named is not."""
    changed = replace(job(), map_version="v2", python="3.12")
    assert any("Python: 3.11 then, 3.12 now" in line for line in compare(job(), changed).lines)
    assert not compare(job(), replace(job(), python="3.12"))


@pytest.mark.parametrize(
    ("new", "lines", "extends"),
    [
        ([*DOCS, ("c", b"3")], ["1 document added: 'c'"], True),
        ([("c", b"3"), *DOCS], ["1 document added: 'c'"], True),
        (DOCS[:1], ["1 document removed: 'b'"], False),
        ([("a", b"1"), ("b", b"x")], ["1 document changed: 'b'"], False),
        ([*DOCS[:1], ("c", b"3")], ["1 document added: 'c'", "1 document removed: 'b'"], False),
        (DOCS[::-1], ["the documents come in another order"], False),
        (
            [*DOCS, *((f"n{i}", b"") for i in range(9))],
            ["9 documents added: 'n0', 'n1', 'n2', 'n3', 'n4' and 4 more"],
            True,
        ),
    ],
)
def test_documents_are_compared_by_id_and_content(
    new: list[tuple[str, bytes]], lines: list[str], extends: bool
) -> None:
    """Only added ones extend a job."""
    found = compare(job(), job(documents=(len(new), 0, b"new")), DOCS, new)
    assert list(found.lines) == lines
    assert found.extends is extends


def test_an_added_document_and_another_model_do_not_extend() -> None:
    """Documents, and nothing else."""
    other = job(documents=(3, 0, b"new"), models=(("n", "p"),))
    assert not compare(job(), other, DOCS, [*DOCS, ("c", b"3")]).extends


def test_equal_documents_are_not_read() -> None:
    """A million of them cost a comparison of two digests."""

    def unread() -> Sequence[tuple[str, bytes]]:
        raise AssertionError

    class Unread:
        def __iter__(self) -> object:
            return unread()

    assert not compare(job(), job(), Unread(), Unread())  # type: ignore[arg-type]


class Story:
    """A job told in epochs; ``carried`` is what the last one takes over: {chunk: value}."""

    def __init__(self, folder: Path) -> None:
        self.wal = WriteAheadLog.create(folder / "log", "j")
        self.folder = folder
        self.epoch = 0
        self.carried: dict[int, object] = {}

    def tell(self, texts: str, done: dict[int, tuple[object, int]] | None = None, **options: object) -> Story:
        """An epoch with these chunks; ``done``: chunk → (value, flags), results written in it."""
        self.epoch += 1
        names: Sequence[str] = options.pop("documents", ("doc",))  # type: ignore[assignment]
        of: Sequence[int] = options.pop("of", [0] * len(texts))  # type: ignore[assignment]
        record = replace(job(epoch=self.epoch), **options)  # type: ignore[arg-type]
        rows = [DocumentRow(name, bytes(16), 0, 1, 1) for name in names]
        table = b"".join(row(of[i], text, i, i + 1) for i, text in enumerate(texts))
        self.wal.write()
        with ResumeEngine(self.folder) as engine:
            carries = list(carried(engine, record, rows, [pack_chunks(0, 0, table)]))
            taken = [r.unpack_carry(payload) for payload in carries]
            self.carried = {c.chunk_id: r.unpack_result(engine.reader.payload(c.offset)).result for c in taken}
        begin(self.wal, texts, record=record, documents=names, of=of)
        for payload in carries:
            self.wal.append(codec.CARRY, stamp(payload, self.epoch))
        for chunk, (value, flags) in (done or {}).items():
            self.wal.append(codec.RESULT, stamp(result(chunk, 0, value, flags=flags), self.epoch))
        self.wal.write()
        return self


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """An empty log to tell one in."""
    return Story(tmp_path)


def test_a_chunk_keeps_its_result_wherever_it_went(story: Story) -> None:
    """Text, overlap and document are the same, the id is another."""
    story.tell("abcd", {0: ("A", 0), 1: ("B", 0), 3: ("D", 0)})
    assert story.tell("xadb").carried == {1: "A", 2: "D", 3: "B"}


def test_the_nth_duplicate_keeps_the_nth_result(story: Story) -> None:
    """And a further one is run."""
    story.tell("aaba", {0: ("A1", 0), 1: ("A2", 0), 3: ("A3", 0)})
    assert story.tell("xaaaa").carried == {1: "A1", 2: "A2", 3: "A3"}
    assert story.tell("abaaa").carried == {0: "A1", 2: "A2", 3: "A3"}


def test_a_result_that_read_its_position_stays_there(story: Story) -> None:
    """It is carried to the same id, start and end only."""
    story.tell("abc", {0: ("A", 1), 1: ("B", 1), 2: ("C", 0)})
    assert story.tell("acb").carried == {0: "A", 1: "C"}


def test_another_map_version_carries_nothing_and_going_back_is_free(story: Story) -> None:
    """Superseded results stay in the log."""
    story.tell("ab", {0: ("A", 0), 1: ("B", 0)})
    assert story.tell("ab", {0: ("A2", 0)}, map_version="v2").carried == {}
    assert story.tell("ab").carried == {0: "A", 1: "B"}
    assert story.tell("ab", map_version="v2").carried == {0: "A2"}


def test_what_was_carried_is_carried_on(story: Story) -> None:
    """Over an epoch that only took it over; the newest result of a chunk wins."""
    story.tell("ab", {0: ("A", 0)})
    assert story.tell("ab", {1: ("B", 0)}).carried == {0: "A"}
    assert story.tell("ba").carried == {0: "B", 1: "A"}


def test_the_newest_result_of_a_chunk_wins(story: Story) -> None:
    """One that stayed behind, for it had read its position, was made anew elsewhere."""
    story.tell("ab", {0: ("old", 1)})
    assert story.tell("xab", {1: ("new", 0)}).carried == {}
    assert story.tell("ab").carried == {0: "new"}


def test_another_document_with_the_same_text_keeps_nothing(story: Story) -> None:
    """A result belongs to its document."""
    story.tell("ab", {0: ("A", 0), 1: ("B", 0)}, documents=("one", "two"), of=[0, 1])
    assert story.tell("ab", documents=("two", "one"), of=[0, 1]).carried == {}
    assert story.tell("ba", documents=("zero", "two", "one"), of=[1, 2]).carried == {0: "B", 1: "A"}


def test_a_model_that_is_gone_or_changed_takes_its_results_along(story: Story) -> None:
    """A job never mixes in results of another model; the order of models does not matter."""
    story.tell("ab", {0: ("A", 0)})
    assert story.tell("ab", models=(("n", "p"),)).carried == {}
    assert story.tell("ab", models=(("m", "other"),)).carried == {}
    assert story.tell("ab", models=(("n", "p"), ("m", "p"))).carried == {0: "A"}


def test_with_all_models_a_result_goes_to_its_models_place(story: Story, tmp_path: Path) -> None:
    """The key's model index counts in the new job's models."""
    story.tell("ab", {1: ("B", 0)})
    story.tell("ab", models=(("n", "p"), ("m", "p")), all_models=True)
    assert story.carried == {1: "B"}
    with ResumeEngine(tmp_path) as engine:
        assert list(engine.pending()) == [(0, 0), (0, 1), (1, 0)]
