"""Whose a module is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mrengine.mapfn.module_origin import is_own, label


@pytest.mark.parametrize("module", ["json", "json.decoder", "sys", "msgpack", "mrengine.prompt_template"])
def test_installed_modules_are_not_the_users(module: str) -> None:
    assert not is_own(module)


@pytest.mark.parametrize("module", ["__main__", __name__, "nowhere_to_be_found"])
def test_all_others_are(module: str) -> None:
    assert is_own(module)


def test_a_file_with_the_name_of_a_standard_module_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found before Python's own."""
    (tmp_path / "chunk.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "stdlib_module_names", sys.stdlib_module_names | {"chunk"})
    monkeypatch.delitem(sys.modules, "chunk", raising=False)
    is_own.cache_clear()
    try:
        assert is_own("chunk")
    finally:
        is_own.cache_clear()


def test_a_package_is_named_with_its_version() -> None:
    """Also where its distribution has another name."""
    assert label("msgpack.fallback").startswith("msgpack ")
    assert label("msgpack.fallback").partition(" ")[2]
    assert label("json") == "python"
