"""The table of refusals: their numbers decide first, then their codes, words only without these, the status last.

Each refusal becomes one ``Diagnosis``: whom it hits, whether asking again helps, how long to wait, and what the user
can do. For another vendor, add its codes to ``_LISTED`` or its words to ``_WORDS`` (see docs/providers.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mrengine.providers.call.error_body import ErrorBody

__all__ = ["DIAGNOSES", "LONG_S", "Diagnosis", "Reason", "classify"]

LONG_S = 900.0  # no job waits longer than this: the model is given up, and the message says when it returns

Reason = Literal[
    "limit", "used_up", "away", "too_large", "unavailable", "overflow", "filtered", "money", "key", "forbidden",
    "place", "no_model", "no_memory", "no_route", "proxy", "redirect", "request",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a refusal means. ``hits``: whose calls fail, the "chunk"'s or all of the "model"'s. ``transient``: the same
    call may succeed later, after ``wait_s`` if the provider named a wait. ``certain`` False: it may be due to this
    chunk's content, or pass; so the model ends only after several chunks in a row, or if it has never answered.
    """

    reason: Reason
    hits: Literal["chunk", "model"]
    transient: bool = False
    certain: bool = True
    wait_s: float | None = None
    advice: str = ""


DIAGNOSES: Mapping[Reason, Diagnosis] = {
    diagnosis.reason: diagnosis
    for diagnosis in (
        Diagnosis("limit", "chunk", transient=True),
        Diagnosis("used_up", "model", advice="run the job again then, or add a model, a key or a higher limit"),
        Diagnosis("away", "model", advice="run the job again then, or add a model"),
        Diagnosis("too_large", "chunk", advice="use a smaller target_tokens or max_tokens, or a higher limit"),
        Diagnosis("unavailable", "chunk", transient=True),
        Diagnosis("overflow", "chunk", advice="use a smaller target_tokens or max_tokens"),
        Diagnosis("filtered", "chunk", advice="its content filter refuses this text"),
        Diagnosis("money", "model", advice="check the account's quota and billing"),
        Diagnosis("key", "model", certain=False, advice="check the API key"),
        Diagnosis("forbidden", "model", certain=False, advice="check what the API key is allowed to use"),
        Diagnosis("place", "model", advice="it is not served in your country or network"),
        Diagnosis("no_model", "model", certain=False, advice="check the model's name and the base URL"),
        Diagnosis(
            "no_memory", "model", certain=False,
            advice="its server has too little memory for it: free some there, or use a smaller model",
        ),
        Diagnosis("no_route", "model", certain=False, advice="check the base URL: it ends with /v1 as a rule"),
        Diagnosis(
            "proxy", "model", certain=False,
            advice="the proxy wants a name and password: give them in proxy= or in the environment's proxy URL",
        ),
        Diagnosis("redirect", "model", advice="use the address it redirects to as the base URL"),
        Diagnosis("request", "chunk"),
    )
}  # fmt: skip

