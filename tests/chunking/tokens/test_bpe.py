"""The optional second encoder gives tiktoken's own tokens, and is used where it is installed."""

from __future__ import annotations

import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.chunking import safe_chunk
from mrengine.chunking.tokens import bpe, tokenizer
from tests.chunking.texts import assert_promises, nasty_lengths, nasty_text

pytest.importorskip("bpe_openai._bindings", reason="extra bpe")

ENCODINGS = ["o200k_base", "cl100k_base"]


@pytest.fixture(name="tiktoken_alone")
def _tiktoken_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ENCODINGS:
        monkeypatch.setattr(tokenizer.tokenizer(encoding), "_bpe", None)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_it_agrees_with_tiktoken(encoding: str) -> None:
    """Token by token, on nasty texts and on random ones of all of Unicode."""
    second = tokenizer.tokenizer(encoding)._bpe
    assert second is not None
    theirs = tokenizer.load(encoding).encode_ordinary

    def agree(text: str) -> None:
        mended = tokenizer.mend(text)
        assert second.encode(mended) == theirs(mended)
        assert second.count(mended) == len(theirs(mended))

    settings(max_examples=300, deadline=None)(given(nasty_text)(agree))()
    chance = random.Random(encoding)
    for _ in range(300):
        agree("".join(chr(chance.randrange(0x110000)) for _ in range(60)))


@pytest.mark.parametrize("name", nasty_lengths(100))
def test_it_agrees_on_long_monotony(name: str) -> None:
    """One letter, one blank, one mark, thousands of times."""
    text = tokenizer.mend(nasty_lengths(30_000)[name])
    second = tokenizer.tokenizer("o200k_base")._bpe
    assert second is not None
    assert second.encode(text) == tokenizer.load().encode_ordinary(text)


@settings(max_examples=100, deadline=None)
@given(nasty_text, st.integers(8, 60), st.sampled_from(ENCODINGS))
def test_chunks_are_the_same_with_it_and_without(text: str, target: int, encoding: str) -> None:
    """Who has the extra gets nothing else, only sooner."""
    options: dict[str, Any] = {"target_tokens": target, "overlap_tokens": target // 4, "encoding": encoding}
    chunks = list(safe_chunk(text, **options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer.tokenizer(encoding), "_bpe", None)
        assert list(safe_chunk(text, **options)) == chunks


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_long_texts_keep_the_promises_without_it(encoding: str, tiktoken_alone: None) -> None:
    """Blocks, windows and seams."""
    for text in ("我们今天讨论了。A sentence, 12 words.\n" * 9000, "a" * 150_000 + " " * 150_000 + "\ud83d" * 90_000):
        chunks = list(safe_chunk(text, target_tokens=900, overlap_tokens=40, encoding=encoding))
        assert_promises(text, chunks, 900, encoding)


def _other(**parts: Any) -> SimpleNamespace:
    return SimpleNamespace(supported_encodings=lambda: ENCODINGS, **parts)


@pytest.mark.parametrize(
    "bindings",
    [
        None,  # not installed
        SimpleNamespace(),  # other names
        _other(tokenizer_for_encoding=lambda _: SimpleNamespace(encode=lambda _: [1, 2], count=lambda _: 2)),
        _other(tokenizer_for_encoding=lambda _: SimpleNamespace(encode=lambda _: 7)),
    ],
)
def test_a_version_that_does_not_agree_is_not_used(bindings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it, tiktoken does the work."""
    monkeypatch.setattr(bpe, "_bindings", lambda: bindings)
    assert bpe.load("o200k_base", tokenizer.load().encode_ordinary) is None


def test_an_encoding_that_it_does_not_have_is_tiktokens() -> None:
    """None, and no error."""
    assert bpe.load("no_such_base", tokenizer.load().encode_ordinary) is None


def test_the_package_itself_is_not_imported() -> None:
    """It would take half a second for what is not needed; importing it later works all the same."""
    code = (
        "import sys; "
        "from mrengine.chunking.tokens import tokenizer as tokens; "
        "tokens.count('x'); print('bpe_openai' in sys.modules); "
        "import bpe_openai; print(tokens.tokenizer('o200k_base')._bpe is not None)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == (
        "False\nTrue\n"
    )
