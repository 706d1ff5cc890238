# ruff: noqa: E501  (what vendors say is told in one piece)
"""Public reports of other tools, rebuilt: what a vendor sent, and what a job must make of it.

A report is told of one document; a second one is answered as it should be. ``says`` are the replies to the first, in
turn: before an answer each comes once, before a failure the last one comes again. The words are the vendors' as far as
they matter; accounts, numbers and texts are invented. ``tracker`` says where such a thing was reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from tests.providers.vendor import Reply, error

__all__ = ["REPORTS", "Report"]

BILL = (10, 2)  # of every sound answer


@dataclass(frozen=True)
class Report:
    """``ends``: "answer", "chunk" or "job". ``told``: of an error, words of its message; of an answer, itself.
    ``asked``: requests of the whole job. ``bill``: (input, output) tokens of the first document's replies; None: our
    own count, marked as one. ``call``: of complete(). ``sent``: words of the last request.
    """

    kind: int
    tracker: str
    says: list[Reply]
    ends: str
    told: Any = "done"
    asked: int = 0
    bill: tuple[int, int] | None = (0, 0)
    call: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    sent: str = ""
    path: str = "/v1"
    shape: str = "openai"

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.tracker}"


def answer(content: Any = "done", finish: Any = "stop", usage: Any = BILL, **more: Any) -> Reply:
    """An answer in OpenAI's shape. ``usage``: as it is told, or (input, output)."""
    if isinstance(usage, tuple):
        usage = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    message = {"role": "assistant", "content": content} | more.pop("message", {})
    return 200, {}, {"choices": [{"index": 0, "message": message, "finish_reason": finish} | more], "usage": usage}


def message(text: str = "done", **usage: int) -> Reply:
    """An answer in Anthropic's shape."""
    usage = usage or {"input_tokens": 10, "output_tokens": 2}
    return (
        200,
        {},
        {"type": "message", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage},
    )


def anthropic(status: int, kind: str, words: str, **headers: str) -> Reply:
    """A refusal in Anthropic's shape."""
    return (
        status,
        {name.replace("_", "-"): v for name, v in headers.items()},
        {"type": "error", "error": {"type": kind, "message": words}},
    )


def google(status: int, words: str, name: str, *details: Any) -> Reply:
    """A refusal in Google's shape."""
    return status, {}, [{"error": {"code": status, "message": words, "status": name, "details": list(details)}}]


def detail(status: int, words: Any) -> Reply:
    """FastAPI's shape, in which gateways say what their own client has raised."""
    return status, {}, {"detail": words}


def stream(*events: Any, head: str = "") -> Reply:
    """A stream that nobody asked for."""
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return 200, {"content-type": "text/event-stream"}, head + "".join(lines) + "data: [DONE]\n\n"


def delta(content: str, finish: Any = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}], **more}


class Colour(Enum):
    RED = "red"


