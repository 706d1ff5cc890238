"""What the pages show is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    """The Python examples of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("state_dir")
def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    """All its examples, one after another, in a fresh process."""
    script = tmp_path / "tutorial.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n" + "\n".join(blocks("docs/tutorial.md")))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.usefixtures("state_dir")
def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    """With the model that needs no key."""
    (tmp_path / "records.txt").write_text("Fever on Monday. Cough on Tuesday. " * 30)
    code = blocks("README.md")[0].replace('models="gpt-4o-mini"', 'models="fake"')
    assert code != blocks("README.md")[0]
    script = tmp_path / "readme.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n" + code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "100%" in done.stdout


def test_the_readme_gives_the_two_commands() -> None:
    """Exactly: .ci/run and a newcomer rely on them."""
    page = (ROOT / "README.md").read_text()
    assert "python -m pip install -e '.[local]' && mrengine summarize README.md" in page
    assert "python -m pip install tox && tox" in page
