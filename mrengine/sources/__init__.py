"""From what a caller gives — text, a path, a URL, bytes, a stream, a table, many of these — to documents."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrengine.sources.jsonl import read_jsonl
    from mrengine.sources.loaders import Loader, Piece
    from mrengine.sources.read import Reading, Source, Unreadable, documents_of, read_folder, read_source
    from mrengine.sources.tables import read_table
    from mrengine.sources.urls import Url

# Imported when first used: ``import mrengine`` stays quick, and a job of plain text needs no loader.
_HOMES = {
    "Loader": "loaders",
    "Piece": "loaders",
    "Reading": "read",
    "Source": "read",
    "Unreadable": "read",
    "Url": "urls",
    "documents_of": "read",
    "read_folder": "read",
    "read_jsonl": "jsonl",
    "read_source": "read",
    "read_table": "tables",
}

__all__ = [
    "Loader",
    "Piece",
    "Reading",
    "Source",
    "Unreadable",
    "Url",
    "documents_of",
    "read_folder",
    "read_jsonl",
    "read_source",
    "read_table",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"mrengine.sources.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
