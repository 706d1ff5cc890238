"""Successes without an answer, streams that nobody asked for, thoughts: over sockets, by every road."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from pydantic import BaseModel

from mrengine.errors import ModelError, ModelRefused, ModelUnavailable, TruncatedAnswer
from mrengine.providers.call.answers import answer
from mrengine.providers.http.apis import NotAnAnswer, api
from mrengine.providers.http.no_answer import TRIES, inner_error
from mrengine.providers.http.streams import events_in, is_stream
from mrengine.records import Usage
from mrengine.testing import LLMServer
from tests.providers.conftest import ROADS, Connect, ask, persist
from tests.providers.http.test_client import listening, request

HELLO = "a plain answer"
PASSING = ["no_choices", "choice_error", "error_text", "load", "thoughts_only", "wrong_shape", "non_json"]


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("fault", PASSING)
def test_no_answer_is_asked_again(server: LLMServer, connected: Connect, road: str, fault: str) -> None:
    """Whatever form it has: it may pass."""
    server.reset(answer=HELLO, script=[fault, fault])
    assert persist(connected(road)).text == HELLO
    assert server.stats().requests == 3


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("fault", PASSING)
def test_a_few_tries_are_enough(server: LLMServer, connected: Connect, road: str, fault: str) -> None:
    """Each may be billed. The error is transient all the same: the next run may try."""
    server.reset(faults={fault: 1.0})
    with pytest.raises(ModelUnavailable) as caught:
        persist(connected(road))
    assert server.stats().requests == TRIES == caught.value.attempts


@pytest.mark.parametrize("fault", ["no_choices", "choice_error", "thoughts_only"])
def test_what_it_cost_is_known(server: LLMServer, connected: Connect, fault: str) -> None:
    """The usage that the body tells."""
    server.reset(faults={fault: 1.0})
    with pytest.raises(ModelUnavailable) as caught:
        connected("http:openai").complete(ask("one two three"))
    stats = server.stats()
    assert caught.value.usage is not None
    assert (caught.value.usage.input_tokens, caught.value.usage.output_tokens) == (3, 3)
    assert (stats.input_tokens, stats.output_tokens) == (3, 3)


@pytest.mark.parametrize("road", ROADS)
def test_a_server_without_the_path_says_so_once(server: LLMServer, connected: Connect, road: str) -> None:
    """A base URL without /v1, answered with 200: final for the model, with the cure."""
    server.reset(faults={"no_path": 1.0})
    with pytest.raises(ModelRefused, match=r"check the base URL .*/v1") as caught:
        persist(connected(road))
    assert caught.value.scope == "model"
    assert server.stats().requests == 1


@pytest.mark.parametrize("fault", ["wrong_shape", "non_json", "error_text"])
def test_what_passes_for_an_answer_of_another_server_names_the_base_url(
    server: LLMServer, connected: Connect, fault: str
) -> None:
    """After a few tries: the likeliest cause."""
    server.reset(faults={fault: 1.0})
    with pytest.raises(ModelUnavailable, match="check the base URL"):
        persist(connected("http:openai"))


USED = {"prompt_tokens": 3, "completion_tokens": 1}
BUSY: list[tuple[Any, int, bool]] = [
    ({"error": {"code": 429, "message": "slow"}}, 429, True),
    ({"error": {"code": "502", "message": "Bad gateway"}, "choices": []}, 502, True),
    ({"error": {"code": 401, "message": "No auth"}}, 401, False),
    ({"choices": [{"error": {"code": 529, "message": "x"}, "finish_reason": "error"}]}, 529, True),
    ({"choices": [{"error": "overloaded", "message": {"content": ""}}]}, 502, True),
    ([{"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}], 503, True),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, 529, True),
    ({"object": "error", "message": "bad request", "code": 400}, 400, False),
]


@pytest.mark.parametrize(("data", "status", "transient"), BUSY)
def test_an_error_inside_a_success_is_that_error(data: Any, status: int, transient: bool) -> None:
    """With the status that it tells."""
    error = inner_error(data, {}, model="m", hidden=())
    assert isinstance(error, ModelError)
    assert (error.status, error.transient) == (status, transient)


@pytest.mark.parametrize(
    "data",
    [
        {"error": None, "choices": []},
        {"base_resp": {"status_code": 0}},
        {"error": {}},
        {"error": ""},
        {},
        [],
        "x",
        None,
    ],
)
def test_an_empty_error_is_none(data: Any) -> None:
    """Many servers send the field with nothing in it."""
    assert inner_error(data, {}, model="m", hidden=()) is None


def test_a_bad_sample_is_drawn_again(server: LLMServer, connected: Connect) -> None:
    """Groq's own check of the JSON failed: chance, and not billed."""
    server.reset(answer='{"a": 1}', script=["bad_sample", "bad_sample"])
    assert persist(connected("http:openai")).text == '{"a": 1}'
    assert server.stats().requests == 3


