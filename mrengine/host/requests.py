"""Makes the requests for a driver: which job to open, what to import for it, and all that a round needs."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mrengine import events
from mrengine.budget.manager import check_limit
from mrengine.budget.shared_limits import process_name
from mrengine.budget.spend_limit import SpendLimit
from mrengine.config import answers_file, state_folder
from mrengine.engine.protocol import LocalFunctions, RoundSettings, WorkerConfig
from mrengine.errors import ConfigError
from mrengine.host.job_identity import Record
from mrengine.host.row_stream import RowStream
from mrengine.job.budget_config import BudgetTerms
from mrengine.job.driver import Driver, OpenRequest, RoundRequest
from mrengine.mapfn.describe import MapFunction
from mrengine.mapfn.modules import preloads
from mrengine.progress import Progress
from mrengine.providers.models.balancer import ModelLoadBalancer
from mrengine.providers.models.model import Model, every_lane, names_of
from mrengine.providers.models.resolution import OPENAI
from mrengine.records import Priority, RateLimit
from mrengine.settings import Settings
from mrengine.telemetry.watcher import Watchers

__all__ = ["InBatches", "RoundSpec", "RunConfig", "check_terms", "open_request", "round_request", "shared_answers"]

CALL_ROOM = 4096  # room in the index of stored calls, beside two calls for each task: it cannot grow after the fork


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a runner gives to each of its runs."""

    settings: Settings
    models: tuple[Model, ...]
    all_models: bool
    keep: str
    dispatcher: events.Dispatcher
    progress: Progress
    balancer: ModelLoadBalancer | None  # statistics of each model, over all runs of the runner
    models_blob: bytes
    initializer_blob: bytes
    session: Callable[[], Driver]  # gives the driver that is open, or a new one
    drop_session: Callable[[], None]  # ends the driver after its supervisor died
    run: str = field(default_factory=lambda: secrets.token_hex(8))  # tells its shared answers from those of other runs
    watchers: Watchers = field(default_factory=lambda: Watchers(()))  # OpenTelemetry, Prometheus


@dataclass(frozen=True, slots=True)
class RoundSpec:
    """A pass of the pool: its number, its tasks' chunks, and the function that runs in it.

    ``records``: of a later round, the chunk table of its texts, which the log needs first. ``rows``: of the map round,
    the rest of the chunk table, if it is cut during the round; ``total`` is then the number of chunks at its start.
    """

    number: int
    total: int
    mapping: MapFunction
    records: tuple[Record, ...] = ()
    only: tuple[int, ...] | None = None  # chunks; None: all
    rows: RowStream | None = None

    @property
    def is_open(self) -> bool:
        """Whether the round will get more tasks."""
        return self.rows is not None and not self.rows.ended

    @property
    def expected(self) -> int:
        """About how many chunks the round will have."""
        return self.total if self.rows is None else self.rows.expected


def check_terms(settings: Settings, models: Sequence[Model]) -> None:
    """ConfigError for limits and budgets that cannot work."""
    # The budget's manager would find them, too, but only when the documents are read and a supervisor runs.
    every = every_lane(models)
    model_names = {name for model in every for name in names_of(model.spec, model.name)}
    for name, limit in (settings.limits or {}).items():
        check_limit(name, limit)
        if name not in model_names:
            names = ", ".join(sorted({model.name for model in every})) or "none"
            raise ConfigError(f"limits names {name!r}, which is no model of this job; it has {names}", setting="limits")
    SpendLimit(settings.budget, prices={model.name: model.price for model in every})


def open_request(config: RunConfig, job_id: str, folder: Path, mapping: MapFunction) -> OpenRequest:
    """The first request to a driver: the job, the workers, and the modules to import before they are forked."""
    settings = config.settings
    return OpenRequest(
        folder=os.fspath(folder),
        job_id=job_id,
        durability=settings.durability,
        strict=settings.strict,
        workers=settings.workers,
        slots=settings.slots,
        kinds=[kind for model in config.models for kind in (model.kind, *model.preloads)],
        modules=preloads(mapping.function, settings.preload),
    )


