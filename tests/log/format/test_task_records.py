"""Every record is read back as it was written; heads can be read without unpacking."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.errors import LogError
from mrengine.log.format import job_records, packing, task_records
from mrengine.log.format.job_records import (
    CloseRecord,
    DocumentRow,
    DocumentsDigest,
    DocumentsRecord,
    RoundRecord,
    batch_documents,
    document_row,
    pack_documents,
    pack_job,
    pack_round,
    packed_documents,
    unpack_documents,
    unpack_job,
    unpack_round,
)
from mrengine.log.format.task_records import (
    AttemptRecord,
    CallRecord,
    CarryRecord,
    FailureRecord,
    IntentRecord,
    ResultRecord,
)
from mrengine.log.format.values import Unstorable
from mrengine.records import Usage
from tests.log.sample import job, result

text = st.text(st.characters(exclude_categories=()), max_size=40)
number = st.integers(0, 2**63 - 1)
at = st.floats(0, 1e10)
cost = st.none() | st.floats(0, 1e6)
usage = st.builds(Usage, number, number, number)
task = (st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.integers(-1, 2**31 - 1))
digest = st.binary(min_size=16, max_size=16)
facts = st.dictionaries(text, number, max_size=3)

RECORDS: dict[str, Any] = {
    "intent": st.builds(IntentRecord, *task, digest, at, number, number, number, text),
    "call": st.builds(CallRecord, *task, digest, at, usage, cost, st.booleans(), text, text, at, text),
    "result": st.builds(
        ResultRecord, *task, st.integers(0, 127), text, st.none() | text, number, number, at, at,
        st.none() | usage, cost, number, number, st.lists(text) | st.none(),
    ),
    "failure": st.builds(FailureRecord, *task, text, st.none() | text, number, number, at, text, text, text, facts),
    "attempt": st.builds(AttemptRecord, *task, at, number, text, text),
    "carry": st.builds(CarryRecord, *task, number),
    "round": st.builds(RoundRecord, number, at, number, text, facts),
    "close": st.builds(CloseRecord, at, text, facts),
    "documents": st.builds(
        DocumentsRecord, number, st.lists(st.builds(DocumentRow, text, digest, number, number, number)).map(tuple)
    ),
}  # fmt: skip


def function_of(way: str, kind: str) -> Any:
    """``pack_x`` or ``unpack_x`` of a kind of record, from the module where it is defined."""
    name = f"{way}_{kind}"
    return getattr(task_records, name, None) or getattr(job_records, name)


@pytest.mark.parametrize("kind", RECORDS)
@settings(deadline=None)
@given(data=st.data())
def test_a_record_is_read_back_as_it_was_written(kind: str, data: st.DataObject) -> None:
    """Field by field, whatever the values."""
    record = data.draw(RECORDS[kind])
    payload = function_of("pack", kind)(record)
    assert function_of("unpack", kind)(payload) == record


@pytest.mark.parametrize("source", [None, "app:f", {"template": "$text"}])
def test_a_job_is_read_back_as_it_was_written(source: Any) -> None:
    """Models, documents and the source of the map function included."""
    from dataclasses import replace

    record = replace(job(models=[("a", "1"), ("b", "2")], all_models=True), map_source=source, settings={"workers": 5})
    assert unpack_job(pack_job(record)) == record


@pytest.mark.parametrize("kind", ["intent", "call", "result", "failure", "attempt", "carry"])
@settings(deadline=None)
@given(data=st.data())
def test_the_head_of_a_tasks_record_is_read_without_unpacking(kind: str, data: st.DataObject) -> None:
    """And is msgpack like the rest."""
    record = data.draw(RECORDS[kind])
    payload = function_of("pack", kind)(record)
    assert packing.key(payload) == (record.round, record.chunk_id, record.model_index)
    assert packing.unpack(payload)[:3] == [record.round, record.chunk_id, record.model_index]


def test_later_versions_may_add_elements() -> None:
    """Elements at the end that this version does not know are ignored."""
    payload = pack_round(RoundRecord(0, 1.0, 5, "v", {}))
    longer = packing.pack([*packing.unpack(payload), "new"])
    assert unpack_round(longer) == unpack_round(payload)


def test_flags_are_read_without_unpacking() -> None:
    """Whether a map function read the chunk's position."""
    assert task_records.result_flags(result(0, flags=task_records.READ_POSITION)) == task_records.READ_POSITION
    assert task_records.unpack_result(result(0, flags=task_records.READ_POSITION)).flags == task_records.READ_POSITION
    with pytest.raises(LogError):
        task_records.result_flags(b"")


