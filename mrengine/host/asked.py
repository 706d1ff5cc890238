"""What one run was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mrengine.host.log_follower import OnStep, OnText
from mrengine.log.view.job_view import ResumeEngine
from mrengine.settings import OnBusy

__all__ = ["Asked", "Stored"]


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
