"""What a job's log says of its map function and models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner
from mrengine.errors import LogError
from mrengine.host.stored import StoredJob, stored_job


@pytest.fixture
def stored(state_dir: Path) -> StoredJob:
    MapReduceRunner("stored", models="fake", strategy="sequential").run("text", lambda chunk, context: 1)
    return stored_job(state_dir / "jobs" / "stored", "stored")


@pytest.mark.parametrize("models", [[["fake", None]], [3], "fake", [["fake", None, None, None, None]]])
def test_models_that_are_written_otherwise_are_an_error_of_the_log(stored: StoredJob, models: Any) -> None:
    """By name, with the way out; not a ValueError of the unpacking."""
    record = dataclasses.replace(stored.record, settings={**stored.record.settings, "models": models})
    with pytest.raises(LogError, match="job stored says nothing of its models"):
        StoredJob(record).models(None)


def test_a_prompt_of_other_fields_is_an_error_of_the_log(stored: StoredJob) -> None:
    """The same for the map function."""
    record = dataclasses.replace(stored.record, map_source={"template": "$text", "colour": "red"})
    with pytest.raises(LogError, match="job stored says nothing of its prompt"):
        StoredJob(record).map_fn()
