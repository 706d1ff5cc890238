"""The trace of a run, for Perfetto."""

from __future__ import annotations

import json
from pathlib import Path

from mrengine.report import write_trace
from tests.report.logs import write


def test_a_trace_is_json_with_every_task_and_call(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=40, failed=(3,), text="<b>ünï</b>")
    write_trace(tmp_path / "j", tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    tasks = [event for event in events if event.get("cat") == "task"]
    assert len(tasks) == 40
    assert sum(event["args"]["outcome"] == "failure" for event in tasks) == 1
    begun = [event["id"] for event in events if event["ph"] == "b"]
    assert begun == [event["id"] for event in events if event["ph"] == "e"]
    assert len(begun) == 40
    assert all(event["ts"] >= 0 and event.get("dur", 0) >= 0 for event in events if "ts" in event)
    assert {event["name"] for event in events if event.get("cat") == "note"} >= {"worker:crashed", "call:retry"}
