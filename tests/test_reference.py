"""docs/reference.md says what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[1] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_page_is_what_the_code_says() -> None:
    """Stale? `python docs/reference.py` writes it anew."""
    assert (DOCS / "reference.md").read_text() == generator().page()


def test_the_reference_page_leaves_no_setting_undocumented() -> None:
    page = generator()
    for name, one in page.setting_fields().items():
        assert len(one.metadata["doc"]) > 10, name
