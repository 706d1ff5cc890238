"""Documents of every kind become the same stream of blocks, in bounded memory."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.chunking import safe_chunk
from mrengine.errors import SourceError
from mrengine.sources import opening
from mrengine.sources.filetypes import not_text
from mrengine.sources.opening import BLOCK, blocks
from tests.chunking.texts import nasty_text

_MEASURE = """
import sys
from pathlib import Path
from mrengine.chunking import safe_chunk
from mrengine.chunking.tokens import tokenizer as tokens

def peak_kb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

tokens.load()
before = peak_kb()
length = sum(len(chunk.text) - chunk.overlap for chunk in safe_chunk(Path(sys.argv[1])))
print(length, peak_kb() - before)
"""


@settings(max_examples=100, deadline=None)
@given(nasty_text, st.integers(1, 40))
def test_blocks_are_the_text_in_equal_parts(text: str, size: int) -> None:
    """All but the last have the size, whatever the document is."""
    data = text.encode("utf-8", "surrogatepass")
    expected = [text[begin : begin + size] for begin in range(0, len(text), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BLOCK", size)
        for document in (text, io.StringIO(text, newline=""), iter(text), iter([text[:3], "", text[3:]])):
            assert [block for block in blocks(document) if block] == expected
        if data.decode("utf-8", "surrogatepass") == text and not_text(data) is None:
            for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
                assert [block for block in blocks(source) if block] == expected


def test_a_path_keeps_line_ends_and_the_byte_order_mark(tmp_path: Path) -> None:
    """What the file holds is the document."""
    path = tmp_path / "mixed.txt"
    path.write_bytes("\ufeffone\r\ntwo\rthree\n\0".encode())
    assert "".join(blocks(path)) == "\ufeffone\r\ntwo\rthree\n\0"


def test_no_more_is_read_than_is_asked_for() -> None:
    """An endless iterator gives its first block."""

    def endless() -> Iterator[str]:
        while True:
            yield "word " * 1000

    assert len(next(blocks(endless()))) == BLOCK


class _Failing(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    "document", [_Failing(), io.TextIOWrapper(io.BytesIO(b"\xe4"), "utf-8"), ["a", 7], Path("/"), object(), 3]
)
def test_what_cannot_be_read_is_a_source_error(document: object) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(SourceError):
        list(blocks(document))


def test_memory_is_bounded(tmp_path: Path) -> None:
    """30 MB stream through in under 60 MB above the loaded encoder."""
    _assert_bounded(tmp_path, 30)


@pytest.mark.system
def test_memory_is_bounded_for_a_large_file(tmp_path: Path) -> None:
    """And 300 MB in no more."""
    _assert_bounded(tmp_path, 300)


@pytest.mark.parametrize(
    ("splitter", "unit"),
    [
        ("prose", "A sentence – and a second one. " * 9 + "\n\n"),
        ("markdown", "# Title\n\n```python\nprint(1)\n```\n\n- an item\n\n~~~\n```\n~~~\n"),
        ("code", "class A:\n    def run(self):\n        return 1\n\n\n" * 3),
        ("json", '{"id": 17, "tags": ["a", {"b": "c"}], "note": "words and words"}\n' * 3),
        ("dicom", "(0008,0016) SOP Class UID  UI: CT Image Storage\n(0010,0010) Patient's Name  PN: 'Test^One'\n"),
    ],
    ids=["prose", "markdown", "code", "json", "dicom"],
)
def test_nothing_is_kept_of_what_was_cut(splitter: str, unit: str) -> None:
    """Whatever the kind, the later half of a document leaves no more objects alive than the first."""
    piece = unit * (200_000 // len(unit))
    chunks = safe_chunk(itertools.repeat(piece, 30), target_tokens=300, overlap_tokens=30, splitter=splitter)
    alive: dict[int, int] = {}
    for chunk in chunks:
        alive[10 * chunk.start // (30 * len(piece))] = sys.getallocatedblocks()
    # Thousands of chunks lie between the two; the rest is the size of the window.
    assert alive[9] < alive[4] + 1000


def _assert_bounded(folder: Path, megabytes: int) -> None:
    path = folder / "large.txt"
    megabyte = ("All is well with this text, says the reader — 1 of many. " * 20 + "\n\n") * 880
    with path.open("w", encoding="utf-8") as file:
        for _ in range(megabytes):
            file.write(megabyte)
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    length, kilobytes = map(int, measured.stdout.split())
    assert length == megabytes * len(megabyte)
    assert kilobytes < 60_000
