"""The optional second encoder gives tiktoken's own tokens, and is loaded only when it pays."""

from __future__ import annotations

import random
from array import array

import numpy  # noqa: F401 - the path with numpy is the one that may take the second encoder
import pytest
from hypothesis import given, settings

from mrengine.chunking import faster, safe_chunk, tokens
from mrengine.chunking.faster import Faster
from tests.chunking.texts import assert_promises, nasty_text


def test_nothing_is_loaded_before_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then tiktoken is asked; where it is not installed, always."""
    loaded: list[str] = []
    monkeypatch.setattr(faster, "_load", lambda encoding: loaded.append(encoding))
    encoder = Faster("o200k_base", pays_from=10)
    assert encoder.tokens("123456") is None
    assert not loaded
    assert encoder.tokens("123456") is None
    assert encoder.tokens("123456") is None
    assert loaded == ["o200k_base"]


def test_its_tokens_are_used_for_text_that_is_not_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are the same, whoever encoded."""
    encode = tokens.load().encode_ordinary
    asked: list[int] = []

    def stand_in(text: str) -> array[int]:
        asked.append(len(text))
        return array("I", encode(text))

    text = "我们今天讨论了一个重要的问题。A sentence in English.\n" * 3000
    expected = list(safe_chunk(text, target_tokens=300, overlap_tokens=40))
    monkeypatch.setattr(tokens.tokenizer("o200k_base")._faster, "tokens", stand_in)
    chunks = list(safe_chunk(text, target_tokens=300, overlap_tokens=40))
    assert chunks == expected
    assert len(text) - 9 < sum(asked) <= len(text)  # the last few characters are ASCII alone
    assert_promises(text, chunks, 300)


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_bpe_openai_agrees_with_tiktoken(encoding: str) -> None:
    """Token by token, on nasty texts and on random ones of all of Unicode."""
    pytest.importorskip("bpe_openai")
    encode = faster._load(encoding)
    assert encode is not None
    theirs = tokens.load(encoding).encode_ordinary

    @settings(max_examples=300, deadline=None)
    @given(nasty_text)
    def agree(text: str) -> None:
        mended = tokens.mend(text)
        assert encode(mended) == theirs(mended)

    agree()
    chance = random.Random()
    for _ in range(300):
        text = "".join(chr(chance.randrange(0x110000)) for _ in range(60))
        agree.hypothesis.inner_test(text)  # type: ignore[attr-defined]