# The vendors' own codes, types and reasons, in lower case, whichever field of the body they stand in.
_LISTED: Mapping[Reason, str] = {
    "overflow": """
        context_length_exceeded exceed_context_size_error string_above_max_length context_window_exceeded
        model_max_prompt_tokens_exceeded contextwindowexceedederror context_overflow prompt_too_long 1261
        input_too_long minimax:1039
    """,
    "filtered": """
        content_filter content_policy_violation contentpolicyviolationerror responsibleaipolicyviolation
        data_inspection_failed datainspectionfailed invalid_prompt moderation_blocked content_blocked
        sensitive_word moderation_error moderation_failed content_moderation prohibited_content safety 1301
        minimax:1026 minimax:1027 guardrail_intervened sensitivecontentdetected
        inputtextsensitivecontentdetected outputtextsensitivecontentdetected censorship_blocked content_filtered
        sensitive_content cyber_policy_violation
    """,
    "money": """
        insufficient_quota billing_error billing_not_active billing_hard_limit_reached payment_required
        account_deactivated insufficient_balance insufficient_credits insufficient_user_quota arrearage
        insufficient_funds credit_limit_reached creditserror balance_not_enough exceeded_current_quota_error
        account_suspended consumer_suspended insufficient_g1_credits_balance 1110 1111 1112 1113 1309 30001
        minimax:1008 accountoverdueerror accessdenied.unpurchased allocationquota.freetieronly billing_disabled
        spend_limit_exceeded budget_exceeded prepaymentrequired
    """,
    "used_up": """
        daily_limit_exceeded 1304 1308 1310 usage_limit_reached usage_limit_exceeded quota_exceeded_daily
        free-models-per-day requestsperday
    """,
    "limit": """
        requestbursttoofast setlimitexceeded serveroverloaded rate_limit_exceeded rate_limit_error rate_limited
        ratelimitexceeded rate_limit ratelimitreached requests tokens too_many_requests toomanyrequests
        too_many_requests_error throttlingexception throttling throttling_error throttled resource_exhausted
        ratelimiterror token_quota_exceeded request_quota_exceeded userratelimitexceeded limit_requests
        limit_burst_rate throttling.ratequota throttling.burstrate 1300 1302 1303 429 throttling.allocationquota
        insufficient_tokens_per_minute dynamic_request_limited minimax:1002 minimax:1041
        rate_limit_reached_error concurrency_limit_exceeded
    """,
    "unavailable": """
        overloaded_error overloaded engine_overloaded engine_overloaded_error capacity_exceeded queue_exceeded
        3505 1305 1312 service_unavailable serviceunavailable unavailable server_overloaded model_overloaded
        modelnotreadyexception serviceunavailableexception modeltimeoutexception timeout_error
        internalserverexception deadline_exceeded modelerrorexception minimax:1000 minimax:1001 minimax:1013
        request_timeout timeout incomplete_generation overloaded_model no_capacity nocapacity aborted
    """,
    "key": """
        invalid_api_key authentication_error invalid_authentication_error unauthorized invalidapikey
        api_key_invalid unauthenticated incorrect_api_key_error token_expired invalid_token
        unrecognizedclientexception expiredtokenexception invalidsignatureexception
        minimax:1004 minimax:2049 permissiondenied:key missing_api_key no_api_key authenticationerror
        credentials_missing
    """,
    "place": "unsupported_country_region_territory location_not_supported user_location_is_not_supported",
    "no_model": """
        model_not_found modelnotfound model_not_available deploymentnotfound model_decommissioned
        model_not_supported model_terms_required unknown_model 1211 model_deprecated modelnotfoundexception
        operationnotsupported modelnotopen invalidendpointormodel.notfound invalid_model model_not_exist
        invalidmodel minimax:2061
    """,
    "forbidden": "accessdeniedexception permission_error permission_denied access_denied",
}  # fmt: skip
_CODES: Mapping[str, Reason] = {code: reason for reason, codes in _LISTED.items() for code in codes.split()}
# If a body names several, the more definite one decides: "insufficient_quota" beside "rate_limit_exceeded".
_ORDER: tuple[Reason, ...] = (
    "overflow", "filtered", "money", "place", "used_up", "no_model", "key", "limit", "unavailable", "forbidden",
)  # fmt: skip
_INVALID_WORDS = """invalid_request_error badrequesterror validation_error validationexception invalid_parameter_error
    validation invalid_argument invalid_request unprocessable_entity unsupported_parameter unsupported_value
    invalidparameter bad_request missing_required_parameter invalid_value"""
_INVALID = frozenset(_INVALID_WORDS.split())


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


