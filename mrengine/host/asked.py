"""What one run was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from mrengine.host.log_follower import OnStep, OnText
from mrengine.log.format.instances import check_result_type
from mrengine.log.view.job_view import ResumeEngine
from mrengine.mapfn.describe import MapFunction, describe_map
from mrengine.mapfn.pickling import pack_function
from mrengine.settings import OnBusy

__all__ = ["Asked", "Stored", "described"]


class Stored(NamedTuple):
    """Stands for the documents in a job's spool; with the view of its log, where that was read already."""

    view: ResumeEngine | None


class Asked(NamedTuple):
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


def described(asked: Asked, *, version: str | None, named: bool) -> MapFunction:
    """The map function as a job has it, with the type of its results."""
    map_fn = asked.map_fn
    blob = pack_function(map_fn, setting="map_fn")
    found = describe_map(map_fn, version=version, named=named, blob=blob)
    kind = asked.result_type if asked.result_type is not None else getattr(map_fn, "result_type", None)
    if check_result_type(kind) is None:
        return found
    return replace(found, result_type=kind, result_blob=pack_function(kind, setting="result_type"))
