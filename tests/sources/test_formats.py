# ruff: noqa: E501
"""Files of each kind become their text, however they are given and packed."""

from __future__ import annotations

import builtins
import gzip
import io
import json
import random
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, MapReduceRunner, Url, read_folder, read_source
from mrengine.errors import ConfigError, MissingExtra, SourceError
from mrengine.sources import loaders
from mrengine.sources.loaders import Loader, Piece
from tests.sources import files
from tests.sources.pages import page, site

for _package in (
    "fpdf",
    "pypdf",
    "docx",
    "pptx",
    "openpyxl",
    "markitdown",
    "pydicom",
    "pyarrow",
    "trafilatura",
    "zstandard",
):
    pytest.importorskip(_package)


def text_of(origin: Any, **how: Any) -> str:
    return "".join(read_source(origin, **how))


def places(chunk: Any, context: Any) -> dict[str, Any]:
    found = chunk.text.find("drug")
    return {"pages": chunk.pages, "drug": chunk.page_at(chunk.start - chunk.overlap + found) if found >= 0 else None}


@pytest.mark.parametrize("side_by_side", [True, False])
def test_a_pdf_in_reading_order(tmp_path: Path, side_by_side: bool) -> None:
    """Words are whole, columns follow each other, heads and feet stand once; a hyphen that belongs to a word stays."""
    text = text_of(files.report(tmp_path / "report.pdf", side_by_side=side_by_side))
    for whole in ("The examination showed", "The treatment began", "well-known risk", "well-known drug"):
        assert whole in " ".join(text.split()), whole
    assert text.count("Hospital report") == 1
    assert text.count("Confidential") == 1
    assert text.index(files.LEFT[-1]) < text.index(files.RIGHT[0])
    assert [line for line in text.split("\n") if line.startswith("Left")] == files.LEFT
    assert [line for line in text.split("\n") if line.startswith("Right")] == files.RIGHT


def test_pages_reach_chunks_results_and_exports(tmp_path: Path, state_dir: Path) -> None:
    """Also in a resumed job, and of a PDF that is packed or came by the web."""
    path = files.report(tmp_path / "report.pdf")
    (tmp_path / "report.pdf.gz").write_bytes(gzip.compress(path.read_bytes()))
    with site({"/report": page(path.read_bytes(), "application/pdf")}) as server:
        documents = [path, tmp_path / "report.pdf.gz", Document("web", Url(f"{server.url}/report", allow_private=True))]
        documents.append(Document("bytes", path.read_bytes()))
        runner = MapReduceRunner("pages", models="fake", workers=2, target_tokens=40, overlap_tokens=4)
        run = runner.run(documents, places)
    for name in (str(path), str(path) + ".gz", "web", "bytes"):
        found = [result for result in run.results if result.document_id == name]
        assert found[0].pages == (1,)
        assert {number for result in found for number in result.pages} == {1, 2, 3, 4}
        assert all(tuple(result.result["pages"]) == result.pages for result in found)
        assert {result.result["drug"] for result in found} == {None, 3}
    assert [row["pages"] for row in run.rows()] == [list(result.pages) for result in run.results]
    run.export(tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["pages"] for line in lines] == [list(result.pages) for result in run.results]
    again = runner.resume("pages", places)
    assert again.summary.resumed_chunks == len(run.results)
    assert [result.pages for result in again.results] == [result.pages for result in run.results]


def test_office_files_and_dicom(tmp_path: Path) -> None:
    """By path, as bytes, and as open files; under any name."""
    made = {
        "a.docx": (files.docx, ["# Discharge", "Größe und Gewicht", "| Müller | 41 |"]),
        "a.pptx": (files.pptx, ["# Fever", "It fell on Tuesday.", "# Cough"]),
        "a.xlsx": (files.xlsx, ["## Visits", "| 1 | fell \\| rose |  |", "| 3 | x | 3 |", "## More"]),
        "a.dcm": (files.dicom, ["Chest CT"]),
        "a.pdf": (files.report, ["The examination"]),
    }
    for name, (make, wanted) in made.items():
        path = make(tmp_path / name)
        text = text_of(path)
        assert all(part in text for part in wanted), (name, text)
        other = tmp_path / f"{name}.bin"
        other.write_bytes(path.read_bytes())
        with path.open("rb") as opened:
            assert text_of(path.read_bytes()) == text_of(opened) == text_of(other) == text


