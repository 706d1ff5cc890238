"""Edges found by pretokens are the tokenizer's own: in all small contexts, on nasty texts, whatever came before."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from itertools import accumulate, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.chunking import safe_chunk
from mrengine.chunking.tokens import pretoken_cache, token_ends, tokenizer
from tests.chunking.texts import PIECES, assert_promises, nasty_text

ENCODINGS = ["o200k_base", "cl100k_base"]
# One or two of each class, all that a contraction is made of, and ASCII that Python takes for blanks, tiktoken not.
ASCII = "aAbsStTrReEvVlLmMdD0129  \t\v\f\n\n\r//''.,-(\"_\x1c\x7f"
OTHER = "é—\u3000\xa0\x85中の，ſÉ😀"

ascii_text = st.lists(
    st.one_of(
        st.sampled_from([piece for piece in PIECES if piece.isascii() and "\0" not in piece]),
        st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=8),
        st.builds(lambda piece, n: piece * n, st.sampled_from([*ASCII]), st.integers(1, 40)),
    ),
    min_size=1,
    max_size=40,
).map("".join)


@pytest.fixture(name="short_texts", params=ENCODINGS)
def _short_texts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An encoding's Edges, which leave no text to the tokenizer for its length or for its many words."""
    monkeypatch.setattr(token_ends, "_LEAST", 1)
    monkeypatch.setattr(token_ends, "_MANY", 1)
    return token_ends.TokenEnds(tokenizer.tokenizer(request.param))


def wanted(found: token_ends.TokenEnds, text: str) -> list[int]:
    """The edges by tiktoken's own tokens."""
    encoding = found._tokenizer.encoding
    tokens_of = map(encoding.decode_single_token_bytes, encoding.encode_ordinary(text))
    return list(accumulate(sum(byte & 0xC0 != 0x80 for byte in token) for token in tokens_of))


def test_every_context_of_five_characters(short_texts: token_ends.TokenEnds) -> None:
    """All strings of five of these, one after another, a million and more in the long texts that they make."""
    for alphabet in ("aA'sd0 \n", "a/.'\n\r l", "A \t\n/.0e", "'lLvVeE ", "a0 1.\n"):
        text = "".join(map("".join, product(alphabet, repeat=5)))
        found = short_texts._ascii(text.encode())
        assert found is not None
        assert found.tolist() == wanted(short_texts, text)


def test_texts_at_random(short_texts: token_ends.TokenEnds) -> None:
    """Long ones of a few characters, so that runs of all lengths stand beside each other."""
    chance = random.Random(7)
    taken = 0
    for _ in range(150):
        alphabet = chance.choices(ASCII, k=chance.randrange(3, 16))
        text = "".join(chance.choices(alphabet, k=5000))
        found = short_texts._ascii(text.encode())
        if found is not None:
            taken += 1
            assert found.tolist() == wanted(short_texts, text)
    assert taken > 100


def test_texts_that_are_ascii_but_for_some_words(short_texts: token_ends.TokenEnds) -> None:
    """They are taken apart and put together again."""
    chance = random.Random(8)
    taken = 0
    for _ in range(150):
        alphabet = "   a" + "".join(chance.choices(ASCII, k=chance.randrange(2, 9)))
        odd = chance.choices(OTHER, k=2)
        text = "".join(chance.choice(odd if chance.random() < 0.02 else alphabet) for _ in range(5000))
        found = short_texts._apart(text.encode(), len(text))
        if found is not None:
            taken += 1
            assert found.tolist() == wanted(short_texts, text)
    assert taken > 75


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nasty_texts(encoding: str) -> None:
    """As they come, short as they are."""
    found = token_ends.TokenEnds(tokenizer.tokenizer(encoding))
    assert found._pretokens is not None

    def agree(text: str) -> None:
        assert found.of(tokenizer.mend(text)).tolist() == wanted(found, tokenizer.mend(text))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_ends, "_LEAST", 1)
        patch.setattr(token_ends, "_MANY", 1)
        settings(max_examples=400, deadline=None)(given(ascii_text)(agree))()
        settings(max_examples=200, deadline=None)(given(nasty_text)(agree))()


