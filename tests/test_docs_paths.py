"""What the pages name exists: modules, tests, results, pages and the headings that links lead to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FOLDERS = ("mrengine", "tests", "bench", "docs", "examples")
ROOMS = {path.name for path in (ROOT / "mrengine").iterdir() if path.is_dir()} | {*FOLDERS, ".ci"}
FILES = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")}
SUFFIXES = (".py", ".json", ".md")
ELSEWHERE = {"app.py", "script.py"}  # of the reader's own


def exists(name: str) -> bool:
    """A path from the root or from the package, with or without ``.py``; a bare file name is one of ours."""
    if "/" not in name:
        return name in FILES or (ROOT / name).exists() or name in ELSEWHERE
    paths = (ROOT / name, ROOT / "mrengine" / name, ROOT / "docs" / name)
    return any(path.exists() or path.with_name(f"{path.name}.py").exists() for path in paths)


def named(text: str) -> list[str]:
    """The paths in code spans: what stands in a folder of ours, or ends like one of our files."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([A-Za-z0-9_./-]+)`", text)
    return [span for span in spans if span.split("/")[0] in ROOMS - {span} or span.endswith(SUFFIXES)]


def anchors(page: Path) -> set[str]:
    """As forges make them of headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_a_wrong_path_would_be_found() -> None:
    """The search is not blind: moved modules are what it is for."""
    page = (
        "`engine/execute` is in `mrengine/engine/nowhere.py` and `edges.py`; `host/job_run` and `log/view/` are there."
    )
    assert [name for name in named(page) if not exists(name)] == [
        "engine/execute",
        "mrengine/engine/nowhere.py",
        "edges.py",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_is_named_exists(page: str) -> None:
    """Modules move; the pages move with them."""
    assert [name for name in named((ROOT / page).read_text()) if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_is_to_be_run_exists(page: str) -> None:
    """After ``python -m``, where it is one of ours."""
    for name in re.findall(r"python -m ((?:bench|tests|mrengine)(?:\.\w+)*)", (ROOT / page).read_text()):
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


def test_every_benchmark_can_be_named() -> None:
    """``python -m bench compare`` knows every module of ``bench`` and ``bench/compare`` that is a program."""
    from bench.__main__ import programs, words

    assert programs() == {module for commands in words().values() for module, *_ in commands}
    assert {"chunking", "pool", "calls", "limits", "resume", "memory", "startup", "durable"} <= set(words())


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_page_and_its_heading(page: str) -> None:
    """Within the repository."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", (ROOT / page).read_text()):
        found = (ROOT / page).parent / target if target else ROOT / page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), f"{target}#{anchor}"


def test_every_decision_is_known_by_its_own_name() -> None:
    """Each has a title and says what it decides."""
    for path in (ROOT / "docs" / "decisions").glob("*.md"):
        text = path.read_text()
        assert text.startswith("# "), path.name
        assert "**Context.**" in text, path.name
        assert re.search(r"\*\*(Choice|Decision)\.", text), path.name
