"""Stored answers and what calls add up to."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrengine.errors import LogError
from mrengine.log.file.call_index import CallIndex
from mrengine.log.file.reader import LogReader
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format import task_records as r
from mrengine.log.format.codec import Frame
from mrengine.log.view.call_totals import CallTotals, Spent
from mrengine.records import Usage
from tests.log.sample import call, digest, intent


@pytest.fixture
def wal(tmp_path: Path) -> Iterator[WriteAheadLog]:
    """A log."""
    with WriteAheadLog.create(tmp_path / "log", "j") as log:
        yield log


@pytest.fixture
def reader(wal: WriteAheadLog, tmp_path: Path) -> Iterator[LogReader]:
    """A reader of it."""
    with LogReader(tmp_path / "log") as found:
        yield found


def call_totals(*entries: tuple[int, bytes]) -> CallTotals:
    """After these records."""
    found = CallTotals()
    for at, (kind, payload) in enumerate(entries):
        frame = Frame(512 + at, kind, payload, 512)
        found.intent(frame) if kind == codec.INTENT else found.call(frame)
    return found


def test_an_answer_is_found_by_its_digest_and_the_newest_counts(wal: WriteAheadLog, reader: LogReader) -> None:
    """Unknown digests, and those that only begin alike, are not."""
    found = CallTotals()
    for text in ("old", "new"):
        offset = wal.append(codec.CALL, call("q", text=text))
        found.call(Frame(offset, codec.CALL, call("q", text=text), 512))
    wal.commit()
    index = CallIndex.build(found)
    assert index.lookup(digest("q"), reader) == offset
    assert index.lookup(digest("other"), reader) is None
    assert index.lookup(digest("q")[:8] + bytes(8), reader) is None


def test_an_answer_that_is_added_later_is_seen_in_children_that_were_forked_before(
    wal: WriteAheadLog, reader: LogReader, tmp_path: Path
) -> None:
    """So that a second attempt in the same run does not buy it again."""
    index = CallIndex(10)
    waits, tells = os.pipe()
    pid = os.fork()
    if not pid:
        os.read(waits, 1)
        offset = index.lookup(digest("q"), reader)
        os._exit(0 if offset is not None and r.unpack_call(reader.payload(offset)).text == "t" else 1)
    offset = wal.append(codec.CALL, call("q"))
    wal.commit()
    assert index.add(digest("q"), offset)
    os.write(tells, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(waits)
    os.close(tells)


def test_a_full_table_says_so_and_still_finds_what_it_has(wal: WriteAheadLog, reader: LogReader) -> None:
    """The next call would be made again; nothing else happens."""
    index = CallIndex()
    rng = random.Random(1)
    offset = wal.append(codec.CALL, call("q"))
    wal.commit()
    assert index.add(digest("q"), offset)
    while index.add(rng.randbytes(16), offset):
        pass
    assert len(index) == 49152
    assert index.add(digest("q"), offset)
    assert index.lookup(digest("q"), reader) == offset
    assert index.lookup(rng.randbytes(16), reader) is None


def test_a_refilled_table_holds_the_other_replay_and_nothing_of_the_first(
    wal: WriteAheadLog, reader: LogReader
) -> None:
    """In the same memory, as long as there is room; without room it stays as it was."""
    held = {}
    for name in ("first", "second"):
        held[name] = CallTotals()
        offset = wal.append(codec.CALL, call(name))
        held[name].call(Frame(offset, codec.CALL, call(name), 512))
    wal.commit()
    index = CallIndex.build(held["first"])
    assert not index.refill(held["second"], expected=1 << 20)
    assert index.lookup(digest("first"), reader) is not None
    assert index.refill(held["second"])
    assert index.lookup(digest("first"), reader) is None
    assert index.lookup(digest("second"), reader) is not None
    assert len(index) == 1


def test_every_one_of_many_answers_is_found() -> None:
    """As many as were announced fit; digests that collide in the table do not hide each other."""
    rng = random.Random(2)
    digests = [rng.randbytes(16) for _ in range(20_000)] + [bytes([0] * 7 + [k]) + bytes(8) for k in range(5)]
    index = CallIndex(len(digests))
    for offset, name in enumerate(digests, 600):
        assert index.add(name, offset)
    assert [index._find(int.from_bytes(name[:8], "little")) for name in digests] == list(range(600, 600 + len(digests)))


def test_an_answer_that_cannot_be_read_is_an_error(wal: WriteAheadLog, reader: LogReader) -> None:
    """LogError: whoever looks it up asks again."""
    index = CallIndex()
    index.add(digest("q"), 5000)
    with pytest.raises(LogError):
        index.lookup(digest("q"), reader)


def test_only_reusable_answers_are_found_again() -> None:
    """Failures, re-asks and reuse=False settle their intent and no more."""
    found = call_totals((codec.CALL, call("a")), (codec.CALL, call("b", reusable=False)))
    assert list(found.offsets) == [512]
    assert found.spent()["m"].calls == 2


def test_an_intent_without_an_answer_may_have_been_billed() -> None:
    """At its upper bound. An answer settles the newest intent of its digest."""
    asked = (codec.INTENT, intent("a")), (codec.INTENT, intent("a")), (codec.INTENT, intent("b", model="n"))
    found = call_totals(*asked, (codec.CALL, call("a")))
    assert found.unanswered() == 2
    assert found.spent() == {
        "m": Spent(1, Usage(10, 5, 2), 0.5, 1, Usage(400, 50), longest=400),
        "n": Spent(0, Usage(), 0.0, 1, Usage(400, 50), longest=400),
    }


def test_tasks_that_wait_for_an_answer_are_known_by_where_they_asked() -> None:
    """Since a place in the log: those of a run that crashed earlier wait for nothing any more."""
    found = call_totals((codec.INTENT, intent("a", 1)), (codec.INTENT, intent("b", 2)), (codec.CALL, call("b", 2)))
    assert found.open_since(512) == {(0, 1, 0): 512}
    assert found.open_since(513) == {}


def test_an_unknown_price_stays_unknown() -> None:
    """Never 0."""
    unpriced = r.pack_call(r.CallRecord(0, 0, 0, digest("u"), 1.0, Usage(1, 1), None, True, "m", "stop", 1.0, ""))
    assert call_totals((codec.CALL, call("a")), (codec.CALL, unpriced)).spent()["m"].cost_usd is None


def test_the_last_minute_is_what_a_resumed_bucket_starts_from() -> None:
    """Calls at their usage, open intents at what they reserved; older ones are forgotten."""
    entries = [(codec.CALL, call(f"c{at}", at=1000.0 + at)) for at in range(0, 200, 10)]
    found = call_totals(*entries, (codec.INTENT, intent("open", at=1191.0)), (codec.INTENT, intent("old", at=1000.0)))
    recent = found.recent_usage(now=1200.0)
    calls = [(1000.0 + at, 1, 10, 5) for at in range(140, 200, 10)]
    assert recent == {"m": [*calls, (1191.0, 1, 100, 50)]}
    assert len(found._recent) <= 13


@pytest.mark.parametrize("name", ["m", "m" * 31, "m" * 32, "m" * 255, "modèle-ü"])
def test_model_names_of_any_length_are_read_from_the_head(name: str) -> None:
    """fixstr and str 8."""
    assert list(call_totals((codec.CALL, call("a", model=name)), (codec.INTENT, intent("b", model=name))).spent()) == [
        name
    ]