@settings(max_examples=100, deadline=None)
@given(ascii_text, st.integers(8, 60), st.sampled_from(ENCODINGS))
def test_chunks_are_the_same_with_and_without(text: str, target: int, encoding: str) -> None:
    """Nobody can tell from the chunks how the edges were found."""
    options: dict[str, Any] = {"target_tokens": target, "overlap_tokens": target // 4, "encoding": encoding}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_ends, "_LEAST", 1)
        found = list(safe_chunk(text, **options))
        patch.setattr(token_ends.TokenEnds, "_ascii", lambda self, data: None)
        assert list(safe_chunk(text, **options)) == found
    assert_promises(text, found, target, encoding)


def test_what_it_remembers_is_bounded(short_texts: token_ends.TokenEnds, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of ever new words makes it forget, not grow; what follows is as right as before."""
    chance = random.Random(9)
    small = 200_000
    monkeypatch.setattr(token_ends, "_MOST_STORED", small)
    for _ in range(30):
        text = " ".join("".join(chance.choices("abcdefgh", k=chance.randrange(3, 24))) for _ in range(500))
        assert short_texts._ascii(text.encode()).tolist() == wanted(short_texts, text)
        assert short_texts._pretoken_cache.stored < small + 500 * 300
        assert len(short_texts._pretoken_cache._long) < small // 128 + 500


def test_pretokens_that_share_a_place(short_texts: token_ends.TokenEnds, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tables of four places nearly all collide."""
    monkeypatch.setattr(pretoken_cache, "_SLOTS", 1)
    short_texts._pretoken_cache = pretoken_cache.PretokenCache(short_texts._tokenizer, short_texts._widths)
    chance = random.Random(10)
    for _ in range(20):
        text = " ".join("".join(chance.choices("abAB01", k=chance.randrange(1, 20))) for _ in range(300))
        assert short_texts._ascii(text.encode()).tolist() == wanted(short_texts, text)


def test_an_interrupt_leaves_no_wrong_entry(short_texts: token_ends.TokenEnds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between any two steps of remembering: what is asked afterwards is right."""
    text = "alpha betaGamma deltaEpsilon zetaetatheta iotakappalambda " * 9
    right = wanted(short_texts, text)
    for steps in range(400):
        short_texts._pretoken_cache = pretoken_cache.PretokenCache(short_texts._tokenizer, short_texts._widths)
        left = [steps]

        def trace(frame: Any, event: str, _argument: Any, left: list[int] = left) -> Any:
            if frame.f_code.co_filename == pretoken_cache.__file__ and event == "line":
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            short_texts._ascii(text.encode())
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert short_texts._ascii(text.encode()).tolist() == right


def test_a_second_thread_is_not_kept_waiting(short_texts: token_ends.TokenEnds) -> None:
    """It tokenises instead."""
    text = "one two three " * 10
    with short_texts._busy:
        assert short_texts._ascii(text.encode()) is None
        assert short_texts.of(text).tolist() == wanted(short_texts, text)
    assert short_texts._ascii(text.encode()) is not None


def test_threads_get_the_same_chunks() -> None:
    """Eight of them at once, in one process."""
    chance = random.Random(11)
    texts = [
        " ".join(chance.choices(["word", "Word's", "x1", "longerWordsHere", "12345", "\n"], k=30_000)) for _ in range(8)
    ]
    alone = [list(safe_chunk(text, target_tokens=500, overlap_tokens=20)) for text in texts]
    together: list[Any] = [None] * len(texts)

    def work(number: int) -> None:
        together[number] = list(safe_chunk(texts[number], target_tokens=500, overlap_tokens=20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


@pytest.mark.parametrize(
    "text", ["\n \n" * 9000, "word\0 " * 9000, "a" * 9000, "=" * 9000], ids=["blanks", "nul", "word", "rule"]
)
def test_odd_texts_are_left_to_the_tokenizer(text: str) -> None:
    """Those of mostly blank lines, with NULs, or of endless words."""
    found = token_ends.TokenEnds(tokenizer.tokenizer("o200k_base"))
    assert found._pretokens is not None
    assert found._ascii(text.encode()) is None
    assert found.of(text).tolist() == wanted(found, text)


def test_other_expressions_are_left_to_the_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The older encodings have another one; and one that has changed is noticed by the sample."""
    for encoding in ENCODINGS:
        known = tokenizer.tokenizer(encoding)
        assert token_ends.TokenEnds(known)._pretokens is not None
        monkeypatch.setitem(token_ends._MODERN, encoding, not token_ends._MODERN[encoding])
        assert token_ends.TokenEnds(known)._pretokens is None
        monkeypatch.delitem(token_ends._MODERN, encoding)
        assert token_ends.TokenEnds(known)._pretokens is None


def test_a_child_forked_at_any_moment_can_go_on() -> None:
    """While a thread is in the middle of finding edges: nothing waits for ever in the child."""
    program = """
import os, threading
from mrengine.chunking import safe_chunk
from mrengine.chunking.tokens import tokenizer as tokens
text = "Some words, some moreWords and 12345 " * 6000
first = [c.tokens for c in safe_chunk(text, target_tokens=300, overlap_tokens=0)]
stop = threading.Event()
def work():
    while not stop.is_set():
        list(safe_chunk(text, target_tokens=300, overlap_tokens=0))
thread = threading.Thread(target=work); thread.start()
for _ in range(12):
    child = os.fork()
    if not child:
        os._exit([c.tokens for c in safe_chunk(text, target_tokens=300, overlap_tokens=0)] != first)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set(); thread.join()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_sizes_stand_by_the_tokens_numbers() -> None:
    """Whatever their order; a number that no token has, such as a special one's, takes nothing."""
    widths, characters = token_ends._sizes({b"abc": 4, "é".encode(): 0, b"\xa9": 2, "—x".encode(): 5})
    assert widths.tolist() == [2, 0, 1, 0, 3, 4]
    assert characters.tolist() == [1, 0, 0, 0, 3, 2]
