"""Both vendors' batch APIs by our own clients, against a real server: create, look, cancel, list, both files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mrengine.errors import ModelError, ModelRefused, ModelUnavailable
from mrengine.providers.batches import anthropic
from mrengine.providers.batches.client import (
    UNDONE,
    BatchClient,
    BatchStatus,
    Limits,
    Upload,
    check_batches,
    connect_batches,
)
from mrengine.providers.connect import connect
from mrengine.providers.http.client import Response
from mrengine.providers.http.url_provider import RemoteProvider
from mrengine.providers.models.model import Model, resolve_models
from mrengine.records import ModelSpec, Request
from mrengine.testing import BatchRules, LLMServer

SHAPES = ["openai", "anthropic"]


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


def model_of(server: LLMServer, shape: str) -> Model:
    url = server.url if shape == "openai" else server.root
    return resolve_models(ModelSpec("any", provider=f"http:{shape}", base_url=url))[0]


@pytest.fixture(params=SHAPES)
def client(request: Any, shared: LLMServer, tmp_path: Path) -> Iterator[BatchClient]:
    shared.reset(batches=slow())
    found = connect_batches(model_of(shared, request.param), str(tmp_path))
    yield found
    found.close()


def slow(**rules: Any) -> BatchRules:
    """Only ``advance()`` moves the clock."""
    return BatchRules(**{"speed": 0, "work_s": 100, **rules})


def provider_of(client: BatchClient) -> RemoteProvider:
    found = connect(client.model)
    assert isinstance(found, RemoteProvider)
    return found


def create(client: BatchClient, *prompts: str, token: str = "t1") -> BatchStatus:
    provider = provider_of(client)
    upload = Upload(client, client.LIMITS, client._folder)
    for at, prompt in enumerate(prompts):
        assert upload.add(f"{at:032x}", provider.encoded(Request("any", prompt, system="be short", max_tokens=9)))
    try:
        file = upload.finish()
        return client.create(file, client.prepare(file, token=token, job="job-1"), token=token, job="job-1")
    finally:
        upload.close()


def test_a_batch_from_its_creation_to_its_answers(client: BatchClient, shared: LLMServer) -> None:
    """Every line, of output and errors alike, in whatever order; what a decoder makes of them."""
    shared.reset(answer="fine", batches=slow(statuses=lambda prompt: 400 if prompt == "bad" else None))
    batch = create(client, "one", "bad", "two")
    assert (batch.state, batch.total, batch.over) == ("working", 3, False)
    shared.advance(100)
    batch = client.look(batch.name)
    assert (batch.state, batch.total, batch.done, batch.failed) == ("ended", 3, 2, 1)
    answers = {answer.custom_id[-1]: answer for answer in client.answers(batch)}
    assert {name: answer.status for name, answer in answers.items()} == {"0": 200, "1": 400, "2": 200}
    provider, request = provider_of(client), Request("any", "one")
    completion = provider.decoded(request, 200, answers["0"].body)
    assert (completion.text, completion.usage.input_tokens, completion.finish_reason) == ("fine", 3, "stop")
    with pytest.raises(ModelRefused):
        provider.decoded(request, 400, answers["1"].body)
    client.tidy(batch)


def test_a_cancelled_batch_keeps_what_it_has_done(client: BatchClient, shared: LLMServer) -> None:
    """Cancelling twice is harmless, and so is cancelling what is over."""
    batch = create(client, *map(str, range(10)))
    shared.advance(50)
    client.cancel(batch.name)
    assert client.cancel(batch.name).over
    assert client.cancel(batch.name).over
    done = [answer for answer in client.answers(client.look(batch.name)) if answer.status != UNDONE]
    assert len(done) == 5


def test_an_orphan_is_found_by_listing(client: BatchClient, shared: LLMServer) -> None:
    """Over many pages, among other batches; by its token, or as the one that may be it."""
    shared.reset(batches=slow(page=2, create=["ok"] * 3 + ["lost"] + ["ok"] * 3))
    known = {create(client, "a", "b", token=f"earlier-{n}").name for n in range(3)}
    since = client.newest()
    assert since in known
    with pytest.raises(ModelUnavailable) as raised:
        create(client, "c", "d", token="mine")
    assert raised.value.sent
    known |= {create(client, "e", "f", "g", token=f"later-{n}").name for n in range(3)}
    found = client.candidates(token="mine", since=since, known=known, requests=2)
    assert [one.name for one in found] == [shared.batches()[3]["id"]]
    assert client.candidates(token="none", since=client.newest(), known=known, requests=2) == []


def test_what_surely_was_not_created_is_reported_apart(client: BatchClient, shared: LLMServer) -> None:
    """A status below 500 is an answer; OpenAI's upload alone creates nothing."""
    shared.reset(batches=slow(create=["429"], upload=["ok", "lost"]))
    with pytest.raises(ModelError) as raised:
        create(client, "a")
    assert raised.value.status == 429
    if client.model.shape == "openai":
        with pytest.raises(ModelUnavailable):
            create(client, "a")
        assert len(shared.batches()) == 0


