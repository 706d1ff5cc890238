"""What `import mrengine` costs, and what it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mrengine

HEAVY = {"anthropic", "click", "numpy", "openai", "psutil", "pydantic", "requests", "rich", "tiktoken", "xllamacpp"}
HEAVY |= {"ssl"}  # the host makes no call itself, and the Python inside uWSGI may have none
ROOT = Path(mrengine.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return run.stdout


def test_import_loads_nothing_heavy() -> None:
    """They are imported where they are first used."""
    loaded = json.loads(fresh("import sys, json, mrengine; print(json.dumps(sorted(sys.modules)))"))
    assert "mrengine" in loaded
    assert HEAVY.isdisjoint(name.partition(".")[0] for name in loaded)


def test_using_the_public_names_loads_nothing_heavy() -> None:
    """Naming the runner is not running it."""
    code = "import sys, json, mrengine; [getattr(mrengine, name) for name in mrengine.__all__]; "
    loaded = json.loads(fresh(code + "print(json.dumps(sorted(sys.modules)))"))
    assert "mrengine.runner" in loaded
    assert HEAVY.isdisjoint(name.partition(".")[0] for name in loaded)


def test_import_is_quick() -> None:
    """Under 100 ms (about 12 are measured), by the process's own clock; on a slow CPU, compared with the library's."""
    timed = "import time; begun = time.process_time(); import {}; print(time.process_time() - begun)"
    import_s = min(float(fresh(timed.format("mrengine"))) for _ in range(3))
    library_s = min(float(fresh(timed.format("json, logging, dataclasses"))) for _ in range(3))
    assert import_s < max(0.1, 5 * library_s)


def test_every_public_name_is_there() -> None:
    """``__all__`` is sorted as ruff has it, holds nothing twice, and nothing that is missing."""
    assert len(set(mrengine.__all__)) == len(mrengine.__all__)
    for name in mrengine.__all__:
        assert getattr(mrengine, name) is not None, name
    assert set(mrengine.__all__) <= set(dir(mrengine))


def test_public_api_is_the_designs() -> None:
    """The names that docs/design.md promises."""
    assert set(mrengine.__all__) >= {
        *("MapReduceRunner", "summarize", "map_prompt", "safe_chunk", "Job", "TokenBucketManager", "ModelLoadBalancer"),
        *("ResumeEngine", "medical_report_aggregator", "consensus_aggregator", "concatenate", "collect", "tree_reduce"),
        *("Document", "read_source", "read_jsonl", "ModelSpec", "RateLimit", "Budget", "Retry"),
    }


@pytest.mark.parametrize("name", MODULES)
def test_module_says_what_it_owns(name: str) -> None:
    """The first thing in each module is a docstring; none is over 400 lines."""
    path = ROOT.parent.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = file.read_text(encoding="utf-8")
    assert re.match(r'r?"""\S', text), "the module has no docstring"
    assert text.count("\n") <= 400, "split it by idea"


def test_version_is_the_packages() -> None:
    """One source: setup.cfg reads the same file."""
    from mrengine._version import __version__

    assert mrengine.__version__ == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.\w+)?", __version__)