def test_a_slide_is_a_page(tmp_path: Path, state_dir: Path) -> None:
    run = MapReduceRunner(models="fake", strategy="sequential").run(files.pptx(tmp_path / "a.pptx"), places)
    assert run.results[0].pages == (1, 2)


def test_web_pages(tmp_path: Path) -> None:
    """Without menus; a page that has no main part is read as a whole, in the encoding that it names."""
    path = tmp_path / "page.html"
    path.write_bytes(files.web_page())
    text = text_of(path)
    assert text.startswith("# Fever")
    assert "slept well" in text
    assert "About us" not in text
    path.write_bytes('<meta charset="windows-1251"><p>Больной спал хорошо</p><script>x()</script>'.encode("cp1251"))
    assert text_of(path).strip() == "Больной спал хорошо"
    path.write_bytes(b"<html><script>render()</script></html>")
    with pytest.raises(SourceError, match="it has no text"):
        text_of(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8"])
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str, packed: str) -> None:
    """Also across blocks, packed or not; no warning is given."""
    import zstandard

    text = "Größe und 患者 😀\r\n" * 20_000
    marked = "" if encoding in ("utf-16", "utf-32", "utf-8") else "\ufeff"
    data = (marked + text).encode(encoding)
    data = gzip.compress(data, 1) if packed == ".gz" else zstandard.compress(data) if packed else data
    path = tmp_path / f"notes.txt{packed}"
    path.write_bytes(data)
    assert text_of(path) == text == text_of(data) == text_of(io.BytesIO(data))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe und Gewicht des Patienten: 180 cm, 75 kg.\n", "cp1252"),
        ("Le patient a été vu à l’hôpital – état général correct, 20 €.\n", "cp1252"),
        ("The “fever” fell — it’s 38°.\n", "cp1252"),
        ("Müller\n", "cp1252"),
        ("Señor, ¿qué pasó?\n", "latin-1"),
        ("Zażółć gęślą jaźń, proszę państwa. Pacjent czuł się źle.\n", "cp1250"),
        ("Pacient měl včera příliš vysokou teplotu.\n", "cp1250"),
        ("Hastanın ateşi düştü, şimdi iyi görünüyor.\n", "cp1254"),
        ("Больной спал хорошо, температура упала.\n", "cp1251"),
        ("患者昨天体温正常，今天咳嗽加重。医生建议休息，明天再来。\n", "gb18030"),
        ("日本語です。患者さんは熱があります。咳もひどいです。\n", "shift_jis"),
        ("환자는 어제 열이 없었습니다. 오늘은 기침이 심합니다.\n", "cp949"),
    ],
)
def test_other_encodings_are_read_and_the_warning_says_which(
    text: str, encoding: str, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind any amount of ASCII, in a run as by itself."""
    data = ("plain\n" * 60_000 + text * 3).encode(encoding)
    name = "1252" if encoding in ("cp1252", "latin-1") else encoding.replace("shift_jis", "cp932")
    assert text_of(data).endswith(text * 3)
    assert name in caplog.text
    run = MapReduceRunner(models="fake", strategy="sequential").run([Document("notes", data)], places)
    assert any("notes is not UTF-8" in warning and name in warning for warning in run.summary.warnings)


def test_text_that_is_damaged_is_not_guessed_at() -> None:
    """UTF-8 with a broken byte, one lonely byte, noise: refused, with its place."""
    for data in (b"fine \xc3\xa9\n" + b"Gr\xf6\xdfe\n", b"fine\n\xff\n", b"fine\n" + random.Random(3).randbytes(3000)):
        with pytest.raises(SourceError, match=r"is not UTF-8 at byte \d+ \(line 2\)|is binary data"):
            text_of(data)


def test_damaged_files_are_reported_apart(tmp_path: Path) -> None:
    """No error quotes what stands in the file."""
    cases = {
        "cut.pdf": files.report(tmp_path / "a.pdf").read_bytes()[:400],
        "no.pdf": b"secret text that is no PDF",
        "cut.docx": files.docx(tmp_path / "a.docx").read_bytes()[:2000],
        "no.xlsx": b"PK\x03\x04 secret",
        "cut.txt.gz": gzip.compress(b"secret" * 9000)[:-12],
        "bad.txt.gz": b"\x1f\x8b\x08 secret",
        "cut.parquet": files.parquet(tmp_path / "a.parquet", 100).read_bytes()[:300],
        "cut.dcm": files.dicom(tmp_path / "a.dcm").read_bytes()[:200],
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError) as caught:
            text_of(tmp_path / name)
        assert name in str(caught.value), name
        assert "secret" not in str(caught.value)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * 60_000_000)
    with pytest.raises(SourceError, match="would unpack to 60000000 bytes"):
        text_of(tmp_path / "bomb.docx")


@pytest.mark.parametrize("packing", ["gzip", "zstd", "gzip in gzip"])
def test_a_text_that_unpacks_to_more_than_texts_do_is_one_failure(
    tmp_path: Path, state_dir: Path, packing: str
) -> None:
    """Of a local file, too: a few kilobytes would fill the disk. What is only large or only well packed is read."""
    line = b"The fever fell. " * 64

    def packed(data: bytes) -> bytes:
        if packing == "zstd":
            return bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(data))
        whole = gzip.compress(data)
        return gzip.compress(whole) if packing == "gzip in gzip" else whole

    suffix = "zst" if packing == "zstd" else "gz"
    bomb, good = tmp_path / f"bomb.txt.{suffix}", tmp_path / f"good.txt.{suffix}"
    bomb.write_bytes(packed(line * 60_000))
    good.write_bytes(packed(line * 8))
    with pytest.raises(SourceError, match="unpacks to over 200 times its size"):
        for _ in read_source(bomb):
            pass
    runner = MapReduceRunner(strategy="sequential", on_source_error="skip", target_tokens=None)
    run = runner.run([good, bomb], lambda chunk, context: chunk.text)
    assert [result.result for result in run.results] == [(line * 8).decode()]
    assert [error.source for error in run.unread] == [str(bomb)]


def test_scans_and_encrypted_files_say_what_to_do(tmp_path: Path) -> None:
    import fpdf
    import pypdf

    blank = fpdf.FPDF()
    blank.add_page()
    blank.output(str(tmp_path / "scan.pdf"))
    with pytest.raises(SourceError, match=r"no text in its 1 pages.*ocrmypdf"):
        text_of(tmp_path / "scan.pdf")
    writer = pypdf.PdfWriter(clone_from=files.report(tmp_path / "a.pdf"))
    writer.encrypt("a password", algorithm="RC4-128")
    writer.write(str(tmp_path / "locked.pdf"))
    with pytest.raises(SourceError, match=r"encrypted.*qpdf --decrypt"):
        text_of(tmp_path / "locked.pdf")


@pytest.mark.parametrize(
    ("name", "extra", "packages"),
    [
        ("a.pdf", "pdf", ["pypdf"]), ("a.html", "html", ["trafilatura"]), ("a.docx", "office", ["markitdown", "mammoth"]),
        ("a.pptx", "office", ["pptx"]), ("a.xlsx", "office", ["openpyxl"]), ("a.parquet", "parquet", ["pyarrow"]),
        ("a.dcm", "dicom", ["pydicom"]), ("a.txt.zst", "zstd", ["zstandard"]),
    ],
)  # fmt: skip
def test_a_missing_package_says_which_extra_brings_it(
    name: str, extra: str, packages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zstandard

    made = {
        "a.pdf": files.report,
        "a.docx": files.docx,
        "a.pptx": files.pptx,
        "a.xlsx": files.xlsx,
        "a.dcm": files.dicom,
    }
    path = tmp_path / name
    if name in made:
        made[name](path)
    elif name == "a.parquet":
        files.parquet(path, 5)
    else:
        path.write_bytes(files.web_page() if name == "a.html" else zstandard.compress(b"notes"))
    load = builtins.__import__

    def missing(wanted: str, *more: Any) -> Any:
        if wanted.partition(".")[0] in packages:
            raise ImportError(wanted)
        return load(wanted, *more)

    for known in [one for one in sys.modules if one.partition(".")[0] in packages]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=rf"pip install 'mrengine\[{extra}\]'") as caught:
        text_of(path)
    assert caught.value.extra == extra
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, SourceError)


class Shout:
    suffixes = (".shout", ".pdf")
    media_types = ("application/x-shout",)

    def load(self, binary: Any) -> Any:
        data = binary.read()
        if data == b"bad":
            raise ValueError("secret")
        yield data.decode().upper()
        yield Piece("END", 7)


def test_a_loader_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point brings kinds of files, and goes before ours; what it raises is the file's fault."""
    package = tmp_path / "shout-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: shout\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[mrengine.loaders]\nshout = {__name__}:Shout\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Shout.__module__])
    loaders._plugins.cache_clear()
    try:
        assert isinstance(Shout(), Loader)
        (tmp_path / "a.shout").write_bytes(b"fell")
        (tmp_path / "a.pdf").write_bytes(b"rose")
        (tmp_path / "bad.shout").write_bytes(b"bad")
        assert text_of(tmp_path / "a.shout") == "FELLEND"
        assert text_of(tmp_path / "a.pdf") == "ROSEEND"
        with site({"/": page(b"web", "application/x-shout")}) as server, pytest.raises(SourceError):
            text_of(Url(server.url, allow_private=True))
        with pytest.raises(SourceError, match=r"bad\.shout cannot be read") as caught:
            text_of(tmp_path / "bad.shout")
        assert "secret" not in str(caught.value)
    finally:
        loaders._plugins.cache_clear()


def test_a_folder_of_all_kinds_is_one_job(tmp_path: Path, state_dir: Path) -> None:
    """One that cannot be read is one failure, with its cause; ids are paths below the folder."""
    folder = tmp_path / "ward"
    (folder / "deep").mkdir(parents=True)
    files.report(folder / "report.pdf")
    files.docx(folder / "letter.docx")
    files.xlsx(folder / "deep" / "visits.xlsx")
    files.dicom(folder / "scan.dcm")
    (folder / "wide.txt").write_bytes("Größe".encode("utf-16"))
    (folder / "old.txt").write_bytes("Größe und Gewicht des Patienten".encode("cp1252"))
    (folder / "page.html").write_bytes(files.web_page())
    (folder / "notes.md.gz").write_bytes(gzip.compress(b"# Notes\n\nIt fell.\n"))
    (folder / "table.csv").write_text("id,note\n1,fell\n")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    (folder / ".hidden").write_text("no")
    (folder / "empty.txt").write_text("")
    runner = MapReduceRunner("ward", models="fake", workers=1)
    run = runner.run(read_folder(folder), places)
    names = [
        "deep/visits.xlsx", "letter.docx", "notes.md.gz", "old.txt", "page.html", "report.pdf", "scan.dcm", "table.csv", "wide.txt",
    ]  # fmt: skip
    assert [result.document_id for result in run.results] == names
    (failure,) = run.failures
    assert (failure.document_id, failure.kind) == ("bad.pdf", "source")
    assert "bad.pdf" in failure.message
    assert "cannot be read as a PDF" in failure.message
    assert [row["failure"] for row in run.rows()][-1] == f"source: {failure.message}"
    assert run.summary.failed_chunks == 0
    again = runner.run(read_folder(folder), places)
    assert again.summary.resumed_chunks == len(names)
    (told,) = [failure.message for failure in MapReduceRunner().resume("ward", places).failures]
    assert told == failure.message
    with pytest.raises(SourceError, match=r"bad\.pdf"):
        MapReduceRunner(models="fake", on_source_error="fail").run(read_folder(folder), places)
    assert [one.id for one in read_folder(folder, glob="*.txt")] == ["old.txt", "wide.txt"]
    texts = [text_of(one.source) for one in read_folder(folder, glob="old.txt", encoding="cp1252")]
    assert texts == ["Größe und Gewicht des Patienten"]
    for path, how, kind in (
        (tmp_path / "no", {}, SourceError),
        (folder, {"glob": "*.xyz"}, SourceError),
        (folder, {"encoding": "x"}, ConfigError),
    ):
        with pytest.raises(kind):
            list(read_folder(path, **how))
