"""What a driver is asked for is plain data, all but functions; terms that cannot work are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrengine import Budget, ModelSpec, RateLimit
from mrengine.errors import ConfigError
from mrengine.events import Dispatcher
from mrengine.host.requests import RoundSpec, RunConfig, check_terms, open_request, round_request
from mrengine.job.driver import OpenRequest, RoundRequest
from mrengine.mapfn.describe import MapFunction
from mrengine.progress import Silent
from mrengine.providers.models.model import resolve_models
from mrengine.settings import Settings


def function(_chunk: Any, _context: Any) -> int:
    return 1


MAPPING = MapFunction("1", "function", "", None, b"packed", function)


def config(*, all_models: bool = False, **given: Any) -> RunConfig:
    def no_driver() -> Any:
        raise AssertionError

    settings, models = Settings.of(given), resolve_models(["fake", ModelSpec("b", provider="fake")])  # type: ignore[arg-type]
    return RunConfig(
        settings, models, all_models, "always", Dispatcher(), Silent(), None, b"m", b"i", no_driver, no_driver
    )


def test_requests_travel_as_plain_data(tmp_path: Path) -> None:
    """All of them, and nothing else: no function, model or key is in them but as bytes, which workers alone open."""
    parts = config(budget=Budget(max_tokens=10))
    opening = open_request(parts, "j", tmp_path, MAPPING)
    assert OpenRequest.unpack(opening.pack()) == opening
    request = round_request(parts, "j", RoundSpec(0, 7, MAPPING), since=99)
    assert request.functions is not None
    assert request.functions.map_fn is function
    assert RoundRequest.unpack(request.pack()) == replace(request, functions=None)
    assert request.worker.map_blob == b"packed"
    assert request.settings.models == ["fake", "b"]
    assert (request.budget.since, request.budget.budget) == (99, Budget(max_tokens=10))


def test_only_the_map_round_runs_on_all_models() -> None:
    parts = config(all_models=True)
    requests = [round_request(parts, "j", RoundSpec(n, 1, MAPPING), since=0) for n in (0, 1)]
    assert [request.settings.all_models for request in requests] == [True, False]
    assert [request.worker.all_models for request in requests] == [True, False]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"limits": {"gtp-4": RateLimit(rpm=1)}}, "'gtp-4', which is no model of this job"),
        ({"budget": Budget(max_cost_usd=1.0)}, "price"),
    ],
)
def test_terms_that_cannot_work_are_refused(given: dict[str, Any], told: str) -> None:
    """Before anything is read or started."""
    parts = config(**given)
    with pytest.raises(ConfigError, match=told):
        check_terms(parts.settings, resolve_models(["fake", ModelSpec("unknown", base_url="http://127.0.0.1:9/v1")]))
