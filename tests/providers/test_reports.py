"""What was reported of other tools, end to end: a job of two documents against a vendor that behaves so."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, MapReduceRunner, ModelSpec, collect
from mrengine.errors import JobFailed
from tests.providers import reports
from tests.providers.reports import REPORTS, Report
from tests.providers.vendor import Asked, Reply, Vendor

DOCUMENTS = [Document("first", "The first text, of a harbour."), Document("second", "Another text.")]
ROADS = {"openai": ("http:openai", "openai"), "anthropic": ("http:anthropic", "anthropic")}
# The SDKs differ in how they send alone: by default they are asked about every fourth report.
CASES = [
    pytest.param(
        report,
        road,
        marks=[pytest.mark.system] if "http" not in road and number % 4 else [],
        id=f"{report.name}-{road}",
    )
    for number, report in enumerate(REPORTS)
    for road in ROADS[report.shape]
]


class Said:
    """The vendor's side of a report."""

    def __init__(self, report: Report) -> None:
        self._report, self._lock, self._told = report, threading.Lock(), 0

    def __call__(self, asked: Asked) -> Reply:
        says = self._report.says
        with self._lock:
            if "first text" in json.dumps(asked.body["messages"]):
                self._told += 1
                if self._told <= len(says):
                    return says[self._told - 1]
                if self._report.ends != "answer":
                    return says[-1]
        return self._sound()

    def _sound(self) -> Reply:
        if self._report.shape == "anthropic":
            return reports.message()
        return reports.answer(SOUND.get(repr(self._report.call.get("response_model")), "done"))


SOUND = {
    repr(reports.N): '{"n": 0}',
    repr(reports.Note): '{"what": ""}',
    repr(reports.Even): '{"n": 0}',
    repr(reports.Visit): '{"day": "2024-01-01", "colour": "red", "span": [0, 0]}',
    repr(list[reports.Note]): "[]",
}


def run(report: Report, road: str, url: str, folder: Path) -> Any:
    base_url = url.removesuffix("/v1") + ("" if report.shape == "anthropic" else report.path)
    spec = ModelSpec("m", provider=road, base_url=base_url, **report.spec)

    def ask(chunk: Any, context: Any) -> Any:
        done = context.complete(f"Summarise: {chunk.text}", max_tokens=200, **report.call)
        return str(done) if done.parsed is None else [repr(done.parsed)]

    settings = {"strategy": "sequential", "workers": 1, "backoff_s": 0.01, "chunk_timeout_s": 60.0, "progress": False}
    runner = MapReduceRunner("reported", models=spec, state_dir=folder, **settings)
    return runner.run(DOCUMENTS, ask, collect)


@pytest.mark.parametrize(("report", "road"), CASES)
def test_a_report_of_another_tool(report: Report, road: str, tmp_path: Path) -> None:
    """The right result, or one clear error; the bill is the vendor's; nothing is asked twice for nothing."""
    with Vendor(Said(report)) as vendor:
        if report.ends == "job":
            with pytest.raises(JobFailed) as failed:
                run(report, road, vendor.url, tmp_path)
            summary, told = failed.value.summary, str(failed.value)
        else:
            done = run(report, road, vendor.url, tmp_path)
            summary, told = done.summary, "".join(failure.message for failure in done.failures)
    assert len(vendor.asked) == report.asked, told
    if report.ends == "answer":
        assert not done.failures
        wanted = report.told if isinstance(report.told, str) else [repr(report.told)]
        assert done.result[0] == wanted
    else:
        assert re.search(report.told, told), told
        assert "of a harbour" not in told
    if report.ends == "chunk":
        assert summary.processed_chunks == summary.failed_chunks == 1
    if report.sent:
        assert any(report.sent in json.dumps(asked.body) for asked in vendor.asked)
    check_bill(report, summary)


def check_bill(report: Report, summary: Any) -> None:
    """Every document that was answered in the end costs ``BILL``, beside what the report has cost."""
    used = summary.usage.get("m")
    if report.bill is None:
        assert used.estimated
        assert used.input_tokens > reports.BILL[0]
        assert used.output_tokens > reports.BILL[1]
        return
    sound = {"answer": 2 - (report.bill != (0, 0) and report.asked <= 1 + len(report.says)), "chunk": 1, "job": 0}
    extra = sound[report.ends]
    wanted = tuple(cost + extra * each for cost, each in zip(report.bill, reports.BILL, strict=True))
    assert (used.input_tokens, used.output_tokens) == wanted if used else wanted == (0, 0)


def test_there_are_enough_reports() -> None:
    """Of all eight kinds."""
    assert len(REPORTS) >= 54
    assert {report.kind for report in REPORTS} == set(range(1, 9))
