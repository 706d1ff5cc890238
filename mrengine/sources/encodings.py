"""From bytes to text: by byte order mark, then as UTF-8, then as what the bytes look like, which is said.

A text is decoded as it comes. Up to the block with the first byte that is no UTF-8 all of it is ASCII, or it is UTF-8
with damage: then it is refused, since every other encoding would read wrongly what came before.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from mrengine.errors import ConfigError, SourceError
from mrengine.sources import filetypes
from mrengine.sources.notes import Notes

__all__ = ["check_encoding", "decoded", "mark_of"]

_MARKS = (
    # The longer ones first: UTF-32's begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_PIECES = 3  # that are waited for, behind the first which is no UTF-8
_SAMPLE_BYTES = 1 << 16
_LEAST_SENSE = 0.6  # of the characters beyond ASCII: letters within words, or usual marks
_USUAL = frozenset("“”‘’„‚‹›«»–—…•·€£¥§°©®™ªº¹²³½¼¾µ±×÷¿¡†‡´¨¸ß\xa0\xad")
_USUAL_MARKS = frozenset("“”‘’„‚‹›«»–—…\xa0\xad€°")  # that may stand right behind a letter
_FEW_PAIRS = 3
_LEAST_ODD = 4  # bytes, of an encoding that is not the most common one
_COMMON = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("iso8859_2", "iso8859_5", "iso8859_7", "iso8859_8", "iso8859_15", "koi8_r", "koi8_u", "mac_roman", "cp437"),
    *("gb18030", "big5", "big5hkscs", "cp932", "shift_jis", "euc_jp", "cp949"),
)
_RARE = "ÿþ"  # 255 and 254: of binary data rather
_SLACK = 0.05  # of two guesses as good as each other the more common one
# Letters that no language of Western Europe has together, and the encoding in which they are others.
_STRANGERS = (("ø", "ìèùò", "cp1250"), ("ðþý", "çü", "cp1254"))
# Letters beyond ASCII of languages that one of these encodings is for, the most common encoding first.
_LETTERS = (
    *(("cp1252", set(letters)) for letters in ("àâæçéèêëîïôœùûüÿ", "àèéìíîòóùú", "áéíñóúüïç", "áâãàçéêíóôõúü")),
    *(("cp1252", set(letters)) for letters in ("äöüßéàè", "åäöæøéüàè", "áðéíóúýþæö", "éëïóöüèêáíúàç")),
    *(
        ("cp1250", set(letters))
        for letters in ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž")
    ),
    *(("cp1257", set(letters)) for letters in ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž")),
    ("cp1254", set("çğıöşüâîûi̇")),
)
_LEAST_PLAIN = 0.3  # of the letters of a text in these languages are ASCII
_NAMES = {"cp1250": "Windows-1250", "cp1251": "Windows-1251", "cp1252": "Windows-1252", "cp1253": "Windows-1253"}


def mark_of(first: bytes) -> str:
    """The encoding that a byte order mark names, other than UTF-8; "": there is none."""
    return next((encoding for mark, encoding in _MARKS if first.startswith(mark)), "")


def check_encoding(encoding: str | None) -> str:
    """The encoding's own name; "" for None. ConfigError: there is none of this name."""
    if encoding is None:
        return ""
    try:
        found = codecs.lookup(encoding)
        if not found._is_text_encoding:
            raise LookupError(encoding)
    except (LookupError, TypeError, ValueError):
        raise ConfigError(f"there is no encoding {str(encoding)[:40]!r}", setting="encoding") from None
    return found.name


def decoded(
    pieces: Iterator[bytes], name: str, notes: Notes, *, encoding: str = "", charset: str = ""
) -> Iterator[str]:
    """The text of some bytes. ``encoding``: the caller's word; ``charset``: what a server said, which may be wrong.

    SourceError: they are not text in any encoding that can be told.
    """
    first = next(pieces, b"")
    pieces = chain((first,), pieces)
    if encoding:
        return _strictly(pieces, name, "utf-8-sig" if encoding == "utf-8" else encoding)
    if mark := mark_of(first):
        return _strictly(pieces, name, mark)
    return _utf8_or_guessed(pieces, name, notes, charset)


def _strictly(pieces: Iterator[bytes], name: str, encoding: str, errors: str = "strict") -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    try:
        for piece in pieces:
            if text := decoder.decode(piece):
                yield text
        if text := decoder.decode(b"", True):
            yield text
    except UnicodeError:
        message = f"{name} is not {encoding.upper()} all through: parts of it are damaged, or in another encoding"
        raise SourceError(message, source=name) from None


def _utf8_or_guessed(pieces: Iterator[bytes], name: str, notes: Notes, charset: str) -> Iterator[str]:
    waiting, offset, line, plain = b"", 0, 1, True
    for piece in pieces:
        data = waiting + piece
        whole = _whole_characters(data)
        try:
            text = data[:whole].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            yield from _guessed(data, error.start, pieces, _Place(name, offset, line, plain), notes, charset)
            return
        plain = plain and text.isascii()
        yield text
        waiting, offset, line = data[whole:], offset + whole, line + data.count(b"\n", 0, whole)
    if waiting:
        try:
            yield waiting.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            yield from _guessed(waiting, error.start, pieces, _Place(name, offset, line, plain), notes, charset)


def _whole_characters(data: bytes) -> int:
    """Where the last character that may be unfinished begins (at most four bytes before the end)."""
    for index in range(len(data) - 1, max(-1, len(data) - 5), -1):
        if data[index] & 0xC0 != 0x80:
            return index if data[index] >= 0xC0 else index + 1
    return len(data)


