"""What is no text is refused by what it is, with the way out; what is text is not."""

from __future__ import annotations

import bz2
import io
import lzma
import pickle
import random
import re
import sqlite3
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from mrengine.errors import SourceError
from mrengine.sources import read_source
from mrengine.sources.filetypes import not_text

WORDS = {
    "German": "Größe und Gewicht des Patienten: 180 cm, 75 kg.\n",
    "Chinese": "患者昨天体温正常，今天咳嗽加重。医生建议休息，明天再来。",
    "Japanese": "日本語です。患者さんは熱があります。咳もひどいです。",
    "Russian": "Больной спал хорошо, температура упала.\n",
    "English": "The fever fell on Tuesday.\n",
}
LEGACY = ("latin1", "cp1251", "koi8-r", "gb18030", "big5", "shift-jis", "euc-jp", "euc-kr")


def _zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "<xml/>" * 50)
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("notes.txt"), io.BytesIO(b""))
    return file.getvalue()


def _sqlite(folder: Path) -> bytes:
    with sqlite3.connect(folder / "db") as db:
        db.execute("create table notes (text)")
    db.close()
    return (folder / "db").read_bytes()


def _png() -> bytes:
    row = zlib.compress(b"\0" * 4)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s13s", 13, b"IHDR", b"\0" * 13) + b"\0" * 4 + row


SAMPLES = {
    "bzip2 data": bz2.compress(b"notes"),
    "xz data": lzma.compress(b"notes"),
    "a 7z archive": b"7z\xbc\xaf\x27\x1c\x00\x04" + b"\0" * 24,
    "a RAR archive": b"Rar!\x1a\x07\x01\x00",
    "a ZIP archive": _zip("notes.txt"),
    "a tar archive": _tar(),
    "an old Office file (DOC, XLS, PPT or MSG)": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 24,
    "an RTF document": rb"{\rtf1\ansi The fever fell.}",
    "a PNG image": _png(),
    "a JPEG image": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "a GIF image": b"GIF89a\x01\x00\x01\x00",
    "a program or library (ELF)": b"\x7fELF\x02\x01\x01" + b"\0" * 9,
    "a pickle": pickle.dumps(["notes"] * 9),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
}


@pytest.mark.parametrize("what", SAMPLES)
def test_a_file_is_reported_by_its_signature(what: str, tmp_path: Path) -> None:
    """Whatever it is named and however it is given, with what to do; also after a conversion that mistook it."""
    data = SAMPLES[what]
    path = tmp_path / "notes.txt"
    path.write_bytes(data)
    for source in (path, data, io.BytesIO(data)):
        with pytest.raises(SourceError) as caught:
            list(read_source(source, name="notes"))
        assert f"is {what}, not UTF-8 text: " in str(caught.value)
        assert "latin1" not in str(caught.value)
        assert caught.value.offset == 0
    if not what.startswith("a tar"):  # which is text, but for its NULs
        with path.open(encoding="utf-8") as opened, pytest.raises(SourceError, match=re.escape(f"is {what}, not")):
            list(read_source(opened))
    mistaken = not_text(data.decode("latin1").encode())
    assert mistaken is not None
    assert mistaken.what.startswith(what)


def test_a_database_is_reported_by_its_signature(tmp_path: Path) -> None:
    """As a program has written it."""
    with pytest.raises(SourceError, match="is an SQLite database, not UTF-8 text"):
        list(read_source(_sqlite(tmp_path)))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("language", WORDS)
def test_utf_16_and_32_without_a_mark_are_reported(language: str, encoding: str, tmp_path: Path) -> None:
    """And how they are converted: the command runs, and its output is the text. With a mark they are read."""
    path = tmp_path / "a note.txt"
    path.write_bytes((WORDS[language] * 3).encode(encoding))
    with pytest.raises(SourceError, match=r"is UTF-(16|32)") as caught:
        list(read_source(path))
    _, _, source, *_ = caught.value.command.split()
    assert source.lower().replace("utf-", "").startswith(encoding[4:6])
    assert caught.value.command.endswith(f"'{path}'")
    path.write_bytes(("\ufeff" + WORDS[language] * 3).encode(encoding))
    assert "".join(read_source(path)) == WORDS[language] * 3


@pytest.mark.parametrize("language", WORDS)
def test_other_encodings_are_no_binary_data(language: str, tmp_path: Path) -> None:
    """They are read; UTF-8, with a mark or without, is none."""
    text = f"fine\n{WORDS[language] * 3}"
    assert not_text(text.encode()) is None
    assert "".join(read_source(text.encode("utf-8-sig"))).endswith(text)
    for encoding in LEGACY:
        data = text.encode(encoding, "ignore")
        assert not_text(data) is None


def test_random_bytes_are_binary_data_and_stay_it() -> None:
    """Also where a converter has made valid UTF-8 of them."""
    for seed in range(50):
        data = random.Random(seed).randbytes(600)
        for given in (data, data.decode("latin1").encode()):
            kind = not_text(given)
            assert kind is not None
            assert "text" not in kind.what


def test_text_with_a_few_controls_is_text() -> None:
    """Separators of FIX and HL7, colours of a terminal, a NUL that a program has left."""
    for data in (b"8=FIX.4.2\x019=65\x0135=A\x01" * 9, b"\x0bMSH|^~\\&|A\rPID|1\r\x1c\r", b"\x1b[31mred\x1b[0m " * 9):
        assert not_text(data) is None
    assert not_text(b"a line\n" * 9 + b"\0") is None
    assert not_text(b"a\0" + b"of words " * 9 + b"\0of\0words" + b"." * 9) is None
    for begin in (
        b"ORC\n",
        b"PAR1\r\n",
        b"PK or not\n",
        b"BM 2020 a\n",
        b"MZ\n",
        b"II* \n",
        b"7z\n",
        b"GGUF\n",
        b"PDF-1.4",
    ):
        assert not_text(begin + b"and so on, " * 50) is None
    assert not_text(b"") is None
    assert not_text(Path(__file__).read_bytes()) is None
    assert not_text(Path(sys.executable).read_bytes()[:4096]) is not None


def test_later_bytes_are_reported_with_their_line(tmp_path: Path) -> None:
    """Past the first block, too."""
    path = tmp_path / "long.txt"
    path.write_bytes(b"a line of text\n" * 20_000 + b"\xc3\xa9\xff")
    with pytest.raises(SourceError) as caught:
        list(read_source(path))
    assert (caught.value.offset, caught.value.line) == (300_002, 20_001)


def test_binary_data_behind_text_is_no_text_in_another_encoding(tmp_path: Path) -> None:
    """A log that a crash has filled up, a script with its archive behind it: where it begins, and no wrong advice."""
    path = tmp_path / "install.sh"
    path.write_bytes(b"echo unpacking\n" * 1000 + b"\xff" + random.Random(1).randbytes(5000))
    with pytest.raises(SourceError, match=r"at byte 15000 \(line 1001\): binary data") as caught:
        list(read_source(path))
    assert "latin1" not in str(caught.value)
