"""What the log says of batches: what is wanted, what is under way, what was refused, and since when."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.job_records import CloseRecord, pack_close
from mrengine.log.view.job_view import ResumeEngine
from tests.log.sample import batch, begin, call, digest, job, request


class Written:
    """A log in the making, and what it says after each record."""

    def __init__(self, folder: Path) -> None:
        self.wal = WriteAheadLog.create(folder / "log", "j")
        begin(self.wal)
        self.wal.commit()
        self.view = ResumeEngine(folder)

    def __call__(self, kind: int, payload: bytes) -> None:
        self.wal.append(kind, payload)
        self.view.catch_up(self.wal.commit())

    def close(self) -> None:
        self.view.close()
        self.wal.close()


@pytest.fixture
def log(tmp_path: Path):  # type: ignore[no-untyped-def]
    written = Written(tmp_path)
    yield written
    written.close()


def test_a_request_is_wanted_until_its_call(log: Written) -> None:
    """In a batch it is under way; when that ended without it, it is to be sent again."""
    ledger = log.view.state.batches
    log(codec.REQUEST, request("a", 0))
    log(codec.REQUEST, request("b", 1))
    assert (set(ledger.unsent()), ledger.waiting(0)) == ({digest("a"), digest("b")}, {(0, 0), (1, 0)})
    log(codec.BATCH, batch(1, "intent", "a", "b", at=5.0))
    assert (ledger.unsent(), [one.requests for one in ledger.under_way()]) == ({}, [2])
    log(codec.BATCH, batch(1, "submitted"))
    log(codec.CALL, call("a"))
    log(codec.BATCH, batch(1, "ended"))
    assert (set(ledger.unsent()), ledger.waiting(0)) == ({digest("b")}, {(1, 0)})
    assert (ledger.tries[digest("b")], ledger.tries[digest("a")], ledger.deadline_from) == (1, 0, 5.0)
    assert (ledger.under_way(), ledger.next_number(), list(ledger.names())) == ([], 2, ["batch_1"])


def test_a_batch_that_never_was_costs_no_try(log: Written) -> None:
    """Lost, or refused as a whole."""
    ledger = log.view.state.batches
    log(codec.REQUEST, request("a"))
    for number, end in ((1, "lost"), (2, "failed")):
        log(codec.BATCH, batch(number, "intent", "a"))
        log(codec.BATCH, batch(number, end))
    assert (ledger.tries[digest("a")], set(ledger.unsent())) == (0, {digest("a")})


def test_a_refusal_counts_until_the_run_is_over(log: Written) -> None:
    """A CLOSE that only waits does not end it."""
    ledger = log.view.state.batches
    log(codec.REQUEST, request("a"))
    log(codec.CALL, call("a", reusable=False, text='{"status": 400, "body": "no"}'))
    assert (ledger.unsent(), list(ledger.refused)) == ({}, [digest("a")])
    log(codec.CLOSE, pack_close(CloseRecord(9.0, "waiting", {})))
    assert list(ledger.refused) == [digest("a")]
    log(codec.CLOSE, pack_close(CloseRecord(9.0, "failed", {})))
    assert (ledger.refused, ledger.since) == ({}, ledger.since)
    assert ledger.since > 0


def test_a_new_epoch_wants_nothing_of_the_old_one(log: Written) -> None:
    """But what is under way is collected."""
    ledger = log.view.state.batches
    log(codec.REQUEST, request("a"))
    log(codec.REQUEST, request("b"))
    log(codec.BATCH, batch(1, "intent", "a"))
    begin(log.wal, record=job(epoch=1, version="v2"))
    log(codec.REQUEST, request("c", epoch=1))
    assert set(ledger.unsent()) == {digest("c")}
    assert [one.digests for one in ledger.under_way()] == [(digest("a"),)]
    assert digest("a") in ledger.wanted