class _Place:
    """Where in a source a piece begins, and whether all before it was ASCII."""

    def __init__(self, name: str, offset: int, line: int, plain: bool) -> None:
        self.name, self.offset, self.line, self.plain = name, offset, line, plain


def _guessed(
    data: bytes, start: int, rest: Iterator[bytes], place: _Place, notes: Notes, charset: str
) -> Iterator[str]:
    """The text from the piece on that is no UTF-8 at ``start``."""
    further = list(islice(rest, _SAMPLE_PIECES))
    follows = data[start : start + filetypes.SAMPLE_BYTES] + b"".join(further)[: filetypes.SAMPLE_BYTES]
    binary = filetypes.looks_binary(follows)
    sample = b"".join((data, *further))
    encoding = "" if binary or not place.plain or _is_mostly_utf8(sample) else _likely(sample, charset)
    if not encoding:
        line = place.line + data.count(b"\n", 0, start)
        raise filetypes.undecodable(place.name, "utf-8", at=place.offset + start, line=line, follows=follows)
    shown = f"{_NAMES[encoding]} ({encoding})" if encoding in _NAMES else encoding
    notes.warnings.append(f"{place.name} is not UTF-8: it was read as {shown}; convert it if that is wrong")
    yield from _strictly(chain((data,), further, rest), place.name, encoding, "mrengine.c1")


def _is_mostly_utf8(data: bytes) -> bool:
    """Whether bytes that are no UTF-8 look like damaged UTF-8: in other encodings few pairs are characters of it."""
    odd = _odd_lines(data).decode("utf-8", "replace")
    wrong = odd.count("\ufffd")
    return _FEW_PAIRS * (sum(char > "\x7f" for char in odd) - wrong) > wrong


def _likely(data: bytes, charset: str) -> str:
    """The encoding that bytes look like; "": none makes sense of them."""
    sample = _odd_lines(data)
    if charset and _makes_sense(sample, charset):
        return charset
    if by_letters := _by_letters(sample):
        return by_letters
    from charset_normalizer import from_bytes

    found = list(from_bytes(sample, steps=1, chunk_size=max(1, len(sample)), cp_isolation=list(_COMMON)))
    least = min((match.chaos for match in found), default=1.0) + _SLACK
    names: dict[str, Any] = {name: match for match in found for name in (match.encoding, *match.could_be_from_charset)}
    western = names.get("cp1252")
    if western is not None and western.chaos <= least:
        return _checked(sample, _western(sample))
    odd = sum(byte > 0x7F for byte in sample)
    return _checked(sample, found[0].encoding) if found and odd >= _LEAST_ODD else ""


def _by_letters(sample: bytes) -> str:
    """The encoding in which all that is not ASCII within words are letters of one language; "": there is none."""
    odd = sum(byte > 0x7F for byte in sample)
    for encoding, letters in _LETTERS:
        if odd < _LEAST_ODD and encoding != "cp1252":
            continue
        try:
            text = sample.decode(encoding)
        except UnicodeError:
            continue
        others = [(at, char) for at, char in enumerate(text.lower()[: len(text)]) if char > "\x7f"]
        within = {char for at, char in others if char.isalpha() or (text[at - 1 : at] + "-")[0].isalpha()}
        plain = sum(char.isascii() and char.isalpha() for char in text)
        if within and within - _USUAL_MARKS <= letters and plain >= _LEAST_PLAIN * (plain + len(others)):
            return encoding
    return ""


def _western(sample: bytes) -> str:
    letters = set(sample.decode("cp1252", "ignore").lower())
    for some, others, encoding in _STRANGERS:
        if letters & set(some) and letters & set(others):
            return encoding
    return "cp1252"


def _checked(sample: bytes, encoding: str) -> str:
    return encoding if _makes_sense(sample, encoding) else ""


def _odd_lines(data: bytes) -> bytes:
    """The lines that are not ASCII: they alone say something."""
    lines, size = [], 0
    for line in data.split(b"\n"):
        if not line.isascii():
            lines.append(line[:_SAMPLE_BYTES])
            size += len(line)
            if size > _SAMPLE_BYTES:
                break
    return b"\n".join(lines) + b"\n"


def _makes_sense(sample: bytes, encoding: str) -> bool:
    """Whether most of what is not ASCII stands where letters stand."""
    try:
        text = codecs.getincrementaldecoder(encoding)("mrengine.c1").decode(sample)
    except (LookupError, UnicodeError):
        return False
    good = total = 0
    for at, char in enumerate(text):
        if char > "\x7f":
            total += 1
            kind = unicodedata.category(char)
            beside = text[at - 1 : at] + text[at + 1 : at + 2] if at else text[1:2]
            within = kind[0] in "LMN" and any(other.isalpha() for other in beside)
            good += char in _USUAL or (within and char not in _RARE)
            good += kind[0] in "PS" and char > "\u2fff"
    return total > 0 and good >= _LEAST_SENSE * total


def _c1(error: UnicodeError) -> tuple[str, int]:
    """The five bytes that Windows-1252 leaves open are controls, as browsers have it."""
    if isinstance(error, UnicodeDecodeError) and error.encoding in ("charmap", "cp1252"):
        return "".join(chr(byte) for byte in error.object[error.start : error.end]), error.end
    raise error


codecs.register_error("mrengine.c1", _c1)
