"""What is learned of an endpoint from what it refuses: by the words of real ones, and over real sockets."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from mrengine.errors import ModelRefused
from mrengine.providers.http.quirks import Quirks, learned
from mrengine.records import Request
from tests.providers.conftest import Connect, ask
from tests.providers.http.test_client import listening, request

SCHEMA = {"type": "object", "properties": {"dose": {"type": "integer"}}}
TEMPERATURE, TOKENS, WORDS = Quirks(temperature=False), Quirks(completion_tokens=True), Quirks(native_schema=False)
SYSTEM = Quirks(system=False)

FIELD: list[tuple[str, Any, Quirks | None]] = [
    ("OpenAI", {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                           "'max_completion_tokens' instead.", "param": "max_tokens"}, TOKENS),
    ("OpenAI", {"message": "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default "
                           "(1) value is supported.", "param": "temperature"}, TEMPERATURE),
    ("Anthropic", {"type": "invalid_request_error", "message": "`temperature` is deprecated for this model."},
     TEMPERATURE),
    ("Anthropic", {"type": "invalid_request_error", "message": "temperature: range: 0..1"}, None),
    ("Anthropic", {"message": "Thinking may not be enabled when tool_choice forces tool use."}, WORDS),
    ("DeepSeek", {"message": "This response_format type is unavailable now", "param": None}, WORDS),
    ("OpenAI", {"message": "Invalid schema for response_format 'answer'", "param": "response_format"}, WORDS),
    ("vLLM", {"message": "The provided JSON schema contains features not supported by xgrammar."}, WORDS),
    ("OpenAI", {"message": "max_tokens is too large: 99999. This model takes at most 4096 completion tokens"}, None),
    ("anybody", {"message": "messages: field required"}, None),
    ("Moonshot", {"message": "invalid temperature: only 1 is allowed for this model"}, TEMPERATURE),
    ("Anthropic", {"message": "`temperature` may only be set to 1 when thinking is enabled."}, TEMPERATURE),
    ("anybody", {"message": "temperature must be set to 1 for this model"}, TEMPERATURE),
    ("anybody", {"message": "temperature must be between 0 and 1"}, None),
    ("vLLM", {"message": "System role not supported"}, SYSTEM),
    ("Gemini", {"message": "Developer instruction is not enabled for models/x"}, SYSTEM),
    ("Mistral", {"message": "Only user and assistant roles are supported!"}, SYSTEM),
    ("Mistral", {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}, SYSTEM),
    ("a server", {"message": "Unexpected role 'system'"}, SYSTEM),
    ("a server", {"message": "This model does not support system messages"}, SYSTEM),
    ("a server", {"message": "The system is busy"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("who", "error", "quirks"), FIELD)
def test_refusals_of_the_field_are_understood(who: str, error: Any, quirks: Quirks | None) -> None:
    """The parameter that is named is left out, or said otherwise; all else stays the refusal that it is."""
    asked = Request("m", "p", system="Be brief.", temperature=0.2, schema=SCHEMA)
    body = json.dumps({"error": error}).encode()
    assert learned(Quirks(), asked, b'{"max_tokens":5}', 400, body) == quirks
    of_schema = quirks == WORDS and b"tool_choice" not in body
    assert learned(Quirks(), asked, b"{}", 500, body) == (quirks if of_schema or quirks == SYSTEM else None)
    assert learned(Quirks(), asked, b"{}", 503, body) is None


def test_what_was_not_sent_is_not_left_out() -> None:
    """A refusal that names a temperature which nobody gave is about something else."""
    body = json.dumps({"error": {"message": "temperature and tools are not supported"}}).encode()
    assert learned(Quirks(), Request("m", "p"), b"{}", 400, body) is None


def test_every_step_is_taken_once() -> None:
    """An endpoint that refuses whatever we try is asked a bounded number of times."""
    body = json.dumps({"error": {"message": "temperature, max_tokens, response_format: not supported"}}).encode()
    asked, quirks, steps = Request("m", "p", temperature=0.2, schema=SCHEMA), Quirks(), 0
    while (other := learned(quirks, asked, b"{}", 400, body)) is not None:
        quirks, steps = other, steps + 1
    assert steps == 3


class Picky:
    """A server that takes no temperature, and another name for max_tokens."""

    def __init__(self, *, appeasable: bool = True) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.appeasable = appeasable

    def __call__(self, sock: socket.socket, number: int) -> None:
        while True:
            sent = json.loads(request(sock).partition(b"\r\n\r\n")[2])
            self.bodies.append(sent)
            refused = {"temperature", "max_tokens"} & sent.keys() or not self.appeasable
            said: Any = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
            if refused:
                said = {"error": {"message": f"{sorted(sent)} are not supported"}}
            body = json.dumps(said).encode()
            status = b"400 No" if refused else b"200 OK"
            sock.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


@pytest.mark.parametrize("road", ["openai", "http:openai"])
def test_a_refused_parameter_costs_one_more_request_once(road: str, connected: Connect) -> None:
    """What was learned holds for all later calls of the worker."""
    picky = Picky()
    with listening(picky) as url:
        provider = connected(road, base_url=url)
        for _ in range(3):
            assert provider.complete(ask(temperature=0.2, max_tokens=7)).text == "hi"
        provider.close()
    assert len(picky.bodies) == 2 + 3
    assert [body.get("max_completion_tokens") for body in picky.bodies[2:]] == [7, 7, 7]


def test_what_did_not_help_is_not_kept(connected: Connect) -> None:
    """The next call is made as the first was: the refusal may have been about this prompt only."""
    picky = Picky(appeasable=False)
    with listening(picky) as url:
        provider = connected("http:openai", base_url=url)
        for _ in range(2):
            with pytest.raises(ModelRefused):
                provider.complete(ask(temperature=0.2))
        provider.close()
    half = len(picky.bodies) // 2
    assert picky.bodies[:half] == picky.bodies[half:]
    assert "temperature" in picky.bodies[0]


@pytest.mark.parametrize("status", [b"400 No", b"500 TemplateError"])
def test_a_model_without_a_system_role_is_reported_in_the_prompt(status: bytes, connected: Connect) -> None:
    """Its instructions open the prompt, and from the second call on nothing is asked in vain."""
    bodies: list[dict[str, Any]] = []

    def serve(sock: socket.socket, number: int) -> None:
        while True:
            bodies.append(json.loads(request(sock).partition(b"\r\n\r\n")[2]))
            roles = [message["role"] for message in bodies[-1]["messages"]]
            said: Any = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
            if "system" in roles:
                said = {"object": "error", "message": "System role not supported", "code": 400}
            body = json.dumps(said).encode()
            line = status if "system" in roles else b"200 OK"
            sock.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (line, len(body), body))

    with listening(serve) as url:
        provider = connected("http:openai", base_url=url)
        for _ in range(2):
            assert provider.complete(ask("Tell me.", system="Be brief.")).text == "hi"
        provider.close()
    assert len(bodies) == 3
    assert bodies[-1]["messages"] == [{"role": "user", "content": "Be brief.\n\nTell me."}]
