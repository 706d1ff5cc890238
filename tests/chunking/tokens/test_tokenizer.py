"""The tokenizer is loaded without network, whatever the cache folder is like, and counts as tiktoken does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings

from mrengine.chunking.tokens import tokenizer
from mrengine.errors import ChunkingError
from tests.chunking.texts import nasty_text, recount

URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
ROOT = Path(__file__).parents[2]

# tiktoken asks for files over HTTP with requests only: without requests, it cannot.
_LOAD = (
    "import sys; sys.modules['requests'] = None; from mrengine.chunking.tokens import tokenizer as tokens; "
    "print(tokens.load(sys.argv[1]).encode_ordinary('hello <|endoftext|>'), 'numpy' in sys.modules)"
)


def _load_elsewhere(encoding: str, **environment: str) -> subprocess.Popen[str]:
    """A fresh interpreter that loads an encoding and says what it makes of a text."""
    folders = ("XDG_CACHE_HOME", "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
    inherited = {name: value for name, value in os.environ.items() if name not in folders}
    return subprocess.Popen(
        [sys.executable, "-c", _LOAD, encoding],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _assert_loads(*running: subprocess.Popen[str]) -> None:
    for process in running:
        out, err = process.communicate(timeout=60)
        assert out == f"{_encoded('hello <|endoftext|>')} False\n", err


def _encoded(text: str) -> list[int]:
    return tokenizer.load().encode_ordinary(text)


def _name(encoding: str) -> str:
    return hashlib.sha1(URL.format(encoding).encode()).hexdigest()


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_ranks_are_those_that_tiktoken_reads(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our fast reader gives the very dictionary that tiktoken's own gives, pattern and special tokens are
    tiktoken's.
    """
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert tokenizer._constructor(encoding)()["mergeable_ranks"]  # primes the folder
    from tiktoken_ext.openai_public import ENCODING_CONSTRUCTORS

    theirs = ENCODING_CONSTRUCTORS[encoding]()
    ours = tokenizer.load(encoding)
    assert ours._mergeable_ranks == theirs["mergeable_ranks"]
    assert list(ours._mergeable_ranks) == list(theirs["mergeable_ranks"])
    assert (ours._pat_str, ours._special_tokens) == (theirs["pat_str"], theirs["special_tokens"])
    assert tiktoken.get_encoding(encoding) is ours


def test_a_fresh_process_needs_no_network_and_fills_a_private_folder(tmp_path: Path) -> None:
    """The vocabulary comes from the data package, the file gets tiktoken's name and is for its owner alone."""
    _assert_loads(_load_elsewhere("o200k_base", XDG_CACHE_HOME=str(tmp_path)))
    folder = tmp_path / "mrengine" / "tiktoken"
    assert [path.name for path in folder.iterdir()] == [_name("o200k_base")]
    assert folder.stat().st_mode & 0o077 == 0


def test_two_processes_may_fill_the_folder_at_once(tmp_path: Path) -> None:
    """Files appear whole or not at all; nothing is left over."""
    _assert_loads(*(_load_elsewhere("o200k_base", XDG_CACHE_HOME=str(tmp_path)) for _ in range(3)))
    assert [path.name for path in (tmp_path / "mrengine" / "tiktoken").iterdir()] == [_name("o200k_base")]


def test_the_users_own_cache_folder_is_used(tmp_path: Path) -> None:
    """TIKTOKEN_CACHE_DIR is respected; empty, it means no cache."""
    own, unused = tmp_path / "own", tmp_path / "unused"
    _assert_loads(_load_elsewhere("o200k_base", TIKTOKEN_CACHE_DIR=str(own), XDG_CACHE_HOME=str(unused)))
    assert [path.name for path in own.iterdir()] == [_name("o200k_base")]
    _assert_loads(_load_elsewhere("o200k_base", TIKTOKEN_CACHE_DIR="", XDG_CACHE_HOME=str(unused)))
    assert not unused.exists()


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    """What fails tiktoken's hash is never used."""
    path = tmp_path / _name("o200k_base")
    path.write_bytes(b"aGVsbG8= 0\n")
    _assert_loads(_load_elsewhere("o200k_base", TIKTOKEN_CACHE_DIR=str(tmp_path)))
    assert path.stat().st_size > 3_000_000


def test_a_home_that_cannot_be_written_costs_nothing_but_time() -> None:
    """No folder, no error."""
    _assert_loads(_load_elsewhere("o200k_base", HOME="/proc/nowhere", XDG_CACHE_HOME="/proc/nowhere"))


def test_an_encoding_is_loaded_once() -> None:
    """Ask again, get the same."""
    assert tokenizer.load("cl100k_base") is tokenizer.load("cl100k_base")
    assert tokenizer.tokenizer("cl100k_base") is tokenizer.tokenizer("cl100k_base")


def test_an_unknown_encoding_names_the_known_ones() -> None:
    """As a ChunkingError."""
    with pytest.raises(ChunkingError, match="o200k_base"):
        tokenizer.load("o300k_base")


@settings(max_examples=200, deadline=None)
@given(nasty_text)
def test_a_count_is_tiktokens_own(text: str) -> None:
    """Special tokens are plain text; lone surrogates count as what tiktoken makes of them."""
    assert tokenizer.count(text) == recount(text)
    assert tokenizer.count(text, "cl100k_base") == recount(text, "cl100k_base")
    assert tokenizer.mend(text) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize(
    "text",
    [
        "All is well. " * 20_000,
        "中文，没有空格。" * 40_000,
        "a" * 150_000,
        " " * 250_000 + "x",
        "\ud83d" * 150_000,
        "\n" * 150_000,
    ],
)
def test_a_long_text_is_counted_in_parts_that_add_up(text: str) -> None:
    """As if it had been counted at once."""
    assert tokenizer.count(text) == recount(text)


def test_a_run_of_blanks_that_tiktoken_refuses_is_counted_all_the_same() -> None:
    """A run of n blanks takes about n/128 tokens; tiktoken's regular expression gives up on a million."""
    longest = " " * 128
    one, two = tokenizer.count(longest * 1000), tokenizer.count(longest * 2000)
    assert tokenizer.count(longest * 9000) == one + 8 * (two - one)
