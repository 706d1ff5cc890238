# ruff: noqa: E501
"""Files of each kind, made here: a PDF as reports are, Office files, tables."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BODY = {
    1: "The patient was admitted with fever and a dry cough. The exami-\nnation showed clear lungs on both sides.",
    2: "It is a well-known risk. The treat-",
    3: "ment began on Tuesday. A well-\nknown drug was given.",
}
LEFT = [f"Left line {at} of the first column." for at in range(8)]
RIGHT = [f"Right line {at} of the other column." for at in range(8)]


def report(path: Path, *, side_by_side: bool = True) -> Path:
    """Four pages with head and foot; words cut at the end of lines and of a page; the last one in two columns.

    ``side_by_side``: the columns are written row by row, as some programs do.
    """
    from fpdf import FPDF

    class Report(FPDF):
        def header(self) -> None:
            self.set_font("helvetica", size=9)
            self.cell(0, 8, f"Hospital report 2026 - Page {self.page_no()} of 4")
            self.ln(12)

        def footer(self) -> None:
            self.set_y(-15)
            self.set_font("helvetica", size=8)
            self.cell(0, 10, f"Confidential {self.page_no()}", align="C")

    pdf = Report()
    for number in (1, 2, 3):
        pdf.add_page()
        pdf.set_font("helvetica", size=11)
        pdf.multi_cell(0, 6, BODY[number])
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    top = pdf.get_y()
    for at, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
        if side_by_side:
            pdf.cell(95, 6, left)
            pdf.cell(95, 6, right)
            pdf.ln(6)
        else:
            pdf.text(20, top + 6 * at, left)
    for at, right in enumerate([] if side_by_side else RIGHT):
        pdf.text(110, top + 6 * at, right)
    pdf.output(str(path))
    return path


def docx(path: Path) -> Path:
    import docx as python_docx

    document = python_docx.Document()
    document.add_heading("Discharge", 1)
    document.add_paragraph("Größe und Gewicht were noted.")
    table = document.add_table(2, 2)
    for at, text in enumerate(("Name", "Age", "Müller", "41")):
        table.cell(at // 2, at % 2).text = text
    document.save(str(path))
    return path


def pptx(path: Path) -> Path:
    import pptx as python_pptx

    show = python_pptx.Presentation()
    for title, body in (("Fever", "It fell on Tuesday."), ("Cough", "It stayed.")):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    show.save(str(path))
    return path


def xlsx(path: Path) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    sheet: Any = book.active
    sheet.title = "Visits"
    for row in (("id", "note", "size"), (1, "fell | rose", None), (2, "Größe", 1.5), (None, None, None), (3, "x", 3.0)):
        sheet.append(row)
    book.create_sheet("More").append(["only"])
    book.save(str(path))
    return path


def dicom(path: Path) -> Path:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3")
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.StudyDescription = "Chest CT"
    data.save_as(str(path), enforce_file_format=True)
    return path


def parquet(path: Path, rows: int, *, row_group: int = 5000) -> Path:
    """Rows of a note, an id and two more columns, written in groups."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    schema = pa.schema([("visit", pa.int64()), ("note", pa.string()), ("age", pa.int64()), ("ward", pa.string())])
    with pq.ParquetWriter(str(path), schema) as writer:
        for first in range(0, rows, row_group):
            ids = range(first, min(rows, first + row_group))
            columns: Sequence[Any] = (
                list(ids), [f"Note {at}: the fever fell, and it rose again on the next day." for at in ids],
                [at % 90 for at in ids], [f"ward {at % 7}" for at in ids],
            )  # fmt: skip
            writer.write_table(pa.table(columns, schema=schema))
    return path


def web_page(title: str = "Fever") -> bytes:
    body = "<p>The fever fell on Tuesday, and the patient slept well through the night.</p>" * 3
    menu = "<nav><a href='/'>Home</a> <a href='/about'>About us</a></nav>"
    return f"<html><head><title>{title}</title></head><body>{menu}<article><h1>{title}</h1>{body}</article></body></html>".encode()


def as_bytes(path: Path) -> io.BytesIO:
    return io.BytesIO(path.read_bytes())
