"""What one run is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mrengine.log.view.job_view import ResumeEngine
from mrengine.reducers.tree import TreeReduce
from mrengine.settings import OnBusy

__all__ = ["Asked", "Stored"]


class Stored(NamedTuple):
    """Stands for the documents in a job's spool; with the view of its log, where that was read already."""

    view: ResumeEngine | None


class Asked(NamedTuple):
    """What one run was asked for."""

    document: Any
    map_fn: Callable[[Any, Any], Any]
    reduce_fn: Callable[[Any], Any] | TreeReduce | None
    job_id: str | None
    timeout_s: float | None
    result_type: Any
    on_busy: OnBusy | None
    detach: bool = False