@dataclass(frozen=True, slots=True)
class InBatches:
    """The batches of a round. ``mode``: see worker.batched_call.BatchMode; ``held``: keys of tasks not to run;
    ``reserved``: tokens and USD of requests under way; ``failed``: how many tasks failed earlier in this run.
    """

    mode: dict[str, Any]
    held: Sequence[int] = ()
    reserved: tuple[float, float] = (0.0, 0.0)
    failed: int = 0


def round_request(
    config: RunConfig, job_id: str, round_: RoundSpec, *, since: int, batches: InBatches | None = None
) -> RoundRequest:
    """Everything that a round needs. ``since``: where the run begins in the log."""
    settings, models = config.settings, config.models
    max_failed = settings.max_failed
    # A round with batches is played several times: ``max_failed`` counts over all of them.
    if batches is not None and max_failed is not None:
        max_failed = max(0, max_failed - batches.failed)
    all_models = config.all_models and round_.number == 0
    return RoundRequest(
        settings=RoundSettings(
            round=round_.number,
            models=[model.name for model in models],
            all_models=all_models,
            balance=settings.balance or "round_robin",
            steal=settings.assignment == "steal",
            max_attempts=settings.max_attempts,
            max_failed=max_failed,
            chunk_timeout_s=settings.chunk_timeout_s,
            drain_s=settings.drain_s,
            backoff_s=settings.backoff_s,
            max_worker_rss=settings.max_worker_rss,
            weights=[_speed(model.limits) for model in models],
            only=round_.only,
            profile=settings.collector is not None,
            open=round_.is_open,
        ),
        worker=WorkerConfig(
            job_id=job_id,
            round=round_.number,
            priority=settings.full_priority,
            all_models=all_models,
            map_blob=round_.mapping.blob,
            models_blob=config.models_blob,
            initializer_blob=config.initializer_blob,
            chunk_timeout_s=settings.chunk_timeout_s,
            backoff_s=settings.backoff_s,
            log_level=logging.getLogger().getEffectiveLevel(),
            answers=shared_answers(config),
            single_flight=settings.single_flight,
            result_blob=round_.mapping.result_blob,
            batch=None if batches is None else batches.mode,
            profile=settings.collector is not None,
            traceparent=config.watchers.traceparent,
        ),
        budget=_terms(config, since, (0.0, 0.0) if batches is None else batches.reserved),
        held=() if batches is None else batches.held,
        expected_calls=CALL_ROOM + 2 * round_.expected,
        functions=LocalFunctions(
            (settings.initializer, settings.initargs),
            round_.mapping.function,
            config.dispatcher.ends_run,
            round_.mapping.result_type,
        ),
    )


def shared_answers(config: RunConfig) -> list[str] | None:
    """The file of answers that jobs share, and this run's mark in it; None: it is not wanted."""
    path = answers_file(config.settings.answers, config.settings.state_dir)
    return None if path is None else [os.fspath(path), config.run]


def _speed(limit: RateLimit | None) -> float:
    """How fast a model may be called, for the balance by budget."""
    if limit is None:
        return 1
    return limit.tpm or limit.input_tpm or limit.rpm or (limit.rps or 0) * 60 or 1


def _terms(config: RunConfig, since: int, reserved: tuple[float, float]) -> BudgetTerms:
    settings = config.settings
    every = every_lane(config.models)
    return BudgetTerms(
        limits={model.name: model.limits for model in every if model.limits is not None},
        budget=settings.budget,
        prices={model.name: model.price for model in every},
        priority=cast(Priority, settings.full_priority),
        exact=tuple(model.name for model in every if model.base_url == OPENAI),
        shared_dir=os.fspath(state_folder(settings.state_dir) / "limits"),
        host=process_name(),
        places={model.name: model.base_url or "" for model in every},
        since=since,
        reserved=reserved,
    )
