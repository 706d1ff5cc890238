"""What the host asks for travels whole."""

from __future__ import annotations

import dataclasses

from mrengine import Budget, RateLimit
from mrengine.engine.protocol import LocalFunctions, RoundSettings, WorkerConfig
from mrengine.job.budget_config import BudgetTerms
from mrengine.job.driver import OpenRequest, RoundRequest
from mrengine.records import Price


def test_an_open_request_arrives_as_it_was_sent() -> None:
    """Every field, those with defaults too."""
    request = OpenRequest("/folder", "j", "power", True, 3, 2, kinds=["fake"], modules=["app"])
    assert OpenRequest.unpack(request.pack()) == request


def test_a_round_request_arrives_but_for_user_code() -> None:
    """Which crosses no process as it is: the worker's blobs hold it."""
    worker = WorkerConfig("j", 1, "P1_user", False, b"m", b"n", b"o", 60, 0, 30, batch={"since": 5})
    limits, prices = {"m": RateLimit(tpm=1000)}, {"m": Price(1.0, 2.0), "n": None}
    terms = BudgetTerms(limits, Budget(max_tokens=5), prices, "P1_user", ("m",), "/shared", "h", {"m": "place"}, 7)
    functions = LocalFunctions((None, ()), len, lambda error: False)  # type: ignore[arg-type]
    settings = RoundSettings(1, ["m"], only=[1, 2], weights=[1.0])
    request = RoundRequest(settings, worker, terms, 9, path=["/p"], functions=functions, held=(1, 1 << 63))
    found = RoundRequest.unpack(request.pack())
    assert found == dataclasses.replace(request, functions=None)
    assert found.held == (1, 1 << 63)
