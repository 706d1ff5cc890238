"""Restores parts of a job from its log and spool: its map function and models, its chunks and their headings."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mrengine.errors import ConfigError, JobNotFound, LogError
from mrengine.log.format.heads import read_heads
from mrengine.log.format.job_records import JobRecord
from mrengine.log.view.job_view import ResumeEngine
from mrengine.prompt_template import map_prompt
from mrengine.providers.models.catalog import Prices
from mrengine.providers.models.model import Model, resolve_models
from mrengine.providers.models.resolution import VENDORS
from mrengine.records import Batch, Chunk, ModelSpec, RateLimit
from mrengine.sources.spool import SpoolFile
from mrengine.worker.chunk_reader import ChunkReader

__all__ = ["StoredJob", "chunks_of", "headings_of", "import_function", "stored_job"]

log = logging.getLogger("mrengine")
_HEAD = 4000  # bytes that are read behind the overlap: enough for a heading of 200 characters
_HEADING = re.compile(r"\s*(#{1,6})[ \t]+([^\n]{1,200})")
_VENDOR_HOSTS = frozenset(urlsplit(url).hostname for url in VENDORS)


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as the JOB record of its current epoch describes it."""

    record: JobRecord

    def map_fn(self) -> Callable[..., Any]:
        """The job's map function. ConfigError: it was neither a prompt nor importable; LogError."""
        source = self.record.map_source
        if isinstance(source, Mapping):
            try:
                return map_prompt(**source)
            except TypeError:
                raise self._unreadable("prompt") from None
        if isinstance(source, str):
            folder = self.record.settings.get("map_folder")
            return import_function(source, folder=folder if isinstance(folder, str) else "")
        raise ConfigError(
            f"job {self.record.job_id} ran {self.record.map_name}, which cannot be found by its name: give map_fn, or "
            "run the program that started it again",
            setting="map_fn",
        )

    def models(
        self, limits: Mapping[str, RateLimit] | None, *, api_key_env: str | None = None, prices: Prices = None
    ) -> tuple[Model, ...]:
        """The job's models, by the names that the caller gave then. LogError: the record cannot be read.

        A vendor's key goes to the vendor's own hosts only, as in ``run()``. ConfigError: another variable would be
        sent, which only the log names: ``api_key_env`` has to name it, too.
        """
        # The caller has named no address here: a log from elsewhere could have any key sent anywhere.
        named = self.record.settings.get("models") or []
        try:
            specs = [ModelSpec(n, base_url=url, provider=provider, api_key_env=key) for n, url, provider, key in named]
        except (TypeError, ValueError):
            raise self._unreadable("models") from None
        if api_key_env is not None:
            specs = [replace(spec, api_key_env=api_key_env) if _elsewhere(spec) else spec for spec in specs]
        models = resolve_models(specs, limits=limits, prices=prices) if specs else ()
        for model in models:
            self._show(model, named=api_key_env is not None)
        return models

    def batch(self, setting: bool | Batch | None) -> bool | Batch | None:
        """The ``batch`` setting that the caller has ``given``, or else the job's own."""
        fields = self.record.settings.get("batch")
        if setting is not None or not isinstance(fields, Mapping):
            return setting
        try:
            return Batch(**fields)
        except TypeError:  # fields of another version
            return True

    def _show(self, model: Model, *, named: bool) -> None:
        """Warn of an address that only the log names, or refuse it, before anything is sent there."""
        if not _elsewhere(model.spec):
            return
        variables = " and ".join(lane.key_env for lane in (model, *model.lanes) if lane.key_env is not None)
        if variables and not named:
            raise ConfigError(
                f"job {self.record.job_id} would send the value of {variables} to {model.base_url}, which only its "
                "log names. If that is right, say so: name the model (models=, --model) or the variable (api_key_env=, "
                "--api-key-env) again",
                setting="api_key_env",
            )
        log.warning("job %s goes on with model %s at %s", self.record.job_id, model.name, model.base_url)

    def _unreadable(self, what: str) -> LogError:
        message = f"the log of job {self.record.job_id} says nothing of its {what} that can be read: give {what} anew"
        return LogError(message, reason="damaged")


def _elsewhere(spec: ModelSpec) -> bool:
    """Whether a spec has an address that is not a known vendor's."""
    named = spec.name.partition("#")[0] if spec.name.startswith(("http://", "https://")) else None
    address = urlsplit(spec.base_url or named or "")
    return bool(address.scheme) and (address.scheme != "https" or address.hostname not in _VENDOR_HOSTS)


def stored_job(view: ResumeEngine, job_id: str) -> StoredJob:
    """The job of a log. JobNotFound: the log has no JOB record."""
    if view.epoch is None:
        raise JobNotFound(f"there is no job {job_id!r}: it was interrupted before its first record", job_id=job_id)
    return StoredJob(view.epoch.job)


def import_function(name: str, *, folder: str = "") -> Callable[..., Any]:
    """The function that "module:qualname" names. ConfigError: it cannot be imported, and why.

    ``folder``: where the module was found when the job began. It is searched first, and stays at the end of
    ``sys.path``, for what the function imports later.
    """
    module, _, path = name.partition(":")
    if not module or not path:
        raise ConfigError(f"{name!r}: a function is named as module:function", setting="map")
    try:
        value: Any = _imported(module, folder)
        for part in path.split("."):
            value = getattr(value, part)
    except Exception as error:  # importing runs the module's code, which may raise anything
        there = f"; the job began with it in {folder}" if folder else ""
        known = isinstance(error, (ImportError, AttributeError))
        why = str(error) if known else f"{type(error).__name__}: {error}"
        raise ConfigError(f"{name!r} cannot be imported: {why}{there}", setting="map") from error
    if not callable(value):
        raise ConfigError(f"{name!r} is of type {type(value).__name__}, not a function", setting="map")
    return value  # type: ignore[no-any-return]


def _imported(module: str, folder: str) -> Any:
    if not folder or folder in sys.path or not os.path.isdir(folder):
        return importlib.import_module(module)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    finally:  # only this import had to find the folder first: from now on it is searched last
        sys.path.remove(folder)
        sys.path.append(folder)


def chunks_of(view: ResumeEngine, spool: Path) -> Iterator[Chunk]:
    """Yield all chunks of the map round with their texts."""
    epoch = view.epoch
    assert epoch is not None
    table = epoch.segments.get(0, [])
    with closing(ChunkReader(os.fspath(spool.parent), spool.name, table, epoch.documents, check=False)) as reader:
        for chunk in range(epoch.chunks()):
            yield reader.read(chunk)


def headings_of(view: ResumeEngine, spool: Path) -> dict[int, tuple[str, ...]]:
    """The headings of each chunk: those above it, and the one that it begins with. None without a spool."""
    table = view.chunk_table()
    headings: dict[int, tuple[str, ...]] = {}
    with closing(SpoolFile(spool)) as text:
        for chunk, row in enumerate(table):
            above = read_heads(table.heads(chunk, row), text.read)
            begin = text.read(row.spool_from, min(row.spool_to, row.spool_from + 4 * row.overlap + _HEAD)) or b""
            headings[chunk] = _with_own(above[0] if above else (), begin.decode("utf-8", "ignore")[row.overlap :])
    return headings


def _with_own(above: tuple[str, ...], text: str) -> tuple[str, ...]:
    own = _HEADING.match(text)
    return (*above[: len(own[1]) - 1], own[2].strip()) if own else above
