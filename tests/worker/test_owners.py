"""Who may share an answer: an endpoint with its keys and headers, and nobody who has others."""

from __future__ import annotations

import pytest

from mrengine import ModelSpec
from mrengine.providers.models.model import resolve_models
from mrengine.worker.owners import owner_of


def owner(env: dict[str, str] | None = None, **spec: object) -> bytes:
    facts = {"provider": "http", "base_url": "https://llm.example/v1", "api_key_env": "LLM_KEY", **spec}
    return owner_of(resolve_models(ModelSpec("m", **facts)), env or {"LLM_KEY": "one"})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_KEY", "one")


def test_the_same_endpoint_and_key_are_one_owner_and_the_digest_shows_neither() -> None:
    """Also in another process."""
    assert owner() == owner()
    assert len(owner()) == 16
    assert b"one" not in owner()


def test_another_key_address_or_header_is_another_owner() -> None:
    """An answer must not pass from one account to another."""
    others = [
        owner({"LLM_KEY": "two"}),
        owner(base_url="https://other.example/v1"),
        owner(headers={"X-Team": "a"}),
        owner(headers={"X-Team": "b"}),
    ]
    assert len({owner(), *others}) == 5


def test_headers_that_cannot_be_made_belong_to_nobody() -> None:
    """Nothing is shared with a call whose credentials are unknown."""

    def broken() -> dict[str, str]:
        raise RuntimeError("no token")

    assert owner(headers=broken) != owner(headers=broken)
