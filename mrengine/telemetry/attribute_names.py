"""The names in traces and metrics: those of OpenTelemetry's semantic conventions for generative AI, and our own.

The conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/. Names beyond them begin with "mrengine.".
"""

from __future__ import annotations

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105
ERROR_TYPE = "error.type"

TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105
DURATION = "gen_ai.client.operation.duration"
# The buckets that the conventions advise.
TOKEN_BUCKETS = tuple(float(4**power) for power in range(14))
DURATION_BUCKETS = tuple(0.01 * 2**power for power in range(14))

JOB = "mrengine.job.id"
STATE = "mrengine.job.state"
ROUND = "mrengine.round"
TASKS = "mrengine.tasks"
CHUNK = "mrengine.chunk.id"
ATTEMPT = "mrengine.attempt"
WORKER = "mrengine.worker.id"
OUTCOME = "mrengine.outcome"
COST = "mrengine.cost"
RETRIES = "mrengine.retries"
RETRY_OF = "mrengine.retry.of"
WAIT = "mrengine.limit.wait"
CRASHES = "mrengine.worker.crashes"

PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "local": "llama_cpp"}