_LONG_CONTEXT = _words(r"long[- ]context")  # Anthropic's 429 for a plan without them: no wait helps
_BUSY = _words(
    r"overloaded", r"(?:at|over|out of|no|exceeded|insufficient) (?:available )?capacity", r"capacity (?:is )?exceeded",
    r"currently loading|is loading|loading model|model (?:is )?unloaded|warming up|not ready yet",
    r"temporar(?:y|ily)", r"high demand|too busy|server (?:is )?busy|try again later|currently unavailable",
)  # fmt: skip
_SLOW_DOWN = _words(
    r"too many (?:requests|tokens,? please wait)", r"throttl", r"rate[ _-]?limit", r"please wait before",
    r"tokens per min|requests per min|per[ _-]minute", r"slow down",
)  # fmt: skip
_OVERFLOW = _words(
    r"context[ _](?:window|size|length|limit)|maximum (?:model|input|sequence|prompt) len(?:gth)?",
    r"(?:prompt|input|request|message|conversation|query)s?(?: text)? (?:is |are |was )?too (?:long|large)",
    r"(?:input|prompt|request|decoder prompt)\b.{0,60}?(?:is )?longer than",
    r"exceed\w* (?:the |model |a |this model'?s? )*(?:maximum |max )?(?:number of |input |allowed |prompt )*tokens?"
    r"(?! per| you requested)",
    r"reduce the (?:length|size) of (?:the|your) (?:messages|prompt|input)",
    r"`?inputs`? tokens \+ `?max_new_tokens`? must be|`?inputs`? must have less than",
    r"tokens? count .{0,40}exceeds|exceeds? the (?:limit|maximum) of \d+|n_keep .{0,20}>= n_ctx|tokens to keep from",
    r"exceeded (?:the )?(?:model )?token limit|token limit (?:exceeded|of \d)|range of input length should be",
    r"too many (?:input )?tokens|max_tokens must be at least 1, got -|expected max(?:imum )?length: ?\d+, actual",
    r"model only supports up to|max_input_len|max_seq_len|max_model_len|string too long|maximum allowed length",
    r"输入长度|上下文|超过.{0,12}(?:长度|token)|prompt tokens exceed",
)  # fmt: skip
_MAX_TOKENS_TOO_LARGE = _words(  # it reads like an overflow, but a smaller chunk would not help
    r"max(?:imum|_)? ?(?:completion_|new_)?tokens (?:you requested|is too large|must be (?:less|<|at most)"
    r"|\(\d+\) exceeds"
    r"|value|parameter)",
    r"completion tokens, whereas", r"max_(?:completion_)?tokens.{0,40}(?:supports at most|less than or equal)",
    r"maximum (?:output|completion) tokens|allowed number of output tokens", r"range of max_tokens should be",
)  # fmt: skip
_MONEY = _words(
    r"insufficient[ _](?:account[ _])?(?:balance|funds?|credits?)|balance is (?:insufficient|too low|not enough)",
    r"(?:out of|no|not enough|more|all available|purchase|negative) credits?\b|credit balance|spend(?:ing)? limit",
    r"insufficient_quota|exceeded your current quota|billing (?:hard limit|details|is not|has not|account)",
    r"payment (?:required|method)|free tier .{0,40}exhausted|额度(?:不足|已用尽)",
    r"(?:account|organi[sz]ation|workspace) (?:is |was |has been )?(?:not active|deactivated|suspended|in arrears"
    r"|overdue|disabled|banned|blocked)",
    r"overdue|arrear|usage limits?\. you will regain|余额|欠费|充值|prepaid|recharge|top up|can only afford",
)  # fmt: skip
# (reason, its words, the statuses with which they mean it; None: any).
_WORDS: tuple[tuple[Reason, re.Pattern[str], frozenset[int] | None], ...] = (
    ("filtered", _words(
        r"content (?:management|filter(?:ing)?|usage|safety) polic", r"content[ _]filter",
        r"usage (?:policy|guidelines)",
        r"inappropriate content|sensitive (?:content|information|words?)|content exists risk|flagged (?:as|for|by)",
        r"(?:violat\w+|blocked by|failed|requires) .{0,40}(?:polic|moderation|safety|guideline|guardrail)",
        r"moderation|prohibited[ _]content|safety system|responsible ai|敏感|不安全",
    ), frozenset({400, 403, 406, 422, 451, 498, 500})),
    ("money", _MONEY, None),
    ("too_large", _words(r"(?:payload|body|request)(?: size)? exceeds the (?:size )?limit\b.{0,40}bytes"),
     frozenset({400, 413})),
    ("no_memory", _words(
        r"requires more (?:system |gpu |video )?memory|(?:not enough|insufficient) (?:system |gpu |video )*"
        r"(?:memory|resources) (?:to|for|available)|due to insufficient system resources",
    ), frozenset({400, 500, 503})),
    ("place", _words(r"(?:country|region|territory|location)[^.]{0,40} (?:is )?not (?:supported|available)"), None),
    ("no_model", _words(
        r"\bmodels?\b.{0,160}(?:does not exist|do(?:es)?n'?t exist|not found|not supported|decommissioned|deprecated"
        r"|not available|is not a valid|unknown|has been (?:removed|retired|shut down)|no longer)",
        r"\bmodel\b.{0,160}(?:isn.t supported|not exist|identifier is invalid)|does not support (?:chat|generate)\b",
        r"not a chat model|unknown model|no such model|invalid model|no models? loaded|模型不存在",
        r"deployment .{0,60}does not exist",
        r"no (?:allowed providers|endpoints) (?:are available|found)|not a valid model|no available channel",
    ), frozenset({400, 403, 404, 410, 422, 500, 501, 503})),
    ("no_route", _words(r"http request was sent to https|http request to an https server"), frozenset({400, 497})),
    ("key", _words(
        r"(?:invalid|incorrect|missing|expired|revoked|wrong|no|bad)\b.{0,20}"
        r"(?:api|access|auth\w*|bearer)[ _-]?(?:key|token)",
        r"api key (?:not valid|not found|expired|is invalid|has expired)|no auth credentials|unauthori[sz]ed",
    ), frozenset({400, 403, 500})),
)  # fmt: skip


def classify(status: int, body: ErrorBody, *, wait_s: float | None = None) -> Diagnosis:
    """Diagnose an answer that is no success. ``wait_s``: the wait that its headers ask for."""
    wait_s = wait_s if wait_s is not None else body.retry_s
    reason = _reason(status, body, wait_s)
    diagnosis = DIAGNOSES[reason]
    if diagnosis.transient and wait_s is not None and wait_s >= LONG_S:
        diagnosis = DIAGNOSES["used_up" if reason == "limit" else "away"]
    if diagnosis.transient or diagnosis.reason in ("used_up", "away"):
        diagnosis = replace(diagnosis, wait_s=wait_s)
    return _advised(diagnosis, status, body)