class Answer(BaseModel):
    text: str


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_stream_is_read_though_none_was_asked_for(
    server: LLMServer, connected: Connect, road: str, chunked: bool
) -> None:
    """The whole text, how it ended, and what it cost; and the request says that none is wanted."""
    server.reset(answer="one two three four", stream=True, chunked=chunked, thoughts="well well", record=1)
    completion = connected(road).complete(ask("a b c"))
    assert completion.text == "one two three four"
    assert completion.finish_reason == "stop"
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (3, 6)
    assert server.requests()[0]["body"]["stream"] is False


@pytest.mark.parametrize("road", ROADS)
def test_a_streamed_answer_of_a_schema_is_whole(server: LLMServer, connected: Connect, road: str) -> None:
    """Also where it is a tool's input, in pieces."""
    server.reset(answer='{"text": "x y"}', stream=True)
    asked = ask(schema=Answer.model_json_schema())
    assert answer(connected(road).complete, asked, response_model=Answer).parsed == Answer(text="x y")


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_stream_that_ends_early_is_no_answer(name: str) -> None:
    """A text without its end would pass for the whole."""
    assert api(name).joined([{"choices": [{"index": 0, "delta": {"content": "half"}}]}]) is None
    assert api(name).joined(["x"]) is None


@pytest.mark.parametrize(
    ("road", "event"),
    [
        ("http:openai", {"choices": 7}),
        ("http:openai", {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": {}}, {"message": 1}]}),
        ("http:anthropic", {"type": "content_block_delta", "index": {}, "delta": {}}),
        ("http:anthropic", {"type": "message_delta", "delta": {}, "usage": 7}),
    ],
)
def test_an_event_of_another_protocol_is_no_answer(connected: Connect, road: str, event: Any) -> None:
    """It may pass, like any body that cannot be read."""
    provider: Any = connected(road)
    with pytest.raises(ModelUnavailable) as caught:
        provider.decoded(ask(), 200, f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())
    assert caught.value.tries == TRIES


def test_an_error_in_a_stream_is_that_error() -> None:
    """OpenRouter says it in a chunk."""
    data = api("openai").joined([{"choices": [{"index": 0, "delta": {"content": "half"}}]}, {"error": {"code": 429}}])
    error = inner_error(data, {}, model="m", hidden=())
    assert error is not None
    assert error.status == 429
    lost = {"choices": [{"index": 0, "delta": {}, "error": {"code": 502}, "finish_reason": "error"}], "usage": USED}
    data = api("openai").joined([{"choices": [{"index": 0, "delta": {"content": "half"}}]}, lost])
    error = inner_error(data, {}, model="m", hidden=())
    assert error is not None
    assert (error.status, error.usage) == (502, Usage(3, 1))


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("where", ["field", "text"])
def test_thoughts_are_no_part_of_the_text(server: LLMServer, connected: Connect, road: str, where: str) -> None:
    """But of the usage; ``reasoning="keep"`` has them before the answer."""
    server.reset(answer="four", thoughts="two and two", thoughts_in=where)
    completion = connected(road).complete(ask())
    assert completion.text == "four"
    assert completion.usage.output_tokens == 4
    assert 0 < completion.usage.reasoning_tokens <= 4
    kept = connected(road, reasoning="keep").complete(ask())
    assert kept.text == "<think>\ntwo and two\n</think>\n\nfour"


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("where", ["field", "text"])
@pytest.mark.parametrize("on_truncation", ["error", "allow", "continue"])
def test_reasoning_that_took_all_of_max_tokens_is_reported(
    server: LLMServer, connected: Connect, road: str, where: str, on_truncation: str
) -> None:
    """And how much, whatever is done about cut answers: there is nothing to take or to continue."""
    server.reset(answer="four", thoughts="w " * 50, thoughts_in=where)
    with pytest.raises(TruncatedAnswer, match=r"reasoning took (20 tokens|all) of max_tokens=20") as caught:
        answer(connected(road).complete, ask(max_tokens=20), on_truncation=on_truncation)
    assert caught.value.usage is not None
    assert caught.value.usage.output_tokens == 20
    assert server.stats().requests == 1


TEXTS = {
    "<think>a</think>b": "b",
    "\n<thinking>\na\n</thinking>\n\nb": "b",
    "<think>a</think><think>c</think> b": "b",
    "[THINK]a[/THINK]b": "b",
    "so a\n</think>\n\nb": "b",
    "The tag </think> ends a thought.": "The tag </think> ends a thought.",
    "b <think>is a tag</think>": "b <think>is a tag</think>",
    "<thinker>b": "<thinker>b",
}


@pytest.mark.parametrize(("text", "left"), TEXTS.items())
def test_only_what_stands_before_the_answer_is_a_thought(text: str, left: str) -> None:
    """A text about tags is left alone."""
    data = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    assert api("openai").answer(data, model="m").text == left


def test_usage_that_is_reported_with_a_stream_counts_the_cache(server: LLMServer, connected: Connect) -> None:
    """Anthropic tells the input at the beginning and the output at the end."""
    server.reset(
        stream=True,
        answer="a b",
        usage=lambda i, o: {"input_tokens": i, "output_tokens": o, "cache_read_input_tokens": 7},
    )
    assert connected("http:anthropic").complete(ask("x y")).usage == Usage(9, 2, 7)


INTERRUPTED = ["insufficient_system_resource", "network_error", "error", "unload", "MALFORMED_RESPONSE"]


@pytest.mark.parametrize("finish", INTERRUPTED)
def test_half_an_answer_is_none(finish: str) -> None:
    """The vendor's word says that it was interrupted; it is paid for."""
    data = {"choices": [{"message": {"content": "half"}, "finish_reason": finish}], "usage": USED}
    with pytest.raises(NotAnAnswer) as caught:
        api("openai").answer(data, model="m")
    assert caught.value.usage == Usage(3, 1)


@pytest.mark.parametrize("message", [{"content": None}, {"content": None, "role": "assistant"}, {}])
def test_no_content_is_no_answer(message: Any) -> None:
    """An empty text is one: a model may have nothing to say."""
    with pytest.raises(NotAnAnswer):
        api("openai").answer({"choices": [{"message": message, "finish_reason": "stop"}]}, model="m")
    said = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}
    assert api("openai").answer(said, model="m").text == ""


def test_a_stream_of_lines_is_read() -> None:
    """JSON lines, without the form of events; and a whole answer is no stream, however it is laid out."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("a ", "b")]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USED}
    body = "\n".join(map(json.dumps, [*chunks, end])).encode()
    assert is_stream(body)
    completion = api("openai").answer(api("openai").joined(events_in(body)), model="m")
    assert (completion.text, completion.usage) == ("a b", Usage(3, 1))
    assert not is_stream(json.dumps({"choices": [{"message": {"content": "}\n{"}}]}, indent=1).encode())


class OnlyStreams:
    """A server that refuses whatever is no stream."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, sock: socket.socket, number: int) -> None:
        while True:
            sent = json.loads(request(sock).partition(b"\r\n\r\n")[2])
            self.bodies.append(sent)
            chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
            body, status = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode(), b"200 OK"
            if not sent["stream"]:
                error = {"error": {"message": "This model only supports streaming: set stream=true"}}
                body, status = json.dumps(error).encode(), b"400 No"
            sock.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


@pytest.mark.parametrize("road", ["openai", "http:openai"])
def test_a_server_that_only_streams_is_asked_to(connected: Connect, road: str) -> None:
    """Its refusal says so; from then on a stream is asked for, with its usage."""
    server = OnlyStreams()
    with listening(server) as url:
        provider = connected(road, base_url=url)
        assert [provider.complete(ask()).text for _ in range(2)] == ["hi", "hi"]
        provider.close()
    assert [body["stream"] for body in server.bodies] == [False, True, True]
    assert server.bodies[1]["stream_options"] == {"include_usage": True}
