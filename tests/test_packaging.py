"""What is shipped: the wheel is built from a copy of the tree, and looked into."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = {".py", ".typed", ".json", ".css", ".js", ".svg", ".lua"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, under the name that git clone gives it."""
    if not (ROOT / "setup.cfg").exists():
        pytest.skip("not a source tree")
    tree = tmp_path_factory.mktemp("parent") / "mrengine"
    tree.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "mrengine", tree / "mrengine", ignore=shutil.ignore_patterns("__pycache__"))
    return tree


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return built("build_wheel", clone, tmp_path_factory.mktemp("out"))


def built(how: str, tree: Path, out: Path) -> zipfile.ZipFile:
    code = f"from setuptools.build_meta import {how}; {how}({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True, timeout=100)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """Modules, py.typed and data files: what is missing here works in an editable install only."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mrengine").rglob("*")
        if path.suffix in SHIPPED or path.name == "py.typed"
    }
    names = set(wheel.namelist())
    assert expected <= names
    assert "mrengine/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_no_data_file_is_forgotten(wheel: zipfile.ZipFile) -> None:
    """A data file of a new kind must be named in setup.cfg, and here."""
    kinds = {
        path.suffix for path in (ROOT / "mrengine").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert kinds <= SHIPPED


def test_metadata_is_complete(wheel: zipfile.ZipFile) -> None:
    """The version, the Pythons, the extras and the command."""
    from mrengine._version import __version__

    def read(name: str) -> str:
        return wheel.read(next(entry for entry in wheel.namelist() if entry.endswith(f".dist-info/{name}"))).decode()

    metadata = message_from_string(read("METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("mrengine", __version__)
    assert metadata["Requires-Python"] == ">=3.10"
    assert {"local", "dicom", "bpe", "test", "dev", "bench"} <= set(metadata.get_all("Provides-Extra", []))
    always = {
        re.split("[>=<;~! ]", need)[0] for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need
    }
    assert always.isdisjoint({"pydantic", "xllamacpp"})
    assert {"openai", "anthropic", "click", "requests", "tiktoken"} <= always
    assert "mrengine = mrengine.__main__:main" in read("entry_points.txt")


def test_an_editable_install_is_found_from_everywhere(clone: Path, tmp_path: Path) -> None:
    """Beside the clone, which Python would take for a namespace package; and by mypy, which reads .pth files only."""
    site, user = tmp_path / "site", tmp_path / "user"
    built("build_editable", clone, tmp_path).extractall(site)
    user.mkdir()
    assert [path.suffix for path in site.iterdir() if path.is_file()] == [".pth"]
    code = "import site, sys; site.addsitedir(sys.argv[1]); import mrengine; print(mrengine.__file__)"
    for folder in (clone.parent, clone, user):
        command = [sys.executable, "-S", "-c", code, str(site)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == str(clone / "mrengine" / "__init__.py")


def test_scripts_of_ci_are_valid(require: Callable[[str], str]) -> None:
    """A slip in it would be seen only in CI."""
    assert subprocess.run([require("bash"), "-n", str(ROOT / ".ci" / "run")], check=False).returncode == 0
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100


@pytest.mark.parametrize(
    "name", [".venv", "venv", "env", ".env", "build", "dist", ".tox", "__pycache__", "node_modules"]
)
def test_nothing_in_the_tree_stands_in_the_way_of_the_usual_names(name: str, require: Callable[[str], str]) -> None:
    """Whoever makes them in a clone meets no file of ours, and finds them ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    git = [require("git"), "-C", str(ROOT)]
    tracked = subprocess.run([*git, "ls-files", "-z"], check=True, capture_output=True, text=True).stdout.split("\0")
    assert [path for path in tracked if name in path.split("/")] == []
    if name not in ("env", "node_modules"):
        ignored = subprocess.run([*git, "check-ignore", "-q", f"{name}/file"], check=False)
        assert ignored.returncode == 0
