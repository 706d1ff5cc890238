"""The arguments of one run: what the caller gave, checked before any work is done."""

from __future__ import annotations

import inspect
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from mrengine.errors import ConfigError
from mrengine.host.log_follower import OnStep, OnText
from mrengine.log.format.instances import check_result_type
from mrengine.log.view.job_view import ResumeEngine
from mrengine.mapfn.describe import MapFunction, describe_map
from mrengine.mapfn.pickling import pack_function
from mrengine.records import Document
from mrengine.reducers.tree import TreeReduce
from mrengine.settings import OnBusy

__all__ = ["RunArguments", "Stored", "check_map", "check_reduce", "described", "names_a_file", "without_tables"]

log = logging.getLogger("mrengine")


class Stored(NamedTuple):
    """Stands for the documents that a job has in its spool already; ``view``: of its log, if that was read before."""

    view: ResumeEngine | None


class RunArguments(NamedTuple):
    """The arguments of ``run()`` and its like."""

    document: Any
    map_fn: Callable[[Any, Any], Any]
    reduce_fn: Any
    job_id: str | None
    timeout_s: float | None
    result_type: Any
    on_busy: OnBusy | None
    on_text: OnText | None = None
    on_step: OnStep | None = None
    detach: bool = False

    def check(self) -> None:
        """ConfigError: no job can run these functions. A document that looks like a mistake is warned of."""
        if mistaken := names_a_file(self.document):
            log.warning("%s", mistaken)
        check_map(self.map_fn)
        check_reduce(self.reduce_fn)


def described(args: RunArguments, *, version: str | None, named: bool) -> MapFunction:
    """The map function as a job has it, with the type of its results."""
    map_fn = args.map_fn
    blob = pack_function(map_fn, setting="map_fn")
    mapping = describe_map(map_fn, version=version, named=named, blob=blob)
    kind = args.result_type if args.result_type is not None else getattr(map_fn, "result_type", None)
    if check_result_type(kind) is None:
        return mapping
    return replace(mapping, result_type=kind, result_blob=pack_function(kind, setting="result_type"))


def check_map(map_fn: Any) -> None:
    """ConfigError: it is no function of (chunk, context) that returns its result."""
    # Before anything is read: the same mistakes would fail every chunk later, one after another.
    if not callable(map_fn):
        made = "; map_prompt(…) makes one of a prompt" if isinstance(map_fn, str) else ""
        raise ConfigError(f"map_fn is of type {type(map_fn).__name__}, not a function{made}", setting="map_fn")
    if _is_async(map_fn):
        way = "make it a plain function, which may end in asyncio.run(…): workers have no event loop"
        raise ConfigError(f"map_fn is an async function: {way}", setting="map_fn")
    if any(inspect.isgeneratorfunction(function) for function in (map_fn, type(map_fn).__call__)):
        raise ConfigError("map_fn is a generator function (it yields): return a list", setting="map_fn")
    _check_arguments(map_fn, "map_fn", "chunk", "context")


def check_reduce(reduce_fn: Any) -> None:
    """ConfigError: it is neither None, a reduce by prompt, nor a function of (results)."""
    if reduce_fn is None or isinstance(reduce_fn, TreeReduce):
        return
    if not callable(reduce_fn):
        made = "; tree_reduce(…) makes one of a prompt" if isinstance(reduce_fn, str) else ""
        raise ConfigError(f"reduce_fn is of type {type(reduce_fn).__name__}, not a function{made}", setting="reduce_fn")
    if _is_async(reduce_fn):
        raise ConfigError("reduce_fn is an async function: make it a plain one", setting="reduce_fn")
    _check_arguments(reduce_fn, "reduce_fn", "results")


def _is_async(function: Any) -> bool:
    both = (function, type(function).__call__)
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in both)


def _check_arguments(function: Any, setting: str, *names: str) -> None:
    """ConfigError: the function cannot be called with arguments of these names."""
    # A wrong map_fn would fail in each chunk; a wrong reduce_fn only when all chunks are paid for.
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C, or with a __signature__ that cannot be read
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        name = getattr(function, "__qualname__", type(function).__qualname__)
        message = f"{setting} {name}{signature} is called with ({', '.join(names)})"
        raise ConfigError(f"{message}: {error}", setting=setting) from None


# Recognised by the names of their packages: an import would be slow, and isinstance() would query lazy proxies
# (Flask's request, Celery's tasks) for the object that they stand for, which may not be there.
_PACKAGES = frozenset(
    {"pandas", "polars", "pyarrow", "dask", "modin", "cudf", "duckdb", "pyspark", "vaex", "geopandas"}
)


def without_tables(document: Any) -> Any:
    """The document as it is, or the rows of a pandas Series as Documents: their ids are its index.

    ConfigError: it is a table, whose columns' names would be read for documents.
    """
    kind = type(document)
    if not _PACKAGES & {base.__module__.partition(".")[0] for base in kind.__mro__}:
        return document
    if hasattr(document, "index") and hasattr(document, "items") and getattr(document, "ndim", 0) == 1:
        return _rows(document)
    if getattr(document, "ndim", 2) == 2 and any(hasattr(kind, name) for name in ("columns", "column_names")):
        raise ConfigError(
            f"a {kind.__name__} is no row of documents: give read_table(frame, text='note'), or a column of texts, as "
            "frame['text'], or [Document(id, text) for id, text in zip(frame['id'], frame['text'])]",
            setting="document",
        )
    return document


def _rows(series: Any) -> Iterator[Document]:
    for name, text in series.items():
        if text is None or text != text:  # None, NaN or NaT: pandas' marks for a missing value
            message = f"the document {name!r} of the Series is missing: leave such rows out, with series.dropna()"
            raise ConfigError(message, setting="document")
        yield Document(" ".join(map(str, name)) if isinstance(name, tuple) else str(name), text)


def names_a_file(document: Any) -> str | None:
    """A warning where a str, which is always taken as text, looks like a path or URL that was meant to be read."""
    if isinstance(document, str) and re.fullmatch(r"https?://\S{3,2000}", document):
        return "the document is a str, so it is the text; it is a URL, too: for the page give Url(…)"
    if isinstance(document, str) and len(document) < 4096 and "\n" not in document and "\0" not in document:
        with suppress(OSError, ValueError):  # a text may be longer than a path can be, or no path at all
            if os.path.isfile(document):
                return "the document is a str, so it is the text; it names a file, too: for that give Path(…)"
    return None
