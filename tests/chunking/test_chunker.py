"""The promises of safe_chunk, as properties."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mrengine.chunking import Chunker, safe_chunk
from mrengine.chunking.detect import _KINDS
from mrengine.errors import ChunkingError, SourceError
from mrengine.records import Chunk
from tests.chunking.texts import assert_promises, nasty_lengths, nasty_text, recount


@settings(max_examples=400, deadline=None)
@given(
    nasty_text,
    st.integers(4, 60),
    st.integers(0, 30),
    st.sampled_from(["o200k_base", "cl100k_base"]),
    st.sampled_from(["auto", *_KINDS]),
)
def test_chunks_tile_the_document_and_count_exactly(
    document: str, target: int, overlap: int, encoding: str, splitter: str
) -> None:
    """Whatever the text: joined it is the document, no chunk is over the limit, every count is tiktoken's own."""
    assume(overlap < target)
    options = {"target_tokens": target, "overlap_tokens": overlap, "encoding": encoding, "splitter": splitter}
    chunks = list(safe_chunk(document, **options))
    assert_promises(document, chunks, target, encoding)


@settings(max_examples=60, deadline=None)
@given(nasty_text, st.integers(1, 4))
def test_tiny_limits_work_or_say_which_character_is_too_large(document: str, target: int) -> None:
    """A limit of a few tokens still tiles, unless one character alone takes more."""
    largest = max((recount(char) for char in document), default=0)
    if largest <= target:
        assert_promises(document, list(safe_chunk(document, target_tokens=target, overlap_tokens=0)), target)
    else:
        with pytest.raises(ChunkingError, match="more than target_tokens") as caught:
            list(safe_chunk(document, target_tokens=target, overlap_tokens=0))
        assert caught.value.facts["tokens"] > target