def _reason(status: int, body: ErrorBody, wait_s: float | None) -> Reason:
    if (by_number := _by_number(status, body, wait_s)) is not None:
        return by_number
    if status in (400, 403) and body.filtered:
        return "filtered"
    return _by_code(status, body) or _by_words(status, body, wait_s) or _by_status(status, body)


def _by_number(status: int, body: ErrorBody, wait_s: float | None) -> Reason | None:
    coded = _coded(body)
    is_limit = status in (413, 429) or "limit" in coded
    if body.requested is not None and body.limit is not None and body.requested > body.limit and is_limit:
        return "too_large"  # it would not fit into an unused limit either
    if status not in (403, 429) or not is_limit or "money" in coded:
        return None
    if body.none_at_all:
        return "money"  # the plan has no quota for this model
    if body.daily and wait_s is None and "limit" not in coded and _MONEY.search(body.message):
        return None if _SLOW_DOWN.search(body.message) else "money"
    # Google asks for a wait of seconds even where the quota of the day is used up.
    if body.daily and (wait_s is None or wait_s >= LONG_S or "resource_exhausted" in body.codes):
        return "used_up"
    return None


def _coded(body: ErrorBody) -> set[Reason]:
    return {_CODES[code] for code in body.codes if code in _CODES}


def _by_code(status: int, body: ErrorBody) -> Reason | None:
    coded = _coded(body)
    if status == 402:
        return "money"
    if status in (401, 404):
        coded.discard("limit")
    reason = next((reason for reason in _ORDER if reason in coded), None)
    if reason == "used_up" and body.retry_s is not None and body.retry_s < LONG_S:
        return "limit"
    if reason == "limit" and _LONG_CONTEXT.search(body.message):
        return "too_large"
    if reason in ("limit", "unavailable") and status in (400, 413, 422) and _OVERFLOW.search(body.message):
        # Bedrock throttles with "too many tokens, please wait": the words of an overflow, and yet a limit.
        return None if _SLOW_DOWN.search(body.message) is None else reason
    return reason


def _by_words(status: int, body: ErrorBody, wait_s: float | None) -> Reason | None:
    text, broken = body.message, status >= 500
    if not text or status in (402, 407) or 300 <= status < 400:
        return None
    if status == 429:
        return _limit_in_words(text, wait_s)
    if (status in (400, 403, 422, 424) or broken) and _SLOW_DOWN.search(text):
        return "limit"
    if status in (400, 422) and _MAX_TOKENS_TOO_LARGE.search(text):
        return "request"
    if (status in (400, 413, 422, 424) or broken) and _OVERFLOW.search(text):
        return "overflow"
    reason = next((r for r, words, by in _WORDS if (by is None or status in by) and words.search(text)), None)
    if reason is None and status not in (401, 407, 413) and _BUSY.search(text):
        reason = "unavailable"
    # A server that answers 500 to a request it calls invalid would do so again.
    return reason or ("request" if broken and _INVALID & set(body.codes) else None)


def _limit_in_words(text: str, wait_s: float | None) -> Reason:
    """A 429 without a code. One that says when to come again is a limit, though it may advertise another plan."""
    if wait_s is None and _MONEY.search(text) and not _SLOW_DOWN.search(text):
        return "money"
    return "too_large" if wait_s is None and _LONG_CONTEXT.search(text) else "limit"


def _by_status(status: int, body: ErrorBody) -> Reason:
    if status == 429:
        return "limit"
    if status in (408, 409, 423, 424, 425, 498, 499) or status >= 500:
        return "unavailable"
    if status == 404:
        return "no_model" if body.param == "model" or "not_found_error" in body.codes else "no_route"
    by: Mapping[int, Reason] = {
        401: "key", 402: "money", 403: "forbidden", 405: "no_route", 407: "proxy", 413: "too_large", 451: "filtered",
    }  # fmt: skip
    return "redirect" if 300 <= status < 400 else by.get(status, "request")


def _advised(diagnosis: Diagnosis, status: int, body: ErrorBody) -> Diagnosis:
    """The diagnosis, with advice that fits this very refusal."""
    advice = diagnosis.advice
    if diagnosis.reason == "too_large" and body.requested is not None:
        advice = f"one request of {body.requested} tokens is more than its limit of {body.limit}: {advice}"
    elif diagnosis.reason == "too_large":
        advice = "the request is too large: use smaller chunks"
    elif diagnosis.reason == "money" and status == 402:
        advice = "check the account's billing"
    elif diagnosis.reason == "request" and _MAX_TOKENS_TOO_LARGE.search(body.message):
        advice = "use a smaller max_tokens, or ModelSpec(max_output=…)"
    return replace(diagnosis, advice=advice)
