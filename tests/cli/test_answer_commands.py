"""answers: stats and prune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mrengine.log.shared_answers import SharedAnswers


def test_what_is_there_is_reported_and_removed(cli: Any, state_dir: Path) -> None:
    """Also where there is nothing, or no database."""
    assert json.loads(cli("answers", "stats", "--json").stdout)["answers"] == 0
    store = SharedAnswers(str(state_dir / "answers.sqlite3"), "run")
    for number in range(10):
        store.add(number.to_bytes(16, "big"), "m", bytes(1000))
    store.close()
    assert json.loads(cli("answers", "stats", "--json").stdout)["answers"] == 10
    assert "answers:     10" in cli("answers", "stats").stdout
    assert "removed 5 answers" in cli("answers", "prune", "--max-mb", "0.005").stderr
    assert "removed 5 answers" in cli("answers", "prune", "--all").stderr
    (state_dir / "other").write_text("no database " * 100)
    wrong = cli("answers", "stats", "--file", str(state_dir / "other"))
    assert wrong.returncode == 2
    assert "can be deleted" in wrong.stderr
