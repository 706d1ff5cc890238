"""Tells where a module comes from: Python, an installed package (with its version), or the user."""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from types import ModuleType

__all__ = ["is_own", "label"]

_INSTALLED = frozenset({"site-packages", "dist-packages"})


@lru_cache(maxsize=1024)
def is_own(module: str) -> bool:
    """Whether a module is the user's own: not Python's, not mrengine's, not in site-packages."""
    top = module.partition(".")[0]
    if module == "__main__":
        return True
    if top == "mrengine" or (top in sys.stdlib_module_names and not _shadows(top)):
        return False
    origin = _file(top)
    return origin is None or not _INSTALLED & set(Path(origin).parts)  # so editable installs are the user's


@lru_cache(maxsize=1024)
def label(module: str) -> str:
    """Name and version of a module's package, such as "requests 2.32.3"; "python" for Python's own."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names and not _shadows(top):
        return "python"
    return f"{top} {_version(top)}"


def _version(top: str) -> str:
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:
        pass
    names = metadata.packages_distributions().get(top, [])  # of a distribution of another name: PyYAML has yaml
    return metadata.version(names[0]) if names else str(getattr(sys.modules.get(top), "__version__", ""))


def _file(top: str) -> str | None:
    module = sys.modules.get(top)
    if isinstance(module, ModuleType):
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
        return str(file) if file else None
    try:
        spec = util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or []), None)


def _shadows(top: str) -> bool:
    """Whether a user's file shadows a module of the standard library."""
    origin = _file(top)
    if origin is None or top in sys.builtin_module_names or not origin.endswith(".py"):
        return False
    paths = sysconfig.get_paths()
    roots = {Path(paths["stdlib"]).resolve(), Path(paths["platstdlib"]).resolve()}
    return not roots & set(Path(origin).resolve().parents)
