"""What CONTRIBUTING.md shows is how it is done: its recipes run as they stand."""

from __future__ import annotations

import configparser
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, ModelSpec, map_prompt, safe_chunk
from mrengine.chunking import detect
from mrengine.chunking.cutter import Cutter
from tests.chunking.texts import assert_promises

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
DIARY = "".join(f"== 2026-01-{day:02}\n" + "It rained, and we stayed at home. " * day + "\n" for day in range(1, 30))


def recipe(name: str) -> dict[str, Any]:
    """The names that the code of a recipe defines."""
    (code,) = re.findall(rf"^ *```python {name}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {"__name__": f"recipe_{name}"}
    exec(textwrap.dedent(code), found)
    return found


def test_the_provider_answers_a_whole_job(state_dir: Path) -> None:
    """As ModelSpec(provider=Class)."""
    spec = ModelSpec("loud", provider=recipe("provider")["Shout"], params={"mark": "?"})
    runner = MapReduceRunner(strategy="sequential", models=spec)
    assert runner.run("hello", map_prompt("Say $text")).results[0].result.endswith("?")


def test_the_splitter_keeps_entries_whole_and_the_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entered into the table that the page names, it is found by its looks."""
    kind = recipe("splitter")
    entry = detect._Entry(lambda target: Cutter(kind["Entries"](target), target), kind["looks"])
    monkeypatch.setitem(detect._KINDS, "diary", entry)
    chunks = list(safe_chunk(DIARY, target_tokens=400, overlap_tokens=0))
    assert {chunk.kind for chunk in chunks} == {"diary"}
    assert all(chunk.text.startswith("== ") for chunk in chunks)
    assert_promises(DIARY, chunks, 400)


def test_the_lanes_of_tox_are_all_listed() -> None:
    """Neither more nor fewer than tox.ini has."""
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    lanes = {name.removeprefix("testenv:") for name in tox.sections() if name.startswith("testenv:")}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == {*lanes, "py"}


def test_the_places_that_recipes_name_are_there() -> None:
    """Names in code that the page sends a reader to."""
    for name, file in {
        "_KINDS": "chunking/detect.py",
        "KINDS": "log/format/chunk_rows.py",
        "RunnerSettings": "settings.py",
        "class Backend": "engine/protocol.py",
        "_OWN": "backends/registry.py",
        "class RoundSettings": "engine/protocol.py",
        "class WorkerConfig": "engine/protocol.py",
        "round_request": "host/requests.py",
        "runner_settings": "cli/options.py",
        "local_ports": "worker/ports.py",
        "class LocalBudget": "budget/in_process.py",
        "make_service": "budget/server.py",
        "class Driver": "job/driver.py",
        "class LocalDriver": "job/local_driver.py",
        "class RoundDriver": "job/round_driver.py",
    }.items():
        assert name.removeprefix("class ") in PAGE
        assert name in (ROOT / "mrengine" / file).read_text(), file
