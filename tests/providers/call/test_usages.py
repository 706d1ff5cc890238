"""Usage in the forms in which clients give it: real types of the SDKs, dicts, numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anthropic.types
import openai.types
import openai.types.chat
import pytest

from mrengine.errors import ConfigError
from mrengine.providers.call.usages import usage_of
from mrengine.records import Completion, Usage

CHAT = openai.types.CompletionUsage.model_validate(
    {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}}
)
MESSAGE = anthropic.types.Usage.model_validate(
    {"input_tokens": 6, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 1}
)
CHAIN = {"input_tokens": 5, "output_tokens": 3, "input_token_details": {"cache_read": 2}}


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        (Usage(1, 2, 1), Usage(1, 2, 1)),
        (Completion("x", usage=Usage(1, 2)), Usage(1, 2)),
        (7, Usage(7, 0)),
        (CHAT, Usage(10, 2, 4)),
        (CHAT.model_dump(), Usage(10, 2, 4)),
        (SimpleNamespace(usage=CHAT), Usage(10, 2, 4)),
        ({"usage": CHAT.model_dump()}, Usage(10, 2, 4)),
        (MESSAGE, Usage(10, 2, 3, 1)),
        (MESSAGE.model_dump(), Usage(10, 2, 3, 1)),
        ({"input_tokens": 5, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}, Usage(5, 3, 2)),
        (SimpleNamespace(usage_metadata=CHAIN), Usage(5, 3, 2)),
        ({"prompt_token_count": 5, "candidates_token_count": 3, "total_token_count": 20}, Usage(5, 15, 0, 0, 12)),
        ({"prompt_tokens": 9}, Usage(9, 0)),
        ({"total_tokens": 9}, Usage(9, 0)),
    ],
)  # fmt: skip
def test_what_clients_say_is_understood(said: Any, usage: Usage) -> None:
    """Cached tokens are a part of the input, thinking a part of the output."""
    assert usage_of(said) == usage


@pytest.mark.parametrize("said", [None, "12", True, -1, 1.5, {}, {"tokens": 3}, object(), [1, 2]])
def test_what_has_no_count_is_reported(said: Any) -> None:
    """By its type, for it may hold an answer."""
    with pytest.raises(ConfigError, match=type(said).__name__):
        usage_of(said)
