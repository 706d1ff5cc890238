"""A worker's models, and what a task has asked of them."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import Any

import cloudpickle
import pytest

from mrengine.engine.protocol import WorkerConfig
from mrengine.errors import Stopped
from mrengine.providers.models.model import resolve_models
from mrengine.records import Completion, Usage
from mrengine.worker.model_clients import ModelClients
from mrengine.worker.task_calls import TaskCalls


def model_set(stopping: threading.Event, emit: Any) -> ModelClients:
    fake = resolve_models("fake")[0]
    models = (fake, replace(fake, name="embedded", kind="local", index=1))
    nothing: dict[str, Any] = dict.fromkeys(WorkerConfig.__dataclass_fields__)
    setup = WorkerConfig(**{**nothing, "models_blob": cloudpickle.dumps(models)})
    return ModelClients(setup, 0, 1, emit, stopping, None)


def test_a_model_that_comes_up_slowly_holds_up_no_other() -> None:
    """While one thread waits for the embedded model, others use theirs, and all can be closed."""
    stopping, asked = threading.Event(), threading.Event()
    models = model_set(stopping, lambda *message: asked.set())
    fake, embedded = models._models

    def wait() -> None:
        with pytest.raises(Stopped):
            models.provider(embedded)

    def use() -> None:
        models.provider(fake)
        models.close()

    waiter, user = threading.Thread(target=wait), threading.Thread(target=use)
    waiter.start()
    assert asked.wait(30)
    user.start()
    user.join(30)
    assert not user.is_alive()
    assert waiter.is_alive()
    stopping.set()
    waiter.join()


def test_calls_of_many_threads_are_all_counted() -> None:
    """A map function may call from threads of its own."""
    calls, answer = TaskCalls(), Completion(text="", usage=Usage(1, 1), model="m", finish_reason="stop", latency_ms=0.0)

    def count() -> None:
        for _ in range(3000):
            calls.add(answer, 1.0)
            calls.own(Usage(1, 1), 1.0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert (calls.made, calls.usage, calls.cost_usd) == (24_000, Usage(24_000, 24_000), 24_000.0)