def test_a_batch_is_closed_where_its_limits_are(client: BatchClient, tmp_path: Path) -> None:
    """The first request is always taken: whether it is too large its provider says."""
    size = len(client.OPENING + client.line("a", b"{}", first=True) + client.line("b", b"{}", first=False))
    size += len(client.CLOSING)
    for limits, fits in ((Limits(2, 10**6), 2), (Limits(10, size), 2), (Limits(10, size - 1), 1), (Limits(10, 1), 1)):
        upload = Upload(client, limits, str(tmp_path))
        taken = sum(upload.add(name, b"{}") for name in ("a", "b", "c"))
        assert (taken, upload.bytes + len(client.CLOSING)) == (fits, len(upload.finish().read() or _all(upload)))
        upload.close()


def _all(upload: Upload) -> bytes:
    upload.file.seek(0)
    return upload.file.read()


def test_a_key_goes_out_with_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does through an SDK; no error repeats it."""
    with LLMServer(api_key="sk-right-0123456789") as server:
        monkeypatch.setenv("RIGHT", "sk-right-0123456789")
        monkeypatch.setenv("WRONG", "sk-wrong-0123456789")
        for shape, url in (("openai", server.url), ("anthropic", server.root)):
            for variable in ("RIGHT", "WRONG"):
                spec = ModelSpec("any", provider=shape, base_url=url, api_key_env=variable)
                client = connect_batches(resolve_models(spec)[0], str(tmp_path))
                if variable == "RIGHT":
                    assert create(client, "a").total == 1
                else:
                    with pytest.raises(ModelRefused) as raised:
                        client.newest()
                    assert (raised.value.status, raised.value.scope) == (401, "model")
                    assert "sk-wrong" not in str(raised.value)
                client.close()


def test_an_endpoint_without_batches_says_so(shared: LLMServer) -> None:
    """And a job of models that have none is refused before anything is read."""
    from mrengine.errors import ConfigError

    with pytest.raises(ConfigError, match="batch="):
        check_batches(resolve_models("fake"))
    check_batches(resolve_models(["fake", f"{shared.url}#any"]))


COUNTED = b'{"id":"b","status":"x","processing_status":"x","request_counts":%b}'


@pytest.mark.parametrize("body", [COUNTED, b"[%b]", b"%b"])
@pytest.mark.parametrize("value", [b'{"total":Infinity,"succeeded":Infinity}', b"7", b'["a"]', b"null"])
def test_a_batch_of_another_shape_is_no_batch(client: BatchClient, body: bytes, value: bytes) -> None:
    """As one, or in a list: it is refused, or read with whole numbers. Nothing but a ModelError comes out."""
    for data in (body % value, b'{"data":[%b]}' % (body % value)):
        batches: list[BatchStatus] = []
        with suppress(ModelRefused):
            batches.append(client.read_batch(Response(200, {}, data)))
        with suppress(ModelRefused):
            batches += client.read_page(Response(200, {}, data))[0]
        assert all(type(count) is int for batch in batches for count in (batch.total, batch.done, batch.failed))
        assert not batches or value == b"null"


@pytest.mark.parametrize("error", [7, "broken", ["a"], None, {"error": 7}])
def test_an_error_of_another_shape_is_still_a_refusal_of_its_request(error: Any) -> None:
    """The answers of all others are still read."""
    line = {"custom_id": "c", "result": {"type": "errored", "error": error}}
    assert anthropic._answer(line)[:2] == ("c", 500)


def test_lines_are_json_whatever_the_prompt(client: BatchClient, shared: LLMServer) -> None:
    """Line breaks, quotes, lone surrogates."""
    shared.reset(batches=slow(work_s=0))
    batch = create(client, 'a\nb"c"\u2028\ud800 --mrengine-')
    shared.advance(1)
    [answer] = client.answers(client.look(batch.name))
    assert answer.status == 200
    assert json.loads(answer.body)
