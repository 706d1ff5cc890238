"""Facts about the embedded model: its window, the chunks it is good for, its limit, its server.

The http provider makes the calls: llama.cpp's server speaks the OpenAI protocol, and applies the chat template of the
model's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrengine.providers.local.model_file import is_embedded, locate
from mrengine.providers.local.server_process import ModelServer
from mrengine.records import RateLimit

__all__ = ["CONTEXT_WINDOW", "LIMITS", "TARGET_TOKENS", "model_server"]

# What SmolLM2 was trained for, prompt and answer together, in tokens of its own: English text has about 1.2 of them for
# each one of o200k_base.
CONTEXT_WINDOW = 8192
TARGET_TOKENS = 240  # of o200k_base in a chunk: the model summarises a paragraph soundly, and a page badly
# The server computes one call at a time; others would wait in it, where no timeout can tell waiting from work.
LIMITS = RateLimit(concurrent=1)
# Greedy, so that an answer can be repeated. A small greedy model falls into loops: DRY lowers the chance of repeating
# the last few words, and unlike a repetition penalty it leaves names and numbers of the text alone.
_SAMPLING: Mapping[str, float | int] = {
    "temp": 0.0,
    "dry_multiplier": 0.8,
    "dry_allowed_length": 5,
    "dry_penalty_last_n": 64,
}


def model_server(name: str, *, context_window: int | None = None, **settings: Any) -> ModelServer:
    """The server, not yet started, of "local" or "local:/path/to/model.gguf".

    The model's file must be there already (``local_model.ensure``, in the host): ConfigError where it is not.
    ``context_window`` is in tokens; ``settings`` are those of ``ModelServer``.
    """
    path = locate(name)
    alias, sampling = ("local", _SAMPLING) if is_embedded(name) else (path.name, {})
    window = context_window or CONTEXT_WINDOW
    return ModelServer(path, alias=alias, context_window=window, sampling=sampling, **settings)