class Visit(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    colour: Colour
    span: tuple[int, int]


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


class Note(BaseModel):
    what: str


N = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
AS_N: dict[str, Any] = {"response_model": N}
SYSTEM: dict[str, Any] = {"system": "Be brief."}
COLD: dict[str, Any] = {"temperature": 0.2}
GROQ_DAY = "Rate limit reached for model `m` in organization `org_1` service tier `on_demand` on tokens per day (TPD): Limit 100000, Used 92808, Requested 9550. Please try again in 33m57.312s. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing"
QUOTA = "You exceeded your current quota, please check your plan and billing details."

WORDS_OR_FIELDS = [
    Report(
        1,
        "litellm: a delay whose digits hold 403",
        [google(429, f"{QUOTA} Please retry in 0.0403470473s.", "RESOURCE_EXHAUSTED")],
        "answer",
        asked=3,
    ),
    Report(
        1,
        "gemini-cli: a quota of many hours",
        [
            google(
                429,
                "You have exhausted your capacity on this model. Your quota will reset after 12h34m16s.",
                "RESOURCE_EXHAUSTED",
            )
        ],
        "job",
        r"until 20\d\d-.* UTC",
        1,
    ),
    Report(
        1,
        "vertex: a limit of a minute without any time",
        [
            google(
                429,
                "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project_per_base_model with base model: m. Please submit a quota increase request. https://cloud.google.com/billing",
                "RESOURCE_EXHAUSTED",
            )
        ],
        "answer",
        asked=3,
    ),
    Report(
        1,
        "homemind: groq's day",
        [error(429, GROQ_DAY, type="tokens", code="rate_limit_exceeded")],
        "job",
        "until .* UTC",
        1,
    ),
    Report(
        1,
        "open-notebook: what a gateway's client raised",
        [
            detail(
                500,
                f"Error executing transformation: Error code: 429 - {{'error': {{'message': '{QUOTA}', 'type': 'insufficient_quota', 'param': None, 'code': 'insufficient_quota'}}}}",
            )
        ],
        "job",
        "billing",
        1,
    ),
    Report(
        1,
        "the same of a limit that passes",
        [
            detail(
                500,
                "Error code: 429 - {'error': {'message': 'Rate limit reached for requests. Visit https://x.com/account/billing to add a payment method', 'type': 'requests', 'code': 'rate_limit_exceeded'}}",
            )
        ],
        "answer",
        asked=3,
    ),
    Report(
        1,
        "open-webui: openrouter's upstream",
        [
            error(
                429,
                "Provider returned error",
                code=429,
                metadata={
                    "raw": "m is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits: https://openrouter.ai/settings/integrations",
                    "provider_name": "P",
                    "headers": {"Retry-After": "0.05"},
                },
            )
        ],
        "answer",
        asked=3,
    ),
    Report(
        1,
        "together: a limit of one model, and a sales team",
        [
            error(
                429,
                "You have reached the rate limit specific to this model. The maximum rate limit for this model is 9.0 queries per minute. For inquiries about increasing it, please contact our sales team (https://www.together.ai/forms/contact-sales)",
                {"retry-after": "0.05"},
                type="model_rate_limit",
            )
        ],
        "answer",
        asked=3,
    ),
    Report(
        1,
        "fireworks: a limit called an invalid request",
        [
            error(
                429,
                "rate limit exceeded, please try again later",
                {"retry-after": "0.05"},
                type="invalid_request_error",
                object="error",
            )
        ],
        "answer",
        asked=3,
    ),
    Report(
        1,
        "anthropic: a limit of the account",
        [
            anthropic(
                429,
                "rate_limit_error",
                "This request would exceed your account's rate limit. Please try again later.",
                retry_after="0.05",
                anthropic_ratelimit_unified_status="rejected",
            )
        ],
        "answer",
        asked=3,
        shape="anthropic",
    ),
    Report(
        1,
        "claude-code: a long context that is not in the plan",
        [anthropic(429, "rate_limit_error", "Extra usage is required for long context requests.")],
        "chunk",
        "too large|long context",
        2,
        shape="anthropic",
    ),
    Report(
        1,
        "cohere: a trial key's month",
        [
            (
                429,
                {},
                {
                    "message": "You are using a Trial key, which is limited to 1000 API calls / month. Upgrade to a Production key at 'https://dashboard.cohere.com/api-keys'."
                },
            )
        ],
        "job",
        "used up",
        1,
    ),
]

WHOM_IT_HITS = [
    Report(
        2,
        "cohere: 498 is an unsafe text",
        [(498, {}, {"message": "The request is blocked due to potential violations of the Usage Guidelines."})],
        "chunk",
        "content filter",
        2,
    ),
    Report(
        2,
        "continue: ollama has no memory for it",
        [(500, {}, {"error": "model requires more system memory (5.3 GiB) than is available (3.3 GiB)"})],
        "job",
        "memory",
        1,
    ),
    Report(
        2,
        "fireworks: a deployment that wakes up",
        [
            error(
                503,
                "Deployment is currently scaled to zero and is scaling up. Please retry your request in a few minutes.",
                code="DEPLOYMENT_SCALING_UP",
            )
        ],
        "answer",
        asked=3,
    ),
    Report(
        2,
        "fireworks: a model that is not deployed",
        [error(404, "Model not found, inaccessible, and/or not deployed", code="NOT_FOUND")],
        "job",
        "check the model's name",
        1,
    ),
    Report(
        2,
        "bedrock-access-gateway: an inference profile is needed",
        [
            detail(
                500,
                "An error occurred (ValidationException) when calling the Converse operation: Invocation of model ID x.y-v1:0 with on-demand throughput isn\u2019t supported. Retry your request with the ID or ARN of an inference profile that contains this model.",
            )
        ],
        "job",
        "inference profile",
        1,
    ),
    Report(
        2,
        "claude-code: bedrock's connections",
        [detail(503, "Too many connections, please wait before trying again.")],
        "answer",
        asked=3,
    ),
    Report(2, "mistral: no key", [(401, {}, {"message": "Unauthorized", "request_id": "8f0c"})], "job", "API key", 1),
    Report(
        2,
        "openai: a project without the model",
        [
            error(
                403,
                "Project `proj_1` does not have access to model `m`",
                type="invalid_request_error",
                code="model_not_found",
            )
        ],
        "job",
        "model",
        1,
    ),
    Report(
        2,
        "perplexity: a model of another day",
        [
            error(
                400,
                "Invalid model 'm'. Permitted models can be found in the documentation at https://docs.perplexity.ai",
                type="invalid_model",
                code=400,
            )
        ],
        "job",
        "check the model's name",
        1,
    ),
    Report(
        2,
        "deepseek: a body it cannot read",
        [
            (
                422,
                {},
                "Failed to deserialize the JSON body into the target type: messages[1].role: unknown variant `critic`, expected one of `system`, `user`",
            )
        ],
        "chunk",
        "unknown variant",
        2,
    ),
    Report(2, "a law of the land", [(451, {}, "Unavailable For Legal Reasons")], "chunk", "content filter", 2),
]

NO_ANSWER = [
    Report(
        3,
        "bifrost: an error with half of an answer",
        [answer("half of", "error", {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0})],
        "answer",
        asked=3,
    ),
    Report(3, "vllm: gpt-oss says nothing", [answer(None, "stop", (10, 50))], "answer", asked=3, bill=(10, 50)),
    Report(3, "deepseek: empty lines and no more", [(200, {}, "\n\n\n\n")], "answer", asked=3),
    Report(
        3,
        "openrouter: an error within the choice",
        [answer("", None, (10, 5), error={"code": 502, "message": "Upstream idle timeout exceeded"})],
        "answer",
        asked=3,
        bill=(10, 5),
    ),
    Report(
        3,
        "lm studio: a path without /v1",
        [(200, {}, {"error": "Unexpected endpoint or method. (POST /chat/completions)"})],
        "job",
        "base URL",
        1,
        path="",
    ),
    Report(3, "ollama: loaded, and no more", [answer("", "load", (0, 0))], "answer", asked=3),
    Report(
        3,
        "a gateway: limits with status 200",
        [(200, {}, {"error": {"code": 429, "message": "Too many requests", "retry_after": 0.05}})],
        "answer",
        asked=3,
    ),
    Report(
        3,
        "a wall that asks for a login",
        [(200, {"content-type": "text/html"}, "<!doctype html><title>Sign in</title>")],
        "chunk",
        "base URL",
        5,
    ),
    Report(
        3,
        "langchain: gemini forbids, and names it in the reason",
        [
            (
                200,
                {},
                {
                    "choices": [
                        {
                            "finish_reason": "content_filter: PROHIBITED_CONTENT",
                            "index": 0,
                            "message": {"role": "assistant"},
                        }
                    ],
                    "usage": {"prompt_tokens": 10, "total_tokens": 10},
                },
            )
        ],
        "chunk",
        "declined",
        2,
        bill=(10, 0),
    ),
    Report(
        3,
        "workers ai: an envelope of its own",
        [
            (
                200,
                {},
                {
                    "result": None,
                    "success": False,
                    "errors": [{"code": 7009, "message": "Upstream service unavailable"}],
                },
            )
        ],
        "answer",
        asked=3,
    ),
    Report(
        3,
        "azure: a stream that begins with a filter's word",
        [
            stream(
                {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
                delta("do"),
                delta("ne", "stop"),
                {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 2}},
            )
        ],
        "answer",
        asked=2,
        bill=(10, 2),
    ),
    Report(
        3,
        "litellm: a stream that ends with an error",
        [stream(delta("half of"), {"error": {"code": 503, "message": "Overloaded"}})],
        "answer",
        asked=3,
    ),
    Report(
        3,
        "magistral: thoughts as parts",
        [
            answer(
                [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "done"}]
            )
        ],
        "answer",
        asked=2,
        bill=BILL,
    ),
]

