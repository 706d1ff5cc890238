"""Decides whether bytes are text: by byte order mark, signature, NULs and control characters.

Only the beginning of a source is examined. What is not text is refused with a SourceError, which says what the source
is and which command converts it to text; no byte of it is quoted.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections import Counter
from functools import cache
from typing import NamedTuple

from mrengine.errors import SourceError

__all__ = [
    "PROBE_BYTES",
    "SAMPLE_BYTES",
    "FileType",
    "is_wide_text",
    "looks_binary",
    "mark_of",
    "not_text",
    "refuse_binary",
    "refuse_signed",
    "undecodable",
]

LEAST_BYTES = 8  # fewer tell nothing, unless they are a mark or a signature
LEAST_SAMPLE = 512
LEAST_NULS = 128  # of the first bytes: what is short is rather odd text than binary
LEAST_KINDS = 10
LEAST_WIDE = 3  # NULs of a text in UTF-16
SAMPLE_BYTES = 4096
PROBE_BYTES = 512  # enough for every signature: tar's ends at 262
MOST_LOW = 0.02  # of the bytes that are no UTF-8
MOST_STRANGE = 0.05  # characters of a text that no font has
MOST_NULS = 0.3  # of the bytes; text has none, dumps of records a few
MOST_CONTROLS = 0.06  # of the bytes
ONE_SIDED = 0.9  # NULs of UTF-16 stand at every second place: the high halves of Latin letters, digits and blanks
_UNZIP = "unzip it and name the files that are in it"
_AS_TEXT = "save it as text, for instance with 'pandoc -t plain {file}'"
_AS_CSV = "save the sheet as CSV"
_PDF = "extract its text with 'pdftotext {file} -'"
_IMAGE = "recognise its text first, for instance with 'tesseract {file} -'"
_SOUND = "transcribe it first"
_PROGRAM = "name a document instead"
_TABLE = "export it as CSV or JSON Lines"
# Separators of records in formats that are text (FIX, MARC, HL7), formatting of terminals and printers.
_CONTROLS = re.compile("[\x00\x02-\x07\x0e-\x1a\x7f-\x84\x86-\x9f]")
_LOW = re.compile(rb"[\x00-\x07\x0e-\x1a\x1c-\x1f]")
_EAST_ASIAN = re.compile("[\n -~\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef]")


class FileType(NamedTuple):
    """What a source is ("a PNG image") and what to do about it; ``command`` prints its text: {file} is its name."""

    what: str
    advice: str = ""
    command: str = ""


def _packed(what: str, command: str) -> FileType:
    return FileType(f"{what} data", f"'{command}' unpacks it", command)


_MARKS = (
    # The longer ones first: UTF-32's begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ZIPS = (
    (rb"word/", FileType("a Word document (DOCX)", _AS_TEXT, "pandoc -t plain {file}")),
    (rb"xl/", FileType("an Excel workbook (XLSX)", _AS_CSV)),
    (rb"ppt/", FileType("a PowerPoint file (PPTX)", "save its text")),
    (rb"mimetypeapplication/vnd\.oasis\.opendocument\.text", FileType("an OpenDocument text (ODT)", _AS_TEXT)),
    (rb"mimetypeapplication/vnd\.oasis\.opendocument\.spread", FileType("an OpenDocument sheet (ODS)", _AS_CSV)),
    (rb"mimetypeapplication/epub", FileType("an EPUB book", _AS_TEXT, "pandoc -t plain {file}")),
    (rb"META-INF/", FileType("a Java archive", _PROGRAM)),
)
_ZIP = FileType("a ZIP archive", _UNZIP)
# (pattern at the first byte, what it is). Sources: the formats' own pages, and file(1)'s magic(5) for their offsets.
_SIGNATURES = (
    (rb"(\xef\xbb\xbf)?\s{0,32}%PDF-\d", FileType("a PDF", _PDF, "pdftotext {file} -")),
    (rb"%!PS-", FileType("a PostScript file", "extract its text with 'ps2ascii {file}'", "ps2ascii {file}")),
    (rb"\{\\rtf\d", FileType("an RTF document", _AS_TEXT, "pandoc -f rtf -t plain {file}")),
    (rb"\x1f\x8b[\x00-\x08]", _packed("gzip", "gzip -dc {file}")),
    (rb"\x1f[\x9d\xa0]", _packed("compress", "gzip -dc {file}")),
    (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", _packed("bzip2", "bzip2 -dc {file}")),
    (rb"\xfd7zXZ\x00", _packed("xz", "xz -dc {file}")),
    (rb"\x5d\x00\x00[\x00-\x80]{2}\xff{4}", _packed("lzma", "xz -dc {file}")),
    (rb"[\x22-\x28]\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", _packed("zstd", "zstd -dc {file}")),
    (rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18", _packed("lz4", "lz4 -dc {file}")),
    (rb"\x89LZO\x00\r\n\x1a\n", _packed("lzop", "lzop -dc {file}")),
    (rb"\xff\x06\x00\x00sNaPpY", FileType("snappy data", "unpack it first")),
    (rb"7z\xbc\xaf\x27\x1c", FileType("a 7z archive", _UNZIP)),
    (rb"Rar!\x1a\x07", FileType("a RAR archive", _UNZIP)),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", _ZIP),
    (rb".{257}ustar[\x00 ]", FileType("a tar archive", "unpack it and name the files that are in it")),
    (rb"!<arch>\n", FileType("an ar archive", _UNZIP)),
    (rb"MSCF\x00{4}", FileType("a cabinet archive", _UNZIP)),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileType("an old Office file (DOC, XLS, PPT or MSG)", _AS_TEXT)),
    (rb"\x89PNG\r\n\x1a\n", FileType("a PNG image", _IMAGE)),
    (rb"\xff\xd8\xff", FileType("a JPEG image", _IMAGE)),
    (rb"GIF8[79]a", FileType("a GIF image", _IMAGE)),
    (rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+", FileType("a TIFF image", _IMAGE)),
    (rb"BM.{4}\x00{4}", FileType("a BMP image", _IMAGE)),
    (rb"RIFF.{4}WEBP", FileType("a WebP image", _IMAGE)),
    (rb"\x00{2}[\x01\x02]\x00.\x00", FileType("an icon", _IMAGE)),
    (rb"\x00{3}\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", FileType("a JPEG 2000 image", _IMAGE)),
    (rb"\x00{3}.ftyp(heic|heix|mif1|avif)", FileType("an HEIF image", _IMAGE)),
    (rb"8BPS\x00|icns\x00", FileType("an image", _IMAGE)),
    (rb"AT&TFORM", FileType("a DjVu document", "extract its text with 'djvutxt {file}'", "djvutxt {file}")),
    (rb"\x00{3}.ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |FLV\x01|\x00\x00\x01\xba", FileType("a video", _SOUND)),
    (rb"RIFF.{4}WAVE|OggS\x00|fLaC\x00|ID3[\x02-\x04]|\xff[\xfb\xf3\xf2]", FileType("a sound file", _SOUND)),
    (rb"\x7fELF", FileType("a program or library (ELF)", _PROGRAM)),
    (rb"MZ.{10,70}\x00{4}", FileType("a program of Windows", _PROGRAM)),
    (rb"[\xce\xcf]\xfa\xed\xfe|\xfe\xed\xfa[\xce\xcf]", FileType("a program or library (Mach-O)", _PROGRAM)),
    (rb"\xca\xfe\xba\xbe", FileType("a Java class or a Mach-O program", _PROGRAM)),
    (rb"\x00asm", FileType("a WebAssembly module", _PROGRAM)),
    (rb".\r\r\n[\x00-\x03]\x00{3}", FileType("compiled Python", _PROGRAM)),
    (rb"\x80[\x02-\x05]", FileType("a pickle", "never load one of others; give the texts in it")),
    (rb"SQLite format 3\x00", FileType("an SQLite database", "export the column of texts with 'sqlite3 {file}'")),
    (rb"PAR[1E][\x00-\x08\x0e-\x19]", FileType("a Parquet file", _TABLE)),
    (rb"ARROW1\x00|FEA1[\x00-\x08\x0e-\x19]|\xff{4}.{2}\x00\x00", FileType("an Arrow or Feather file", _TABLE)),
    (rb"ORC[\x00-\x08\x0e-\x19]", FileType("an ORC file", _TABLE)),
    (rb"Obj\x01", FileType("an Avro file", _TABLE)),
    (rb"\x89HDF\r\n\x1a\n", FileType("an HDF5 file", _TABLE)),
    (rb"CDF[\x01\x02\x05]", FileType("a NetCDF file", _TABLE)),
    (rb"\x93NUMPY", FileType("a NumPy array", "give the texts in it")),
    (rb"GGUF[\x01-\x09]\x00", FileType("a model (GGUF)", "--model local:/path/to/model.gguf asks it")),
    (rb"wOF[F2][\x00O]|\x00\x01\x00\x00\x00|OTTO\x00|ttcf\x00", FileType("a font", _PROGRAM)),
    (rb"!BDN", FileType("an Outlook mailbox (PST)", "export its messages as text")),
    (rb"bplist0", FileType("a binary property list", "'plutil -convert xml1' makes text of it")),
    (rb"version https://git-lfs\.github\.com", FileType("a Git LFS pointer", "'git lfs pull' gets the file")),
    (rb"Salted__|age-encryption\.org/", FileType("an encrypted file", "decrypt it first")),)  # fmt: skip


def mark_of(first: bytes) -> str:
    """The encoding that a byte order mark names, other than UTF-8; "": there is none."""
    return next((encoding for mark, encoding in _MARKS if first.startswith(mark)), "")


def not_text(first: bytes) -> FileType | None:
    """What these first bytes of a source are, where they are not text in UTF-8; None: they may be."""
    if mark := mark_of(first):
        return _encoded(mark.upper())
    sample = first[:SAMPLE_BYTES]
    return _signed(first) or _recoded(sample) or _by_controls(sample)


def looks_binary(sample: bytes) -> bool:
    """Whether bytes from the middle of a source are full of control characters, or UTF-16."""
    return _by_controls(sample[:SAMPLE_BYTES]) is not None


def is_wide_text(sample: bytes, encoding: str) -> bool:
    """Whether what follows a byte order mark is text in its encoding: other files begin with these bytes, too."""
    return _reads_as(sample[:SAMPLE_BYTES].ljust(len(sample[:SAMPLE_BYTES]) // 4 * 4), encoding.upper())


def refuse_binary(first: bytes, name: str) -> None:
    """Raise SourceError if these first bytes of the source ``name`` are no text."""
    kind = not_text(first)
    if kind is None:
        return
    here = os.path.exists(name)
    file = shlex.quote(name) if here else "FILE"
    raise SourceError(
        f"{name} is {kind.what}, not UTF-8 text: {kind.advice.replace('{file}', file)}",
        source=name,
        offset=0,
        command=kind.command.replace("{file}", file) if here else "",
    )


def refuse_signed(first: str, name: str) -> None:
    """The same for the beginning of a file that was opened as text: a PDF may hold nothing but ASCII."""
    data = first[:PROBE_BYTES].encode("utf-8", "surrogatepass")
    if _signed(data) or _recoded(data):
        refuse_binary(data, name)


def undecodable(
    name: str, encoding: str, *, at: int | None = None, line: int | None = None, follows: bytes = b""
) -> SourceError:
    """The error of a text in another encoding. ``at``: the wrong byte, in ``line`` (1 is the first). ``follows``: the
    bytes from there on, which may be binary.
    """
    where = "" if at is None else f" at byte {at}"
    where += "" if line is None else f" (line {line})"
    if kind := _by_controls(follows[:SAMPLE_BYTES]):
        message = f"{name} is not {encoding.upper()}{where}: {kind.what} follows; {kind.advice}"
        return SourceError(message, source=name, offset=at, line=line)
    here = os.path.exists(name)
    command = f"iconv -f latin1 -t utf-8 {shlex.quote(name) if here else 'FILE'}"
    return SourceError(
        f"{name} is not {encoding.upper()}{where}: convert it first; if it is Latin-1, '{command}' does that",
        source=name,
        offset=at,
        line=line,
        command=command if here else "",
    )


def _encoded(encoding: str) -> FileType:
    command = f"iconv -f {encoding} -t UTF-8 {{file}}"
    return FileType(f"{encoding} text", f"'{command}' converts it", command)


@cache  # compiled when first needed: it takes as long as a tenth of ``import mrengine``
def _signatures() -> list[tuple[re.Pattern[bytes], FileType]]:
    return [(re.compile(pattern, re.DOTALL), kind) for pattern, kind in _SIGNATURES]


def _signed(first: bytes) -> FileType | None:
    kind = next((kind for pattern, kind in _signatures() if pattern.match(first)), None)
    if kind is not _ZIP:
        return kind
    # Office files are ZIP archives: the names of the first members tell them apart.
    return next((office for pattern, office in _ZIPS if re.search(pattern, first)), _ZIP)


def _recoded(sample: bytes) -> FileType | None:
    """Binary data that was converted from "Latin-1": valid UTF-8, and still no text."""
    try:
        original = sample[:256].decode("utf-8", "ignore").encode("latin-1")
    except UnicodeEncodeError:
        return None
    kind = None if original == sample[:256] else _signed(original)
    return kind and FileType(f"{kind.what} that was converted as if it were Latin-1", "use the file as it was before")


def _by_controls(sample: bytes) -> FileType | None:
    """What control characters give away: UTF-16 and UTF-32 without a mark have NULs at fixed places, binary data has
    controls everywhere.
    """
    if len(sample) < LEAST_BYTES:
        return None
    broken = _is_broken(sample)
    nuls, low = sample.count(0), len(_LOW.findall(sample))
    if encoding := _wide(sample, nuls, strange=low if broken else 0):
        return _encoded(encoding)
    if nuls >= LEAST_NULS and nuls > MOST_NULS * len(sample):
        return _binary(f"{nuls / len(sample):.0%} of its first bytes are NUL")
    if broken:  # text in any other encoding has no low controls, so few are enough
        return _binary("it is full of control characters") if low > max(3, MOST_LOW * len(sample)) else None
    # Valid UTF-8 gets the benefit of the doubt: FIX, MARC and HL7 separate fields by control characters.
    odd = _CONTROLS.findall(sample.decode("utf-8", "ignore"))
    if len(sample) >= LEAST_SAMPLE and len(odd) > MOST_CONTROLS * len(sample) and len(set(odd)) >= LEAST_KINDS:
        return _binary("it is full of control characters")
    return None


def _is_broken(sample: bytes) -> bool:
    """Whether a sample is no UTF-8, apart from a character that its end has cut."""
    try:
        sample.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        return error.start < len(sample) - 3
    return False


def _binary(why: str) -> FileType:
    return FileType(f"binary data ({why})", "name a document, or convert it to one")


def _wide(sample: bytes, nuls: int, *, strange: int) -> str:
    """The encoding of two or four bytes a character that fits; "": none. ``strange``: controls of what is no UTF-8."""
    at = [sample[place::4].count(0) for place in range(4)]
    most = len(sample) // 4 * ONE_SIDED
    if at[3] >= most and at[2] >= most:
        return "UTF-32LE" if _reads_as(sample, "UTF-32LE") else ""
    if at[0] >= most and at[1] >= most:
        return "UTF-32BE" if _reads_as(sample, "UTF-32BE") else ""
    if nuls >= max(LEAST_WIDE, len(sample) / 100):
        for encoding, count in (("UTF-16LE", at[1] + at[3]), ("UTF-16BE", at[0] + at[2])):
            if count >= ONE_SIDED * nuls and _has_few_blocks(sample, encoding) and _reads_as(sample, encoding):
                return encoding
    if strange >= max(1, len(sample) / 100):
        # The halves of ideographs are bytes of all kinds, without NULs; but few other bytes make ideographs alone.
        return next((name for name in ("UTF-16LE", "UTF-16BE") if _reads_as(sample, name, _EAST_ASIAN)), "")
    return ""


def _has_few_blocks(sample: bytes, encoding: str) -> bool:
    """Whether the high halves of the characters are two values at most: an alphabet's, and Latin's for blanks."""
    highs = sample[1 if encoding.endswith("LE") else 0 :: 2]
    return sum(count for _, count in Counter(highs).most_common(2)) >= len(highs) * (1 - 4 * MOST_STRANGE)


def _reads_as(sample: bytes, encoding: str, allowed: re.Pattern[str] | None = None) -> bool:
    """Whether nearly all of a sample is printable in this encoding, or ``allowed``."""
    width = int(encoding[4:6]) // 8
    text = sample[: len(sample) - len(sample) % width].decode(encoding, "replace")
    if allowed is not None:
        good = len(allowed.findall(text))
    else:
        good = sum((char.isprintable() or char in "\t\n\r\f") and char != "\ufffd" for char in text)
    return good >= len(text) * (1 - MOST_STRANGE)
