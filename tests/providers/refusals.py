# ruff: noqa: E501  (what vendors say is told in one piece)
"""Refusals of the field: what vendors and servers really send, in our own invented requests, and what each means.

A case is (vendor, status, headers, body, reason, hits, transient, seconds to wait or None). Codes, field names and
formats are the vendors'; account names, numbers and prose beyond the words that matter are invented.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["REFUSALS", "Refusal"]


class Refusal(NamedTuple):
    """One answer, and what is to be made of it."""

    vendor: str
    status: int
    headers: dict[str, str]
    body: Any
    reason: str
    hits: str
    transient: bool
    wait_s: float | None = None


def error(message: str, **fields: Any) -> dict[str, Any]:
    """OpenAI's shape."""
    return {"error": {"message": message, **fields}}


def google(message: str, *details: Any, code: int = 429, status: str = "RESOURCE_EXHAUSTED") -> list[Any]:
    """Google's, as its OpenAI-compatible endpoint sends it: a list."""
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def quota(name: str, value: str) -> dict[str, Any]:
    """A google.rpc.QuotaFailure of one quota."""
    kind = "type.googleapis.com/google.rpc.QuotaFailure"
    return {"@type": kind, "violations": [{"quotaId": name, "quotaValue": value, "quotaMetric": "x.com/requests"}]}