@settings(max_examples=60, deadline=None)
@given(nasty_text, st.lists(st.integers(1, 50), max_size=6), st.integers(8, 60))
def test_the_same_text_gives_the_same_chunks_whatever_it_comes_from(
    tmp_path_factory: pytest.TempPathFactory, document: str, sizes: list[int], target: int
) -> None:
    """str, bytes, Path, text file, binary file, iterator of arbitrary pieces: equal chunks."""
    data = document.encode("utf-8", "surrogatepass")
    assume(data.decode("utf-8", "surrogatepass") == document)
    path = tmp_path_factory.mktemp("source") / "document.txt"
    path.write_bytes(data)
    pieces, rest = [], document
    for size in sizes:
        pieces, rest = [*pieces, rest[:size]], rest[size:]
    forms = (data, path, io.StringIO(document, newline=""), io.BytesIO(data), iter([*pieces, rest]))
    options = {"target_tokens": target, "overlap_tokens": target // 4}
    expected = list(safe_chunk(document, **options))
    for form in forms:
        assert list(safe_chunk(form, **options)) == expected


@pytest.mark.parametrize("name", nasty_lengths(100))
def test_a_nasty_long_text_ends_soon_and_keeps_the_promises(name: str) -> None:
    """No input takes more than linear time: at the very most 40 times tiktoken's for a tame text of that length."""
    _assert_linear(name, 200_000)


@pytest.mark.system
@pytest.mark.parametrize("name", nasty_lengths(100))
def test_a_nasty_megabyte_ends_soon_and_keeps_the_promises(name: str) -> None:
    """The same, long enough for tiktoken to fail where it is not helped."""
    _assert_linear(name, 1_100_000)


def _assert_linear(name: str, size: int) -> None:
    sentence = "All is well with this text, says 1 reader. "
    tame = _cpu_s(lambda: recount(sentence * (size // len(sentence))))
    document = nasty_lengths(size)[name]
    chunks: list[Chunk] = []
    assert _cpu_s(lambda: chunks.extend(safe_chunk(document))) < 40 * max(tame, 0.02)
    assert_promises(document, chunks, 6000)


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_no_target_gives_one_chunk_with_an_exact_count() -> None:
    """target_tokens=None: the document is the chunk."""
    text = "One. Two.\n" * 50_000
    (chunk,) = safe_chunk(text, target_tokens=None)
    assert_promises(text, [chunk], 10**9)


def test_a_document_id_and_a_first_id_number_the_chunks() -> None:
    """The engine numbers chunks over many documents."""
    chunks = list(Chunker(target_tokens=20, overlap_tokens=0).chunk("word " * 100, document_id="d7", first_id=40))
    assert [chunk.id for chunk in chunks] == list(range(40, 40 + len(chunks)))
    assert {chunk.document_id for chunk in chunks} == {"d7"}


def test_an_empty_document_has_no_chunks() -> None:
    """Nothing to tile."""
    assert list(safe_chunk("")) == []
    assert list(safe_chunk(iter(()))) == []


@pytest.mark.parametrize(
    "options",
    [
        {"target_tokens": 0},
        {"target_tokens": -5},
        {"target_tokens": 2.5},
        {"target_tokens": True},
        {"target_tokens": 350},
        {"target_tokens": 100, "overlap_tokens": 200},
        {"overlap_tokens": -1},
        {"encoding": "o300k"},
        {"encoding": None},
        {"splitter": "poetry"},
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(options: dict[str, object]) -> None:
    """ChunkingError, with the facts, before anything is read."""
    with pytest.raises(ChunkingError) as caught:
        safe_chunk("text", **options)  # type: ignore[arg-type]
    assert caught.value.facts
    assert all(getattr(caught.value, name) == value for name, value in caught.value.facts.items())


@pytest.mark.parametrize(("data", "offset"), [(b"\xff\xff", 0), (b"fine \x81 \x8d", 5), (b"cut \xe2\x82", 4)])
def test_undecodable_bytes_are_a_source_error_with_the_offset(data: bytes, offset: int, tmp_path: Path) -> None:
    """The place is told, in bytes, and no byte of the document is in the message."""
    path = tmp_path / "latin.txt"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data)):
        with pytest.raises(SourceError) as caught:
            list(safe_chunk(source))
        assert caught.value.offset == offset


def test_a_missing_file_is_a_source_error() -> None:
    """And names the file."""
    with pytest.raises(SourceError, match=r"nowhere\.txt"):
        list(safe_chunk(Path("nowhere.txt")))


@pytest.mark.parametrize("document", [7, None, [b"bytes"], 1.5])
def test_what_is_no_document_is_a_source_error(document: object) -> None:
    """A clear error names the type."""
    with pytest.raises(SourceError, match=r"type|not") as caught:
        list(safe_chunk(document))
    assert caught.value.source in ("int", "NoneType", "bytes", "float")


def test_a_limit_before_the_first_safe_cut_is_not_underfilled() -> None:
    """Where no safe cut is near, the edges still tell about how far the limit reaches."""
    text = '[null,{"0\x95\U00015180":"0\x7f0\x7f\ud7c00\ue040\U00010000\U00013b56"},null]'
    chunks = list(safe_chunk(text, target_tokens=30, overlap_tokens=0, splitter="json"))
    assert_promises(text, chunks, 30)
    assert [chunk.end for chunk in chunks] == [6, 26, len(text)]


@pytest.mark.parametrize(
    ("first", "wanted"),
    [
        # The first call of a process, whatever its text, is the one that is slow: each document after it is like any.
        ("safe_chunk('hello')", True),
        # A job whose documents fit, or are not cut at all, has no use for it.
        ("list(Chunker().chunk('hello'))", False),
        ("list(safe_chunk('hello ' * 100_000, target_tokens=None))", False),
        ("list(Chunker(target_tokens=10, overlap_tokens=0).chunk('hello ' * 20))", True),
    ],
)
def test_what_cutting_needs_is_loaded_with_the_first_call_or_not_at_all(first: str, wanted: bool) -> None:
    """In a process of its own."""
    script = f"import sys; from mrengine.chunking import Chunker, safe_chunk; {first}; print('numpy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == f"{wanted}\n"