def test_a_result_above_the_cap_cannot_be_stored() -> None:
    """The worker learns it before the log does."""
    with pytest.raises(Unstorable, match="67,108,864"):
        result(0, value=bytes(64 << 20))


def test_documents_are_batched_below_a_mebibyte_and_none_is_lost() -> None:
    """In order, with the index of the first."""
    rows = [DocumentRow(f"document-{i}", bytes(16), i, i, i) for i in range(30_000)]
    batches = [(payload, unpack_documents(payload)) for payload in batch_documents(7, rows)]
    assert len(batches) > 1
    assert all(len(payload) <= 1 << 20 for payload, _ in batches)
    assert [row for _, batch in batches for row in batch.rows] == rows
    assert [batch.first for _, batch in batches] == [
        7 + sum(len(b.rows) for _, b in batches[:i]) for i in range(len(batches))
    ]


def test_the_digest_of_documents_tells_order_ids_and_contents_apart() -> None:
    """Equal only for the same documents in the same order."""

    def summary(*documents: tuple[str, bytes]) -> tuple[int, int, bytes]:
        found = DocumentsDigest()
        for name, content in documents:
            found.add(name, content.ljust(16), 5)
        return found.summary()

    one, two = ("a", b"x"), ("b", b"y")
    assert summary(one, two) == summary(one, two)
    assert summary(one, two)[:2] == (2, 10)
    assert (
        len({summary(one, two), summary(two, one), summary(one), summary(("a", b"y"), two), summary(("ab", b"x"))}) == 5
    )


def test_rows_as_they_came_are_the_rows() -> None:
    """Who looks at few of thousands makes values of these alone; what cannot be a row is known before."""
    rows = (DocumentRow("a", b"d" * 16, 0, 1, 1), DocumentRow("b", b"", 1, 2, 2, b"facts"))
    payload = pack_documents(DocumentsRecord(4, rows, 2))
    first, packed, epoch = packed_documents(payload)
    assert (first, epoch, tuple(map(document_row, packed))) == (4, 2, rows)
    later = [*packing.unpack(payload)[1][0], b"", "new"]
    assert document_row(packed_documents(packing.pack([0, [later], 0]))[1][0]) == rows[0]
    for strange in ([0, [["too", "short"]], 0], [0, ["a string"], 0], [0, [5], 0], [0, {}, 0], ["0", [], 0], [0, []]):
        with pytest.raises(LogError):
            packed_documents(packing.pack(strange))


@pytest.mark.parametrize("digest", [2**62, float("inf"), "digest", None])
def test_totals_that_are_none_are_damage_and_take_no_memory(digest: Any) -> None:
    """``bytes(2**62)`` would ask for as many."""
    for damaged in ([1, 2, digest], [1, float("inf"), b"d" * 16]):
        with pytest.raises(LogError):
            job_records.unpack_read(packing.pack([damaged, {}, 0]))
        fields = packing.unpack(pack_job(job()))
        with pytest.raises(LogError):
            unpack_job(packing.pack([*fields[:5], damaged, *fields[6:]]))
    with pytest.raises(LogError):
        unpack_documents(packing.pack([float("inf"), [], 0]))


@pytest.mark.parametrize("kind", RECORDS)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_a_value_of_another_type_is_damage_at_any_place(kind: str, data: st.DataObject) -> None:
    """Before anybody calculates with it: an offset that is no number would end the whole replay."""
    values = packing.unpack(function_of("pack", kind)(data.draw(RECORDS[kind])))
    for place, value in enumerate(values[:14]):  # the fifteenth of a RESULT is the result, of any type
        other: Any = [] if isinstance(value, dict) else {}
        with pytest.raises(LogError):
            function_of("unpack", kind)(packing.pack([*values[:place], other, *values[place + 1 :]]))


def test_what_cannot_be_packed_leaves_nothing_behind() -> None:
    """A packer serves its thread for ever: half a record must not begin the next one, nor a large one keep its room."""
    with pytest.raises(TypeError):
        packing.pack(["begun", object()])
    assert packing.pack([1]) == b"\x91\x01"
    packer = packing._mine.packer
    packing.pack(bytes(2 << 20))
    assert packing._mine.packer is not packer
    with ThreadPoolExecutor(4) as threads:
        values = [[number] * 1000 for number in range(400)]
        assert list(map(packing.unpack, threads.map(packing.pack, values))) == values
