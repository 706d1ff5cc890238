"""From bytes to text: by byte order mark, as UTF-8, or as what the bytes look like, with a warning.

A text is decoded as it comes. If it had anything but ASCII before the first byte that is not UTF-8, it is refused as
damaged UTF-8: every other encoding would have read that part differently.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from mrengine.errors import ConfigError, SourceError
from mrengine.sources import filetypes
from mrengine.sources.loaders import Notes

__all__ = ["check_encoding", "decoded"]

_SAMPLE_PIECES = 3  # read ahead, behind the first that is no UTF-8
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
_RARE = "ÿþ"  # the bytes 255 and 254, which binary data has more often than text
_SLACK = 0.05  # by which Windows-1252 may be worse than the best guess, as most texts are in it
# No language of Western Europe has letters of both groups: a text with them is in that encoding, where they are others.
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
_LEAST_PLAIN = 0.3  # of the letters of a text in these languages that are ASCII
_NAMES = {"cp1250": "Windows-1250", "cp1251": "Windows-1251", "cp1252": "Windows-1252", "cp1253": "Windows-1253"}


def check_encoding(encoding: str | None) -> str:
    """The canonical name of an encoding; "" for None. ConfigError: no encoding has this name."""
    if encoding is None:
        return ""
    try:
        codec = codecs.lookup(encoding)
        if not codec._is_text_encoding:  # "hex", "zip"
            raise LookupError(encoding)
    except (LookupError, TypeError, ValueError):
        raise ConfigError(f"there is no encoding {str(encoding)[:40]!r}", setting="encoding") from None
    return codec.name


def decoded(
    pieces: Iterator[bytes], name: str, notes: Notes, *, encoding: str = "", charset: str = ""
) -> Iterator[str]:
    """The text of some bytes. ``encoding``: named by the caller; ``charset``: by a server, which may be wrong.

    SourceError: they are not text in any encoding that is recognised.
    """
    first = next(pieces, b"")
    pieces = chain((first,), pieces)
    if encoding:
        return _strictly(pieces, name, "utf-8-sig" if encoding == "utf-8" else encoding)
    if mark := filetypes.mark_of(first):
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
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    offset, line, plain = 0, 1, True
    for piece in chain(pieces, (b"",)):  # the empty one is the end, where a cut character is an error
        cut, _ = decoder.getstate()  # the beginning of a character whose rest is in this piece
        try:
            text = decoder.decode(piece, not piece)
        except UnicodeDecodeError as error:
            place = _Place(name, offset - len(cut), line, plain)
            yield from _guessed(cut + piece, error.start, pieces, place, notes, charset)
            return
        if text:
            yield text
        offset, line, plain = offset + len(piece), line + text.count("\n"), plain and text.isascii()


class _Place(NamedTuple):
    """Where in a source a piece begins. ``plain``: all before it is ASCII."""

    name: str
    offset: int
    line: int
    plain: bool


def _guessed(
    data: bytes, start: int, rest: Iterator[bytes], place: _Place, notes: Notes, charset: str
) -> Iterator[str]:
    """The text from a piece on whose byte at ``start`` is no UTF-8."""
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
    """Whether bytes look like damaged UTF-8: in other encodings few pairs of bytes happen to be characters of it."""
    odd = _odd_lines(data).decode("utf-8", "replace")
    wrong = odd.count("\ufffd")
    return _FEW_PAIRS * (sum(char > "\x7f" for char in odd) - wrong) > wrong


def _likely(data: bytes, charset: str) -> str:
    """The encoding that bytes look like; "": none makes sense of them."""
    sample = _odd_lines(data)
    # The languages of short texts first: charset-normalizer needs more text than they have.
    if charset and _makes_sense(sample, charset):
        return charset
    if by_letters := _by_letters(sample):
        return by_letters
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, steps=1, chunk_size=max(1, len(sample)), cp_isolation=list(_COMMON)))
    most_chaos = min((match.chaos for match in matches), default=1.0) + _SLACK
    names: dict[str, Any] = {
        name: match for match in matches for name in (match.encoding, *match.could_be_from_charset)
    }
    western = names.get("cp1252")
    if western is not None and western.chaos <= most_chaos:
        encoding = _western(sample)
    elif matches and sum(byte > 0x7F for byte in sample) >= _LEAST_ODD:
        encoding = matches[0].encoding
    else:
        return ""
    return encoding if _makes_sense(sample, encoding) else ""


def _by_letters(sample: bytes) -> str:
    """The encoding in which all characters of words beyond ASCII are letters of one language; "": there is none."""
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


def _odd_lines(data: bytes) -> bytes:
    """The lines that are not ASCII, up to a limit: the others are the same in every encoding."""
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
    """Decode the five bytes that Windows-1252 leaves undefined as control characters, as browsers do."""
    if isinstance(error, UnicodeDecodeError) and error.encoding in ("charmap", "cp1252"):
        return "".join(chr(byte) for byte in error.object[error.start : error.end]), error.end
    raise error


codecs.register_error("mrengine.c1", _c1)
