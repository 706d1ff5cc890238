"""The table of refusals, case by case: by the classifier, and over real sockets."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from mrengine.errors import ContextOverflow, ModelError, RateLimited
from mrengine.providers.call import error_map
from tests.providers.conftest import KEY, Connect, ask
from tests.providers.http.test_client import listening, request
from tests.providers.refusals import REFUSALS, Refusal


def encoded(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def check(failed: ModelError, case: Refusal) -> None:
    assert (failed.reason, failed.scope, failed.transient, failed.status) == (*case[4:7], case.status), str(failed)
    if case.wait_s is not None:
        assert failed.retry_after_s == pytest.approx(case.wait_s, abs=0.5)
    assert isinstance(failed, ContextOverflow) == (case.reason == "overflow")
    assert isinstance(failed, RateLimited) == (case.reason in ("limit", "used_up"))


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case.vendor}-{case.status}-{case.reason}")
def test_each_refusal_is_understood(case: Refusal) -> None:
    """Whom it hits, whether it passes, and when."""
    check(error_map.from_status(case.status, case.headers, encoded(case.body), model="m", texts=["p"]), case)


def test_every_refusal_is_understood_over_a_socket(connected: Connect) -> None:
    """The same, as a server sends it."""

    def serve(sock: socket.socket, number: int) -> None:
        for case in cases:
            request(sock)
            body = encoded(case.body)
            head = "".join(f"{name}: {value}\r\n" for name, value in case.headers.items())
            sock.sendall(f"HTTP/1.1 {case.status} No\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    cases = list(REFUSALS)
    with listening(serve) as url:
        provider = connected("http:openai", base_url=url)
        for case in cases:
            with pytest.raises(ModelError) as failed:
                provider.complete(ask("Summarise: nobody said a word."))
            check(failed.value, case)
            assert KEY not in str(failed.value)


def test_there_are_enough_cases() -> None:
    """Of as many vendors as people use."""
    assert len(REFUSALS) >= 150
    assert len({case.vendor for case in REFUSALS}) >= 25