USAGE = [
    Report(4, "langchain: usage is null", [answer(usage=None)], "answer", asked=2, bill=None),
    Report(4, "lm studio: usage of nothing", [answer(usage=(0, 0))], "answer", asked=2, bill=None),
    Report(
        4,
        "a proxy: usage of -1",
        [answer(usage={"prompt_tokens": -1, "completion_tokens": -1, "total_tokens": -1})],
        "answer",
        asked=2,
        bill=None,
    ),
    Report(4, "a stream without usage", [stream(delta("done", "stop"))], "answer", asked=2, bill=None),
    Report(
        5,
        "sub2api: grok counts thoughts beside",
        [
            answer(
                usage={
                    "prompt_tokens": 10120,
                    "completion_tokens": 1499,
                    "total_tokens": 14428,
                    "prompt_tokens_details": {"cached_tokens": 128},
                    "completion_tokens_details": {"reasoning_tokens": 2809},
                }
            )
        ],
        "answer",
        asked=2,
        bill=(10120, 4308),
    ),
    Report(
        5,
        "promptfoo: and sometimes inside",
        [
            answer(
                usage={
                    "prompt_tokens": 500,
                    "completion_tokens": 500,
                    "total_tokens": 1000,
                    "completion_tokens_details": {"reasoning_tokens": 200},
                }
            )
        ],
        "answer",
        asked=2,
        bill=(500, 500),
    ),
    Report(
        5,
        "gemini: thoughts in the total alone",
        [answer(usage={"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 605})],
        "answer",
        asked=2,
        bill=(100, 505),
    ),
    Report(
        5,
        "bedrock: converse's own names",
        [answer(usage={"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 100, "totalTokens": 115})],
        "answer",
        asked=2,
        bill=(110, 5),
    ),
    Report(
        5,
        "openllmetry: cohere bills units",
        [
            answer(
                usage={
                    "billed_units": {"input_tokens": 5, "output_tokens": 7},
                    "tokens": {"input_tokens": 70, "output_tokens": 7},
                }
            )
        ],
        "answer",
        asked=2,
        bill=(5, 7),
    ),
    Report(
        5,
        "moonshot: a cache at the top",
        [answer(usage={"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95, "cached_tokens": 64})],
        "answer",
        asked=2,
        bill=(90, 5),
    ),
    Report(
        5,
        "numbers with a point",
        [answer(usage={"prompt_tokens": 90.0, "completion_tokens": 5.0, "total_tokens": 95.0})],
        "answer",
        asked=2,
        bill=(90, 5),
    ),
    Report(
        5,
        "anthropic: two caches",
        [message(input_tokens=4, output_tokens=6, cache_creation_input_tokens=50, cache_read_input_tokens=40)],
        "answer",
        asked=2,
        bill=(94, 6),
        shape="anthropic",
    ),
]

STRUCTURED = [
    Report(
        6,
        "hindsight: fences within the JSON",
        [answer('```json\n{"what": "uses ```json fences"}\n```')],
        "answer",
        Note(what="uses ```json fences"),
        2,
        BILL,
        {"response_model": Note},
    ),
    Report(
        6,
        "coder: text after the fence",
        [answer('Here it is:\n```json\n{"n": 2}\n``` I hope that {this} helps.')],
        "answer",
        {"n": 2},
        2,
        BILL,
        AS_N,
    ),
    Report(
        6,
        "hindsight: a fence of something else first",
        [answer('```\nnot json\n```\nthen\n```json\n{"n": 2,}\n```')],
        "answer",
        {"n": 2},
        2,
        BILL,
        AS_N,
    ),
    Report(
        6,
        "instructor: a strict model",
        [answer('{"day": "2024-02-29", "colour": "red", "span": [1, 2]}')],
        "answer",
        Visit(day=date(2024, 2, 29), colour=Colour.RED, span=(1, 2)),
        2,
        BILL,
        {"response_model": Visit},
    ),
    Report(
        6,
        "instructor: the model hears what was wrong",
        [answer('{"n": 3}'), answer('{"n": 4}')],
        "answer",
        Even(n=4),
        3,
        (20, 4),
        {"response_model": Even},
        sent="must be even",
    ),
    Report(
        6,
        "a list of models",
        [answer('[{"what": "a"}, {"what": "b"}]')],
        "answer",
        [Note(what="a"), Note(what="b")],
        2,
        BILL,
        {"response_model": list[Note]},
    ),
    Report(6, "a Python dict", [answer("{'n': 2, 'm': None}")], "answer", {"n": 2, "m": None}, 2, BILL, AS_N),
    Report(
        6,
        "lm studio: no such response_format",
        [(400, {}, {"error": "'response_format.type' must be 'text'"}), answer('{"n": 2}')],
        "answer",
        {"n": 2},
        3,
        BILL,
        AS_N,
        sent="JSON Schema",
    ),
    Report(
        6,
        "mistral: extra inputs, in an object",
        [
            (
                422,
                {},
                {
                    "object": "error",
                    "message": {
                        "detail": [
                            {
                                "type": "extra_forbidden",
                                "loc": ["body", "response_format", "json_schema"],
                                "msg": "Extra inputs are not permitted",
                                "input": {},
                            }
                        ]
                    },
                    "type": "invalid_request_error",
                },
            ),
            answer('{"n": 2}'),
        ],
        "answer",
        {"n": 2},
        3,
        BILL,
        AS_N,
        sent="JSON Schema",
    ),
    Report(
        6,
        "gemini: a field it cannot find",
        [
            google(
                400,
                "Invalid JSON payload received. Unknown name \"additionalProperties\" at 'generation_config.response_schema': Cannot find field.",
                "INVALID_ARGUMENT",
            ),
            answer('{"n": 2}'),
        ],
        "answer",
        {"n": 2},
        3,
        BILL,
        AS_N,
        sent="JSON Schema",
    ),
    Report(
        6,
        "amurex: groq's sample",
        [
            error(
                400,
                "Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.",
                type="invalid_request_error",
                code="json_validate_failed",
                failed_generation="",
            ),
            answer('{"n": 2}'),
        ],
        "answer",
        {"n": 2},
        3,
        BILL,
        AS_N,
    ),
    Report(
        6,
        "vllm: white space without end",
        [answer('{"n":' + "\n" * 200, "length", (10, 200))],
        "chunk",
        "max_tokens",
        2,
        (10, 200),
        AS_N,
    ),
]

SLOW = [
    Report(
        7,
        "openrouter: white space before the body",
        [(200, {}, "\n         \n" * 40 + json.dumps(answer()[2]))],
        "answer",
        asked=2,
        bill=BILL,
    ),
    Report(
        7,
        "openrouter: comments while it waits",
        [
            stream(
                delta("done", "stop"),
                {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 2}},
                head=": OPENROUTER PROCESSING\n\n" * 20,
            )
        ],
        "answer",
        asked=2,
        bill=BILL,
    ),
    Report(
        7,
        "deepseek: comments before JSON",
        [(200, {}, ": keep-alive\n\n" * 9 + json.dumps(answer()[2]))],
        "answer",
        asked=2,
        bill=BILL,
    ),
    Report(
        7,
        "a gateway that did not wait",
        [(524, {}, "<html>A timeout occurred</html>"), (504, {}, ""), error(408, "Request timed out")],
        "answer",
        asked=5,
    ),
]

ITS_WORDS = [
    Report(
        8,
        "dify: max_completion_tokens instead",
        [
            error(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                type="invalid_request_error",
                param="max_tokens",
                code="unsupported_parameter",
            )
        ],
        "answer",
        asked=3,
        sent="max_completion_tokens",
    ),
    Report(
        8,
        "open-notebook: the same within a 500",
        [
            detail(
                500,
                "Error code: 400 - {'error': {'message': \"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.\", 'type': 'invalid_request_error', 'param': 'max_tokens', 'code': 'unsupported_parameter'}}",
            )
        ],
        "answer",
        asked=3,
        sent="max_completion_tokens",
    ),
    Report(
        8,
        "lumen: only the default temperature",
        [
            error(
                400,
                "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
                type="invalid_request_error",
                param="temperature",
                code="unsupported_value",
            )
        ],
        "answer",
        asked=3,
        call=COLD,
    ),
    Report(
        8,
        "gemma: roles must alternate",
        [
            (
                400,
                {},
                {
                    "object": "error",
                    "message": "Conversation roles must alternate user/assistant/user/assistant/...",
                    "type": "BadRequestError",
                    "code": 400,
                },
            )
        ],
        "answer",
        asked=3,
        call=SYSTEM,
        sent="Be brief.",
    ),
    Report(
        8,
        "php-mistral: extra inputs by name",
        [
            (
                422,
                {},
                {
                    "object": "Error",
                    "message": [
                        {
                            "type": "extra_forbidden",
                            "loc": ["body", "seeed"],
                            "msg": "Extra inputs are not permitted",
                            "input": 3,
                        }
                    ],
                    "type": "invalid_request_error",
                    "code": 3001,
                },
            )
        ],
        "chunk",
        "seeed",
        2,
        spec={"params": {"seeed": 3}},
    ),
    Report(
        8,
        "anthropic: prompt and answer are too long",
        [
            anthropic(
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again",
            )
        ],
        "chunk",
        "210000 tokens.* 200000 .*target_tokens",
        2,
        shape="anthropic",
    ),
    Report(
        8,
        "openrouter: too long for the endpoint",
        [
            error(
                400,
                'This endpoint\'s maximum context length is 131072 tokens. However, you requested about 140000 tokens (130000 of text input, 10000 in the output). Please reduce the length of either one, or use the "middle-out" transform to compress your prompt automatically.',
                code=400,
            )
        ],
        "chunk",
        "140000 tokens.* 131072 ",
        2,
    ),
    Report(
        8,
        "bedrock-access-gateway: too long",
        [
            detail(
                500,
                "An error occurred (ValidationException) when calling the Converse operation: The model returned the following errors: Input is too long for requested model.",
            )
        ],
        "chunk",
        "context window",
        2,
    ),
    Report(
        8,
        "gemini: too many bytes",
        [google(400, "Request payload size exceeds the limit: 20971520 bytes.", "INVALID_ARGUMENT")],
        "chunk",
        "too large|context window",
        2,
    ),
    Report(
        8,
        "cline: what is refused is said",
        [
            error(
                400,
                "Invalid 'top_p': decimal above maximum value. Expected a value <= 1, but got 7 instead.",
                type="invalid_request_error",
                param="top_p",
                code="decimal_above_max_value",
            )
        ],
        "chunk",
        "decimal_above_max_value, parameter top_p.*above maximum value",
        2,
        spec={"params": {"top_p": 7}},
    ),
    Report(
        8,
        "a server that has moved",
        [(308, {"location": "https://elsewhere.invalid/v1/chat/completions"}, "")],
        "job",
        "redirect",
        1,
    ),
]

REPORTS = [*WORDS_OR_FIELDS, *WHOM_IT_HITS, *NO_ANSWER, *USAGE, *STRUCTURED, *SLOW, *ITS_WORDS]
