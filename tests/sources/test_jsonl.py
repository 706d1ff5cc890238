"""JSON Lines: each fault is told with path and line, and never with the text."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest

from mrengine import read_jsonl
from mrengine.errors import SourceError
from mrengine.records import Document


def _read(folder: Path, data: str | bytes, **fields: str) -> list[Document]:
    path = folder / "visits.jsonl"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_jsonl(path, **fields))


def test_a_line_is_a_document(tmp_path: Path) -> None:
    """A byte order mark, CRLF, blank lines and other separators of Unicode are no part of it, and no end."""
    found = _read(tmp_path, '\ufeff{"t": "a\u2028b", "i": 7}\r\n\n{"t": "", "i": "x"}', id="i", text="t")
    assert found == [Document("7", "a\u2028b"), Document("x", "")]
    assert _read(tmp_path, '\ufeff{"t": 1}\r\n\n[2]') == [Document("1", '{"t": 1}'), Document("3", "[2]")]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"i": "b", "t": "secret"', "not JSON"),
        ("secret", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 10_000, "a number that is too long"),
        ('["secret"]', "a list and no object"),
        ('{"i": "b"}', "no field 't'"),
        ('{"t": "secret"}', "no field 'i'"),
        ('{"i": "b", "t": null}', "the text in 't' is null"),
        ('{"i": "b", "t": 5}', "the text in 't' is a number"),
        ('{"i": null, "t": "secret"}', "the id in 'i' is null"),
        ('{"i": true, "t": "secret"}', "the id in 'i' is a boolean"),
        ('{"i": "", "t": "secret"}', "the id in 'i' is empty"),
        ('{"i": "a", "t": "secret"}', "the id 'a' is that of line 1, too"),
    ],
)
def test_a_fault_is_reported_with_path_and_line(tmp_path: Path, line: str, told: str) -> None:
    """What is wrong, and no word of the text."""
    with pytest.raises(SourceError) as caught:
        _read(tmp_path, '{"i": "a", "t": "x"}\n\n' + line + "\n", id="i", text="t")
    assert str(caught.value).startswith(f"{tmp_path / 'visits.jsonl'}, line 3: ")
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (caught.value.source, caught.value.line) == (str(tmp_path / "visits.jsonl"), 3)


def test_a_file_that_is_none_is_a_source_error(tmp_path: Path) -> None:
    """Missing, undecodable, of another kind: what every reader says."""
    with pytest.raises(SourceError, match=r"nowhere\.jsonl"):
        list(read_jsonl("nowhere.jsonl"))
    with pytest.raises(SourceError, match=r"not UTF-8 at byte 13 \(line 2\)") as caught:
        _read(tmp_path, b'{"t": "a"}\n{"\xe4": 1}')
    assert caught.value.line == 2
    with pytest.raises(SourceError, match="UTF-16"):
        _read(tmp_path, '{"t": "a"}\n'.encode("utf-16-le"))
    with pytest.raises(SourceError, match="bzip2"):
        _read(tmp_path, bz2.compress(b'{"t": "a"}\n'))


def test_it_may_be_packed_and_in_another_encoding(tmp_path: Path) -> None:
    line = '{"t": "Größe"}\n'
    for data in (line.encode("utf-16"), gzip.compress(line.encode())):
        assert _read(tmp_path, data, text="t") == [Document("1", "Größe")]
