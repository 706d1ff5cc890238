"""DICOM metadata: dumps are cut between sections, files are read with pydicom, never their pixels."""

from __future__ import annotations

import io
import itertools
import sys
import warnings
from pathlib import Path

import pytest

from mrengine.chunking import safe_chunk
from mrengine.errors import ConfigError, SourceError
from mrengine.sources import read_source
from tests.chunking.texts import assert_promises

pydicom = pytest.importorskip("pydicom")


def _data_set(images: int) -> pydicom.Dataset:
    """An invented study with a long sequence."""
    from pydicom.dataset import Dataset

    data = Dataset()
    data.PatientName = "Invented^Person"
    data.PatientID = "T-0001"
    data.Modality = "CT"
    data.StudyDescription = "Invented study"
    data.ReferencedImageSequence = []
    for number in range(images):
        item = Dataset()
        item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        item.ReferencedSOPInstanceUID = f"1.2.826.0.1.{number}"
        data.ReferencedImageSequence.append(item)
    data.Rows = data.Columns = 64
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = b"\x7f\x01" * 64 * 64
    data["PixelData"].VR = "OW"
    return data


def _file(path: Path, images: int = 60, *, undefined: bool = False) -> Path:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    data = _data_set(images)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, "1.2.826.0.1.9"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data["ReferencedImageSequence"].is_undefined_length = undefined
    data.save_as(path, enforce_file_format=True)
    return path


def test_a_dump_is_cut_between_items_and_groups() -> None:
    """Every chunk begins with an element of the outermost level there is near the limit, or behind an item's rule."""
    text = str(_data_set(200)) + "\n"
    chunks = list(safe_chunk(text, target_tokens=400, overlap_tokens=0))
    assert_promises(text, chunks, 400)
    assert {chunk.kind for chunk in chunks} == {"dicom"}
    for before, chunk in itertools.pairwise(chunks):
        assert chunk.text.lstrip().startswith("(")
        if chunk.text.startswith("   "):
            assert before.text.rstrip().endswith("---------")


def test_a_file_is_read_without_its_pixels(tmp_path: Path) -> None:
    """From a path, bytes, a file that can go back and one that cannot: the same text, which pydicom prints."""
    path = _file(tmp_path / "image.dcm")
    data = path.read_bytes()

    class OneWay(io.RawIOBase):
        def __init__(self) -> None:
            self._left = data

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            size = len(self._left) if size < 0 else size
            taken, self._left = self._left[:size], self._left[size:]
            return taken

    expected = list(safe_chunk(path, target_tokens=500, overlap_tokens=50))
    text = "".join(chunk.text[chunk.overlap :] for chunk in expected)
    assert "Invented^Person" in text
    assert "Pixel Data" not in text
    assert {chunk.kind for chunk in expected} == {"dicom"}
    for source in (data, io.BytesIO(data), OneWay()):
        assert list(safe_chunk(source, target_tokens=500, overlap_tokens=50)) == expected


def test_a_job_reads_what_safe_chunk_reads(tmp_path: Path) -> None:
    """By the preamble, whatever the file is called; what is called .dcm is never taken for text."""
    path = _file(tmp_path / "image.dcm")
    text = "".join(chunk.text for chunk in safe_chunk(path, overlap_tokens=0))
    nameless = path.rename(tmp_path / "export")
    for source in (nameless, nameless.read_bytes(), io.BytesIO(nameless.read_bytes())):
        assert "".join(read_source(source)) == text
    (tmp_path / "note.dcm").write_text("no image")
    for read in (read_source, safe_chunk):
        with pytest.raises(SourceError, match=r"note\.dcm is not a readable DICOM file"):
            list(read(tmp_path / "note.dcm"))
    for source in ({"text": "a"}, ["a", "b"], 7):
        with pytest.raises(ConfigError, match=r"record 12 cannot be read"):
            read_source(source, name="record 12")


def test_a_damaged_file_is_a_source_error(tmp_path: Path) -> None:
    """That names it."""
    path = tmp_path / "damaged.dcm"
    path.write_bytes(_file(tmp_path / "image.dcm").read_bytes()[:150] + b"\xff" * 40)
    with pytest.raises(SourceError, match=r"damaged\.dcm"):
        list(safe_chunk(path))


@pytest.mark.parametrize("undefined", [False, True], ids=["length", "delimiter"])
@pytest.mark.parametrize("kept", [132, 200, 1000, 4000])
def test_a_file_that_was_cut_short_is_a_source_error(tmp_path: Path, kept: int, undefined: bool) -> None:
    """Behind the preamble, in the header, inside an element or a sequence: pydicom alone is silent about most."""
    data = _file(tmp_path / "image.dcm", undefined=undefined).read_bytes()
    with pytest.raises(SourceError, match=r"not a readable DICOM file \((it has no|it ends inside|OSError)"):
        list(safe_chunk(data[:kept]))


def test_a_value_against_the_rules_is_printed_and_warned_of_by_nobody(tmp_path: Path) -> None:
    """Files of good use are full of them, and the warning would quote what may be a patient's."""
    data = _file(tmp_path / "image.dcm").read_bytes().replace(b"1.2.826.0.1.17", b"Invented.Name1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "Invented.Name1" in "".join(chunk.text for chunk in safe_chunk(data))


def test_a_pipe_that_gives_a_few_bytes_is_known_as_dicom(tmp_path: Path) -> None:
    """By its first 132, in however many reads they come."""
    data = _file(tmp_path / "image.dcm").read_bytes()

    class Drops(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(100 if size and size > 0 else -1)

        def seek(self, *where: int) -> int:
            raise io.UnsupportedOperation("a pipe")

    assert list(safe_chunk(Drops(data))) == list(safe_chunk(data))


def test_without_pydicom_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra, by name."""
    path = _file(tmp_path / "image.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ConfigError, match=r"mrengine\[dicom\]"):
        list(safe_chunk(path))