def retry(delay: str) -> dict[str, Any]:
    """A google.rpc.RetryInfo."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


PLAN = (
    "You exceeded your current quota, please check your plan and billing details. For more see https://ai.dev/billing"
)
ADVERT = "Need more tokens? Upgrade today at https://console.groq.com/settings/billing"
GROQ = "Rate limit reached for model `m` in organization `org_1` service tier `on_demand` on tokens per"
DATE = {"date": "Wed, 01 Jan 2020 00:00:00 GMT"}

LIMITS = [
    ("Gemini", 429, {}, google(PLAN, quota("GenerateRequestsPerMinutePerProject", "10"), retry("2.5s")),
     "limit", "chunk", True, 2.5),
    ("Gemini", 429, {}, google(PLAN), "limit", "chunk", True),
    ("Gemini", 429, {}, google(f"{PLAN} Please retry in 15.002899939s."), "limit", "chunk", True, 15.002899939),
    ("Gemini", 429, {}, google(PLAN, quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250"), retry("26s")),
     "used_up", "model", False, 26.0),
    ("Gemini", 429, {}, google(f"{PLAN} * Quota exceeded for metric: free_tier_requests, limit: 0, model: pro"),
     "money", "model", False),
    ("Gemini behind a gateway", 429, {}, error(str(google(PLAN, retry("3s"))[0]).replace("'", '"'), code=429),
     "limit", "chunk", True, 3.0),
    ("Google", 429, {}, {"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota).",
                                   "status": "RESOURCE_EXHAUSTED"}}, "limit", "chunk", True),
    ("Google", 403, {}, {"error": {"code": 403, "message": "User Rate Limit Exceeded",
                                   "errors": [{"reason": "userRateLimitExceeded", "domain": "usageLimits"}]}},
     "limit", "chunk", True),
    ("Google", 429, {}, google("Resource has been exhausted", {"@type": "google.rpc.ErrorInfo",
                                                               "reason": "INSUFFICIENT_G1_CREDITS_BALANCE"}),
     "money", "model", False),
    ("Groq", 429, {"retry-after": "1"}, error(f"{GROQ} minute (TPM): Limit 6000, Used 5900, Requested 200. {ADVERT}",
                                              type="tokens", code="rate_limit_exceeded"), "limit", "chunk", True, 1.0),
    ("Groq", 429, {}, error(f"{GROQ} minute (TPM): Limit 6000, Used 5900, Requested 200. Please try again in 7.66s. "
                            f"{ADVERT}", type="tokens", code="rate_limit_exceeded"), "limit", "chunk", True, 7.66),
    ("Groq", 429, {}, error(f"{GROQ} day (TPD): Limit 100000, Used 97050, Requested 3619. Please try again in "
                            f"9m38.016s. {ADVERT}", type="tokens", code="rate_limit_exceeded"),
     "limit", "chunk", True, 578.016),
    ("Groq", 429, {"retry-after": "18000"}, error(f"{GROQ} day (TPD): Limit 100000, Used 99990, Requested 3619. "
                                                  "Please try again in 5h0m0s.", type="tokens",
                                                  code="rate_limit_exceeded"), "used_up", "model", False, 18000.0),
    ("Groq", 413, {}, error(f"Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 14368, "
                            f"please reduce your message size and try again. {ADVERT}", type="tokens",
                            code="rate_limit_exceeded"), "too_large", "chunk", False),
    ("Groq", 498, {}, error("Flex tier capacity exceeded", type="", code="capacity_exceeded"),
     "unavailable", "chunk", True),
    ("Groq", 498, {}, None, "unavailable", "chunk", True),
    ("OpenAI", 429, {}, error("Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, "
                              "Requested 36278. The input or output tokens must be reduced in order to run "
                              "successfully.", type="tokens", code="rate_limit_exceeded"), "too_large", "chunk", False),
    ("OpenAI", 429, {}, error("Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30,000, Used 29,000, "
                              "Requested 2,000. Please try again in 2s.", type="tokens", code="rate_limit_exceeded"),
     "limit", "chunk", True, 2.0),
    ("OpenAI", 429, {"retry-after-ms": "250"}, error("Rate limit reached for requests", type="requests"),
     "limit", "chunk", True, 0.25),
    ("OpenAI", 429, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m30s",
                     "x-ratelimit-remaining-requests": "99", "x-ratelimit-reset-requests": "23h0m0s"},
     error("Rate limit reached", type="tokens", code="rate_limit_exceeded"), "limit", "chunk", True, 90.0),
    ("OpenAI", 429, {}, error(PLAN, type="insufficient_quota", code="insufficient_quota"), "money", "model", False),
    ("OpenAI", 429, {"retry-after": "1"}, error(PLAN, type="insufficient_quota", code="insufficient_quota"),
     "money", "model", False),
    ("OpenAI", 429, {}, error("Rate limit reached for gpt-4o on requests per day (RPD): Limit 200, Used 200, "
                              "Requested 1. Please try again in 7m12s.", type="requests", code="rate_limit_exceeded"),
     "limit", "chunk", True, 432.0),
    ("OpenAI", 429, {}, error("Billing hard limit has been reached", code="billing_hard_limit_reached"),
     "money", "model", False),
    ("OpenAI", 429, {}, error("Your account is not active, please check your billing details on our website.",
                              code="billing_not_active"), "money", "model", False),
    ("OpenAI", 429, {}, error("The engine is currently overloaded, please try again later", type="server_error"),
     "limit", "chunk", True),
    ("Azure", 429, {"retry-after": "7", "retry-after-ms": "6500"}, {"error": {
        "code": "429", "message": "Requests to the ChatCompletions_Create Operation have exceeded token rate limit of "
                                  "your current pricing tier. Please retry after 7 seconds."}},
     "limit", "chunk", True, 7.0),
    ("Azure", 429, {"retry-after": "86400"}, {"error": {
        "code": "429", "message": "Requests have exceeded token rate limit. Please retry after 86400 seconds. To "
                                  "increase the default rate limit go to https://aka.ms/oai/quotaincrease"}},
     "used_up", "model", False, 86400.0),
    ("Azure", 429, {}, error("The system is currently experiencing high demand and cannot process your request. Please "
                             "retry after 20 seconds.", code="RATE_LIMITED"), "limit", "chunk", True, 20.0),
    ("Anthropic", 429, {"retry-after": "12"}, {"type": "error", "error": {
        "type": "rate_limit_error", "message": "This request would exceed your organization's rate limit of 40,000 input "
                                               "tokens per minute."}}, "limit", "chunk", True, 12.0),
    ("Anthropic", 429, {**DATE, "anthropic-ratelimit-tokens-remaining": "0",
                        "anthropic-ratelimit-tokens-reset": "2020-01-01T00:00:20Z"},
     {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, "limit", "chunk", True),
    ("Anthropic", 400, {}, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "Your credit balance is too low to access the API. Please go to Plans "
                                                    "& Billing to upgrade or purchase credits."}},
     "money", "model", False),
    ("Anthropic", 400, {}, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "You have reached your specified API usage limits. You will regain "
                                                    "access on 2027-01-01 at 00:00 UTC."}}, "money", "model", False),
    ("Anthropic", 529, {}, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
     "unavailable", "chunk", True),
    ("Mistral", 429, {}, {"object": "error", "message": "Service tier capacity exceeded for this model.",
                          "type": "invalid_request_error", "param": None, "code": None}, "limit", "chunk", True),
    ("Mistral", 429, {}, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
     "limit", "chunk", True),
    ("Mistral", 429, {}, {"message": "Requests rate limit exceeded"}, "limit", "chunk", True),
    ("Mistral", 503, {}, {"object": "error", "message": "Service tier capacity exceeded for this model.",
                          "type": "invalid_request_error", "code": "3505"}, "unavailable", "chunk", True),
    ("OpenRouter", 429, {}, error("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model "
                                  "requests per day", code=429, metadata={"headers": {
                                      "X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0",
                                      "X-RateLimit-Reset": "99999999999000"}}), "used_up", "model", False, 604800.0),
    ("OpenRouter", 429, {}, error("Provider returned error", code=429, metadata={
        "raw": "m is temporarily rate-limited upstream. Please retry shortly, or add your own key",
        "provider_name": "P"}), "limit", "chunk", True),
    ("OpenRouter", 402, {}, error("Prompt tokens limit exceeded: 36163 > 29652. To increase, visit the settings and "
                                  "upgrade to a paid account", code=402), "money", "model", False),
    ("OpenRouter", 402, {}, error("This request requires more credits, or fewer max_tokens. You requested up to 4096 "
                                  "tokens, but can only afford 12", code=402), "money", "model", False),
    ("GitHub", 429, {**DATE, "x-ratelimit-reset": "1577836830", "x-ratelimit-remaining": "0"},
     error("Too many requests"), "limit", "chunk", True, 30.0),
    ("GitHub", 429, {**DATE, "x-ratelimit-reset": "1577923200"}, error("Too many requests"),
     "used_up", "model", False, 86400.0),
    ("a proxy", 429, {**DATE, "retry-after": "Wed, 01 Jan 2020 00:00:05 GMT"}, None, "limit", "chunk", True, 5.0),
    ("a proxy", 429, {"ratelimit-reset": "4", "ratelimit-remaining": "0"}, None, "limit", "chunk", True, 4.0),
    ("a proxy", 429, {"x-ratelimit-reset-after": "1.5"}, "slow down", "limit", "chunk", True, 1.5),
    ("a proxy", 429, {}, "Too Many Requests", "limit", "chunk", True),
    ("DeepSeek", 402, {}, error("Insufficient Balance", type="unknown_error", code="invalid_request_error"),
     "money", "model", False),
    ("DeepSeek", 400, {}, error("Insufficient Balance", type="unknown_error", code="invalid_request_error"),
     "money", "model", False),
    ("DeepSeek", 500, {}, error("Insufficient Balance", type="unknown_error"), "money", "model", False),
    ("DeepSeek", 429, {}, error("insufficient balance"), "money", "model", False),
    ("DeepSeek", 503, {}, error("Service is too busy. We advise users to try again later.", type="service_unavailable"),
     "unavailable", "chunk", True),
    ("xAI", 429, {}, {"code": "Some resource has been exhausted", "error": "Your team has either used all available "
                      "credits or reached its monthly spending limit."}, "money", "model", False),
    ("xAI", 429, {}, {"code": "The system is at capacity", "error": "Service temporarily unavailable"},
     "limit", "chunk", True),
    ("Zhipu", 429, {}, error("余额不足或无可用资源包,请充值。", code="1113"), "money", "model", False),
    ("Zhipu", 429, {}, error("您的账户已达到速率限制，请您控制请求频率", code="1302"), "limit", "chunk", True),
    ("Zhipu", 429, {}, error("daily", code="1304"), "used_up", "model", False),
    ("Cerebras", 429, {}, {"message": "Tokens per minute limit exceeded - too many tokens processed.",
                           "type": "too_many_tokens_error", "param": "quota", "code": "token_quota_exceeded"},
     "limit", "chunk", True),
    ("Cerebras", 429, {}, {"message": "Requests per minute limit exceeded", "type": "too_many_requests_error",
                           "param": "quota", "code": "request_quota_exceeded"}, "limit", "chunk", True),
    ("Cerebras", 429, {}, {"message": "We're experiencing high traffic right now!", "type": "too_many_requests_error",
                           "param": "queue", "code": "queue_exceeded"}, "limit", "chunk", True),
    ("Bedrock", 429, {"x-amzn-errortype": "ThrottlingException"}, {"message": "Too many tokens, please wait before "
                                                                              "trying again."}, "limit", "chunk", True),
    ("Bedrock", 400, {}, {"message": "An error occurred (ThrottlingException): Too many tokens, please wait before "
                                     "trying again."}, "limit", "chunk", True),
    ("Bedrock", 429, {}, {"__type": "com.amazon#ThrottlingException", "message": "Too many tokens per day, please wait "
                                                                                 "before trying again."},
     "used_up", "model", False),
    ("Moonshot", 429, {}, error("Your account org-1 is suspended, please check your plan and billing details",
                                type="exceeded_current_quota_error"), "money", "model", False),
    ("Moonshot", 429, {}, error("The engine is currently overloaded, please try again later",
                                type="engine_overloaded_error"), "unavailable", "chunk", True),
    ("Moonshot", 429, {}, error("Your account reached max request, please try again after 1 seconds",
                                type="rate_limit_reached_error"), "limit", "chunk", True, 1.0),
    ("DashScope", 400, {}, error("Access denied, please make sure your account is in good standing.",
                                 code="Arrearage", type="Arrearage"), "money", "model", False),
    ("DashScope", 429, {}, error("Requests rate limit exceeded, please try again later.", code="limit_requests"),
     "limit", "chunk", True),
    ("SiliconFlow", 403, {}, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None},
     "money", "model", False),
    ("SiliconFlow", 429, {}, {"message": "Request was rejected due to rate limiting. Details: TPM limit reached.",
                              "data": None}, "limit", "chunk", True),
    ("Together", 429, {}, {"error": {"message": "You have reached the rate limit specific to this model",
                                     "type": "model_rate_limit", "code": None}}, "limit", "chunk", True),
    ("Together", 402, {}, error("Credit limit exceeded, please navigate to your billing page",
                                type="credit_limit"), "money", "model", False),
    ("Fireworks", 412, {}, {"error": {"message": "Account is suspended, possibly due to reaching the monthly spending "
                                                 "limit"}}, "money", "model", False),
    ("Perplexity", 401, {}, "<html><head><title>401 Authorization Required</title></head></html>",
     "key", "model", False),
    ("MiniMax", 429, {}, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
     "money", "model", False),
    ("MiniMax", 500, {}, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, "limit", "chunk", True),
    ("LiteLLM", 429, {}, error("litellm.RateLimitError: AzureException - Error code: 429 - {\"error\": {\"code\": "
                               "\"429\", \"message\": \"Please retry after 3 seconds\"}}", type="throttling_error"),
     "limit", "chunk", True, 3.0),
    ("LiteLLM", 400, {}, error("Budget has been exceeded! Current cost: 5.1, Max budget: 5.0", type="budget_exceeded"),
     "money", "model", False),
    ("GitHub", 429, {"retry-after": "40000"}, error("Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please "
                                                    "wait 40000 seconds before retrying.", code="RateLimitReached"),
     "used_up", "model", False, 40000.0),
]  # fmt: skip

OVERFLOWS = [
    ("Azure", 400, {}, error("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in "
                             "300000 tokens. Please reduce the length of the messages.",
                             code="context_length_exceeded")),
    ("Azure", 400, {}, {"error": {"code": "BadRequest", "message": "This model's maximum context length is 8192 tokens, "
                                  "however you requested 9000 tokens (8000 in your prompt; 1000 for the completion)."}}),
    ("Together", 422, {}, error("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 80125 "
                                "`inputs` tokens and 4096 `max_new_tokens`", type="invalid_request_error")),
    ("TGI", 422, {}, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1244",
                      "error_type": "validation"}),
    ("Perplexity", 400, {}, error("The prompt is too long. Please reduce the number of tokens", type="bad_request",
                                  code=400)),
    ("Perplexity", 400, {}, error("Requested token count exceeds the model's maximum of 127072 tokens", code=400)),
    ("Bedrock", 400, {"x-amzn-errortype": "ValidationException"}, {"message": "Input is too long for requested model."}),
    ("Bedrock", 400, {}, {"message": "Malformed input request: expected maxLength: 42000, actual: 46735, please reformat "
                                     "your input and try again."}),
    ("Bedrock", 400, {}, {"message": "The model returned the following errors: prompt is too long: 200049 tokens > 200000 "
                                     "maximum"}),
    ("xAI", 400, {}, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is "
                      "131072 but the request contains 537812 tokens."}),
    ("Groq", 400, {}, error("Please reduce the length of the messages or completion.", code="context_length_exceeded")),
    ("Moonshot", 400, {}, error("Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)",
                                type="invalid_request_error")),
    ("DashScope", 400, {}, error("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]",
                                 code="invalid_parameter_error", type="invalid_request_error")),
    ("GitHub", 400, {}, error("prompt token count of 115127 exceeds the limit of 64000",
                              code="model_max_prompt_tokens_exceeded")),
    ("MiniMax", 400, {}, error("invalid params, context window exceeds limit (2013)", type="bad_request_error")),
    ("Cohere", 400, {}, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received "
                                    "4561."}),
    ("LM Studio", 400, {}, {"error": "Trying to keep the first 111490 tokens when context the overflows. However, the model "
                                     "is loaded with context length of only 32768 tokens, which is not enough."}),
    ("LM Studio", 400, {}, {"error": "Cannot truncate prompt with n_keep (15028) >= n_ctx (7424)"}),
    ("LM Studio", 400, {}, {"error": "The number of tokens to keep from the initial prompt is greater than the context "
                                     "length"}),
    ("llama.cpp", 400, {}, error("the request exceeds the available context size, try increasing it", code=400,
                                 type="exceed_context_size_error", n_prompt_tokens=9000, n_ctx=4096)),
    ("llama.cpp", 500, {}, error("context size has been exceeded.", code=500, type="server_error")),
    ("Ollama", 500, {}, {"error": "input length exceeds maximum context length"}),
    ("Ollama", 400, {}, {"error": "prompt too long; exceeded max context length by 12 tokens"}),
    ("SGLang", 400, {}, {"object": "error", "message": "The input (9000 tokens) is longer than the model's context length "
                         "(8192 tokens).", "type": "BadRequestError", "code": 400}),
    ("vLLM", 400, {}, {"object": "error", "message": "The decoder prompt (length 9000) is longer than the maximum model "
                       "length of 8192. Make sure that `max_model_len` is no smaller.", "type": "BadRequestError"}),
    ("vLLM", 400, {}, {"object": "error", "message": "max_tokens must be at least 1, got -23.", "code": 400}),
    ("vLLM", 500, {}, {"error": {"message": "This model's maximum context length is 4096 tokens. However, you requested 128 "
                                            "output tokens and your prompt contains at least 4000 input tokens",
                                 "type": "BadRequestError"}}),
    ("NIM", 422, {}, {"detail": "Prompt length (9000) exceeds maximum input length (8192)"}),
    ("Zhipu", 400, {}, error("Prompt 超长", code="1261")),
    ("Gemini", 400, {}, google("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                               code=400, status="INVALID_ARGUMENT")),
    ("Vertex", 400, {}, google("Unable to submit request because the input token count is 40000 but model only supports up "
                               "to 32768.", code=400, status="INVALID_ARGUMENT")),
    ("OpenRouter", 400, {}, error("This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 "
                                  "tokens. Please reduce the length of either one.", code=400)),
    ("OpenRouter", 502, {}, error("Provider returned error", code=502, metadata={
        "raw": '{"error": {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"}}'})),
    ("OpenAI", 400, {}, error("Your input exceeds the context window of this model.", code="context_length_exceeded")),
    ("OpenAI", 400, {}, error("Invalid 'messages[0].content': string too long. Expected a string with maximum length "
                              "1048576, but got a string with length 2000000 instead.", code="string_above_max_length",
                              param="messages[0].content")),
    ("Fireworks", 400, {}, error("The prompt is too long: 9000, model maximum context length: 8192",
                                 type="invalid_request_error")),
]  # fmt: skip

OTHERS = [
    ("Anthropic", 400, {}, {"type": "error", "error": {"type": "invalid_request_error",
                                                       "message": "This organization has been disabled."}},
     "money", "model", False),
    ("Anthropic", 400, {}, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "max_tokens: 100000 > 64000, which is the maximum allowed number of "
                                                    "output tokens for m"}}, "request", "chunk", False),
    ("nginx", 400, {}, "<html><center>The plain HTTP request was sent to HTTPS port</center></html>",
     "no_route", "model", False),
    ("OpenAI", 404, {}, error("This is not a chat model and thus not supported in the v1/chat/completions endpoint.",
                              param="model"), "no_model", "model", False),
    ("OpenAI", 429, {}, error("The requests come too fast, try again after 12.5 seconds", code="rate_limit_exceeded"),
     "limit", "chunk", True, 12.5),
    ("Ollama", 400, {}, error("x does not support chat"), "no_model", "model", False),
    ("Azure", 400, {}, {"error": {"code": "OperationNotSupported", "message": "The chatCompletion operation does not work "
                                                                             "with the specified model"}},
     "no_model", "model", False),
    ("Bedrock", 400, {"x-amzn-errortype": "ValidationException:http://x"}, {
        "message": "Invocation of model ID x with on-demand throughput isn't supported."}, "no_model", "model", False),
    ("Bedrock", 400, {}, {"message": "The provided model identifier is invalid."}, "no_model", "model", False),
    ("DashScope", 404, {}, error("Model not exist.", code="model_not_found"), "no_model", "model", False),
    ("DashScope", 403, {}, error("The free tier of the model has been exhausted.", code="AllocationQuota.FreeTierOnly"),
     "money", "model", False),
    ("Ark", 403, {}, error("overdue", code="AccountOverdueError"), "money", "model", False),
    ("Ark", 429, {}, error("busy", code="ServerOverloaded"), "limit", "chunk", True),
    ("Ark", 400, {}, error("no", code="InputTextSensitiveContentDetected"), "filtered", "chunk", False),
    ("Cohere", 429, {}, {"message": "You are using a Trial key, which is limited to 10 API calls / minute."},
     "limit", "chunk", True),
    ("Cohere", 429, {}, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."},
     "used_up", "model", False),
    ("one-api", 403, {}, error("该令牌额度已用尽", type="one_api_error"), "money", "model", False),
    ("one-api", 429, {}, error("当前分组上游负载已饱和，请稍后再试", type="one_api_error"), "limit", "chunk", True),
    ("Google", 403, {}, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "Quota exceeded for quota metric",
                                   "details": [{"@type": "google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}]}},
     "limit", "chunk", True),
    ("Gemini", 400, {}, google("User location is not supported for the API use.", code=400, status="FAILED_PRECONDITION"),
     "place", "model", False),
    ("a gateway", 429, {}, {"error": "slow", "retry_after": 2}, "limit", "chunk", True, 2.0),
    ("a gateway", 500, {}, error("CUDA out of memory"), "unavailable", "chunk", True),
    ("OpenRouter", 403, {}, error("m requires moderation on P. Your input was flagged for harassment", code=403, metadata={
        "reasons": ["harassment"], "flagged_input": "a part of the text", "provider_name": "P"}),
     "filtered", "chunk", False),
    ("xAI", 403, {}, {"code": "The caller does not have permission", "error": "Content violates usage guidelines."},
     "filtered", "chunk", False),
    ("Azure", 400, {}, error("The response was filtered due to the prompt triggering the content management policy.",
                             type=None, param="prompt", code="content_filter", status=400,
                             innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}),
     "filtered", "chunk", False),
    ("OpenAI", 400, {}, error("Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
                              code="invalid_prompt", type="invalid_request_error"), "filtered", "chunk", False),
    ("Anthropic", 400, {}, {"type": "error", "error": {"type": "invalid_request_error",
                                                       "message": "Output blocked by content filtering policy"}},
     "filtered", "chunk", False),
    ("DeepSeek", 400, {}, error("Content Exists Risk", type="invalid_request_error"), "filtered", "chunk", False),
    ("DashScope", 400, {}, error("<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate "
                                 "content.", code="data_inspection_failed"), "filtered", "chunk", False),
    ("Zhipu", 400, {}, error("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301"), "filtered", "chunk", False),
    ("Moonshot", 400, {}, error("The request was rejected because it was considered high risk", type="content_filter"),
     "filtered", "chunk", False),
    ("OpenAI", 401, {}, error("Incorrect API key provided: sk-pro*****WxyZ.", code="invalid_api_key"),
     "key", "model", False),
    ("Anthropic", 401, {}, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
     "key", "model", False),
    ("Gemini", 400, {}, google("API key not valid. Please pass a valid API key.", {"@type": "ErrorInfo",
                                                                                  "reason": "API_KEY_INVALID"},
                               code=400, status="INVALID_ARGUMENT"), "key", "model", False),
    ("OpenRouter", 401, {}, error("No auth credentials found", code=401), "key", "model", False),
    ("OpenAI", 403, {}, error("Country, region, or territory not supported",
                              code="unsupported_country_region_territory"), "place", "model", False),
    ("Azure", 403, {}, {"error": {"code": "403", "message": "Access denied due to Virtual Network/Firewall rules."}},
     "forbidden", "model", False),
    ("Cloudflare", 403, {}, "<html><title>Attention Required!</title></html>", "forbidden", "model", False),
    ("OpenAI", 404, {}, error("The model `x` does not exist or you do not have access to it.", code="model_not_found"),
     "no_model", "model", False),
    ("Azure", 404, {}, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not "
                                                                          "exist."}}, "no_model", "model", False),
    ("Azure", 404, {}, {"error": {"code": "404", "message": "Resource not found"}}, "no_route", "model", False),
    ("Ollama", 404, {}, {"error": "model 'x' not found, try pulling it first"}, "no_model", "model", False),
    ("LM Studio", 404, {}, error("No models loaded. Please load a model in the developer page", code="model_not_found"),
     "no_model", "model", False),
    ("Groq", 400, {}, error("The model `x` has been decommissioned and is no longer supported.",
                            code="model_decommissioned"), "no_model", "model", False),
    ("OpenRouter", 400, {}, error("x is not a valid model ID", code=400), "no_model", "model", False),
    ("OpenRouter", 404, {}, error("No endpoints found for x.", code=404), "no_model", "model", False),
    ("FastAPI", 404, {}, {"detail": "Not Found"}, "no_route", "model", False),
    ("nginx", 405, {}, "<html><body>405 Not Allowed</body></html>", "no_route", "model", False),
    ("TGI", 424, {}, {"error": "Request failed during generation: Server error", "error_type": "generation"},
     "unavailable", "chunk", True),
    ("TGI", 429, {}, {"error": "Model is overloaded", "error_type": "overloaded"}, "unavailable", "chunk", True),
    ("Hugging Face", 503, {}, {"error": "Model x is currently loading", "estimated_time": 20.0},
     "unavailable", "chunk", True),
    ("llama.cpp", 503, {}, error("Loading model", code=503, type="unavailable_error"), "unavailable", "chunk", True),
    ("Gemini", 503, {}, google("The model is overloaded. Please try again later.", code=503, status="UNAVAILABLE"),
     "unavailable", "chunk", True),
    ("Gemini", 500, {}, google("An internal error has occurred.", code=500, status="INTERNAL"),
     "unavailable", "chunk", True),
    ("Gemini", 504, {}, google("Deadline expired before operation could complete.", code=504,
                               status="DEADLINE_EXCEEDED"), "unavailable", "chunk", True),
    ("OpenAI", 500, {}, error("The server had an error while processing your request. Sorry!", type="server_error"),
     "unavailable", "chunk", True),
    ("Bedrock", 424, {"x-amzn-errortype": "ModelErrorException"}, {"message": "The model failed"},
     "unavailable", "chunk", True),
    ("Bedrock", 429, {"x-amzn-errortype": "ModelNotReadyException"}, {"message": "Model is not ready for inference."},
     "unavailable", "chunk", True),
    ("Bedrock", 403, {"x-amzn-errortype": "UnrecognizedClientException"}, {"message": "The security token is invalid."},
     "key", "model", False),
    ("Bedrock", 403, {"x-amzn-errortype": "AccessDeniedException"}, {"message": "You don't have access to the model."},
     "forbidden", "model", False),
    ("Cloudflare", 520, {}, "error code: 520", "unavailable", "chunk", True),
    ("a gateway", 503, {"retry-after": "7200"}, "maintenance", "away", "model", False, 7200.0),
    ("Cloudflare", 524, {}, "<html>A timeout occurred</html>", "unavailable", "chunk", True),
    ("a gateway", 500, {}, error("Unsupported parameter: top_k", type="invalid_request_error", param="top_k"),
     "request", "chunk", False),
    ("a gateway", 503, {}, error("No available channel for model x", code="model_not_found", type="new_api_error"),
     "no_model", "model", False),
    ("OpenAI", 400, {}, error("max_tokens is too large: 99999. This model supports at most 16384 completion tokens, whereas "
                              "you provided 99999.", code="invalid_value", param="max_tokens"), "request", "chunk", False),
    ("Bedrock", 400, {}, {"message": "The maximum tokens you requested exceeds the model limit of 4096. Try again with a "
                                     "maximum tokens value that is lower than 4096."}, "request", "chunk", False),
    ("OpenAI", 400, {}, error("Unsupported value: 'temperature'", param="temperature", code="unsupported_value"),
     "request", "chunk", False),
    ("FastAPI", 422, {}, {"detail": [{"loc": ["body", "messages", 0], "msg": "field required", "type": "missing",
                                      "input": "a text"}]}, "request", "chunk", False),
    ("Perplexity", 400, {}, error("After the (optional) system message(s), user or tool message(s) should alternate with "
                                  "assistant message(s).", type="invalid_message", code=400), "request", "chunk", False),
    ("a server", 307, {}, None, "redirect", "model", False),
    ("a proxy", 407, {}, None, "proxy", "model", False),
    ("nginx", 413, {}, "<html><h1>413 Request Entity Too Large</h1></html>", "too_large", "chunk", False),
    ("Anthropic", 413, {}, {"type": "error", "error": {"type": "request_too_large",
                                                       "message": "Request exceeds the maximum size"}},
     "too_large", "chunk", False),
]  # fmt: skip

REFUSALS = [
    *(Refusal(*case) for case in LIMITS),
    *(Refusal(*case, "overflow", "chunk", False) for case in OVERFLOWS),
    *(Refusal(*case) for case in OTHERS),
]
