"""What a run says in its warnings: which, how many, and the way out."""

from __future__ import annotations

from mrengine.host import notices


def test_many_names_are_cut_short() -> None:
    """Five, and how many more."""
    (told,) = notices.lost("j", [f"d{n}" for n in range(7)], 0)
    assert "documents 'd0', 'd1', 'd2', 'd3', 'd4' and 2 more are in its spool damaged" in told
    assert "document 'd0' is in its spool damaged" in next(notices.lost("j", ["d0"], 0))
    assert "6" not in notices.empty("j", [f"d{n}" for n in range(6)]).split(":")[-1]


def test_documents_of_which_even_the_id_is_lost_are_counted() -> None:
    (told,) = notices.lost("j", [], 2)
    assert "has lost the record of 2 documents" in told
    assert list(notices.lost("j", [], 0)) == []


def test_ranges_of_damage_are_named() -> None:
    assert "bytes 10 to 20, 30 to 40 are kept aside" in notices.damaged("j", [(10, 20), (30, 40)])


def test_failures_are_reported_in_plain_numbers() -> None:
    assert notices.failed(1, 1) == "its only chunk failed"
    assert notices.failed(3, 3).startswith("all 3 chunks failed")
    assert notices.failed(2, 3).startswith("2 of 3 chunks failed")
    assert "1 of 1 chunk failed" in notices.partly_failed("j", 1, 1)
