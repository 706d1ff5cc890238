"""Owns what a job's log says of its map function and models, so that it can go on with its id alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError, JobNotFound, LogError
from mrengine.log.format.job_records import JobRecord
from mrengine.log.view.job_view import ResumeEngine
from mrengine.prompts import map_prompt
from mrengine.providers.models.model import Model, resolve_models
from mrengine.records import ModelSpec, RateLimit

__all__ = ["StoredJob", "import_function", "stored_job"]


@dataclass(frozen=True, slots=True)
class StoredJob:
    """The JOB record of the epoch that counts, and what it can be made into."""

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
            return import_function(source)
        raise ConfigError(
            f"job {self.record.job_id} ran {self.record.map_name}, which cannot be found by its name: give map_fn, or "
            "run the program that started it again",
            setting="map_fn",
        )

    def models(self, limits: Mapping[str, RateLimit] | None) -> tuple[Model, ...]:
        """The job's models, by the names that they were given by. LogError: the record names them in no known way."""
        given = self.record.settings.get("models") or []
        try:
            specs = [ModelSpec(n, base_url=url, provider=provider, api_key_env=key) for n, url, provider, key in given]
        except (TypeError, ValueError):
            raise self._unreadable("models") from None
        return resolve_models(specs, limits=limits) if specs else ()

    def _unreadable(self, what: str) -> LogError:
        message = f"the log of job {self.record.job_id} says nothing of its {what} that can be read: give {what} anew"
        return LogError(message, reason="damaged")


def stored_job(folder: Path, job_id: str) -> StoredJob:
    """A job in its folder. JobNotFound: there is none, or nothing of it was kept."""
    with ResumeEngine(folder) as stored:
        if stored.epoch is None:
            raise JobNotFound(f"there is no job {job_id!r} in {folder.parent}", job_id=job_id)
        return StoredJob(stored.epoch.job)


def import_function(name: str) -> Callable[..., Any]:
    """The function that "module:qualname" names. ConfigError: it cannot be imported, and why."""
    module, _, path = name.partition(":")
    if not module or not path:
        raise ConfigError(f"{name!r}: a function is named as module:function", setting="map")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{name!r} cannot be imported: {error}", setting="map") from error
    if not callable(found):
        raise ConfigError(f"{name!r} is a {type(found).__name__}, not a function", setting="map")
    return found  # type: ignore[no-any-return]
