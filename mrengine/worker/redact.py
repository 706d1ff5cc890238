"""Hides what an error message must not repeat: text of the chunk, its prompts and answers, keys and header values.

A map function's own exception quotes values: ``int(text)``, ``table[text]``, ``a, b = text.split()``. Messages are
therefore compared with the texts in a folded form, letters and digits alone, that is the same for upper and lower case,
accents, other separators, URL quoting, escapes of repr, JSON and HTML, base64, base32 and hex.
"""

from __future__ import annotations

import base64
import binascii
import builtins
import html
import os
import re
import sys
import traceback as tb
import types
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from urllib.parse import unquote_to_bytes, urlsplit

from mrengine.errors import MrengineError
from mrengine.records import ModelSpec

__all__ = ["describe", "header_parts", "redact", "redacted_message", "secrets", "where"]

LONGEST = 500
RUN = 8  # so many characters that a message shares with a text are no coincidence
RUN_WITH_DIGIT = 6  # the same with a digit among them: numbers coincide less often than words
RUN_IN_QUOTES = 3  # what an exception quotes is a value
LARGEST = 1_000_000  # characters of texts: to compare more takes too long (docs/decisions/redacted-messages.md)
DASH = "…"

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTHORI[SZ]ATION", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEMES = frozenset({"basic", "bearer", "token"})
SHORTEST_SECRET = 4
# Python's own messages: documents may contain the same words, and these say what is wrong.
_STANDARD = re.compile(
    r"invalid literal for int\(\) with base \d+|could not convert string to float"
    r"|not enough values to unpack \(expected (at least )?\d+, got \d+\)|too many values to unpack \(expected \d+\)"
    r"|(list|string|tuple) index out of range|index out of range|division by zero|substring not found"
    r"|object (is not (callable|iterable|subscriptable)|has no attribute)|unsupported operand type\(s\) for"
    r"|Expecting (value|property name enclosed in double quotes|',' delimiter|':' delimiter)|Extra data"
    r"|line \d+ column \d+ \(char \d+\)|validation errors? for|is not in list|maximum recursion depth exceeded"
)
_QUOTED = re.compile(r"""(?:(?<!\w)|(?<=\bb))('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`)(?!\w)""")
_ENCODED = re.compile(r"\b(?:[0-9A-Fa-f]{2}[ :-]){5,}[0-9A-Fa-f]{2}\b|[A-Za-z0-9+/_-]{11,}={0,6}")
_CODED = re.compile(
    r"(?P<url>(?:%[0-9A-Fa-f]{2})+)|(?P<bytes>(?:\\x[0-9A-Fa-f]{2})+)|(?P<utf16>(?:\\u[0-9A-Fa-f]{4})+)"
    r"|(?P<utf32>\\U[0-9A-Fa-f]{8})|(?P<escape>\\[abfnrtv\\'\"/])|(?P<entity>&(?:#\d+|#[xX][0-9A-Fa-f]+|\w+);)"
)
_FILE = re.compile(r"[\w./+@~-]+\.py")
_INTERACTIVE = re.compile(
    r"<(stdin|console|dynamic-code|ipython-input-[\w-]+|frozen [\w.]+)>|/\S*/ipykernel_\d+/\d+\.py"
)
Span = tuple[int, int]
View = list[tuple[str, int, int]]  # characters of a message, each with the span of the message that it stands for


def secrets(specs: Iterable[ModelSpec | str] = (), env: Mapping[str, str] = os.environ) -> list[str]:
    """Values that no message may repeat: environment variables whose names say so, and the models' keys, headers (with
    their ``${VAR}``) and passwords.
    """
    values = {value for name, value in env.items() if _SECRET_NAME.search(name) and len(value) >= RUN}
    for spec in specs:
        values |= {value for value in _of_spec(spec, env) if len(value) >= SHORTEST_SECRET}
    return list(values)


def _of_spec(spec: ModelSpec | str, env: Mapping[str, str]) -> Iterator[str]:
    if isinstance(spec, str):
        return
    names = [spec.api_key_env] if isinstance(spec.api_key_env, str) else spec.api_key_env or ()
    yield from (env.get(name, "") for name in names)
    for value in spec.headers.values() if isinstance(spec.headers, Mapping) else ():
        yield from (env.get(name, "") for name in _VARIABLE.findall(str(value)))
        yield from header_parts(_VARIABLE.sub(lambda match: env.get(match[1], ""), str(value)))
    for address in (spec.base_url, spec.proxy):
        if address and "@" in address:
            yield from _of_address(address)
    for other in spec.fallbacks:
        yield from _of_spec(other, env)


def header_parts(value: str) -> Iterator[str]:
    """The value of a header, and its words: in "Bearer …" the second word is the secret."""
    yield value
    yield from (word for word in value.split() if word.casefold() not in _SCHEMES)


def _of_address(address: str) -> Iterator[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    yield from (unquote_to_bytes(part).decode("utf-8", "replace") for part in (parts.username, parts.password) if part)


def redact(
    message: str, texts: Iterable[str], *, hidden: Iterable[str] = (), code: Iterable[types.CodeType] = ()
) -> str:
    """Replace by an ellipsis whatever also stands in one of the texts: ``RUN`` or more characters, in any of the forms
    above; between quotes ``RUN_IN_QUOTES`` or more.

    A single word that ``code`` names (a key, an attribute) stays. ``hidden``: secrets, whatever the code says, whole
    ones at any length.
    """
    message = message[: LONGEST + 100]  # 100 more are enough to recognise a value that LONGEST cuts
    texts = [text for text in texts if text]
    if sum(map(len, texts)) > LARGEST:
        return "its message is not shown: the chunk is too large to be compared with it"
    views = list(_views(message))
    spans = _of_texts(message, views, texts, code) if texts else []
    spans += _of_secrets(views, list(hidden))
    return _without(message, spans)[:LONGEST].encode("utf-8", "replace").decode()


def _of_texts(message: str, views: list[View], texts: list[str], code: Iterable[types.CodeType]) -> list[Span]:
    spans: list[Span] = []
    for fold, enough in _FOLDS:
        folded = [fold(text) for text in texts]
        for view in views:
            spans += _shared(_folded(view, fold), folded, enough)
    standard = [match.span() for match in _STANDARD.finditer(message)]
    spans = [span for span in spans if not any(a <= span[0] and span[1] <= b for a, b in standard)]
    spans += _of_quotes(message, views, texts)
    names = _words(code) if spans else set()
    widened = (_widened(message, *span) for span in spans)
    spans = [span for span in widened if not _names(message[slice(*span)], names)]
    return spans + _of_encoded(message, [_alphanumeric(text) for text in texts])


def _names(piece: str, known: set[str]) -> bool:
    word = piece.strip("'\"` .,:;()[]{}")
    return re.fullmatch(r"\w+", word) is not None and word.casefold() in known


def _of_quotes(message: str, views: list[View], texts: list[str]) -> list[Span]:
    """Words between quotes that are words of a text; where it has no spaces between words, pieces of it."""
    quotes = [match.span(1) for match in _QUOTED.finditer(message)]
    if not quotes:
        return []
    plain = [_decomposed(text) for text in texts]
    words = {word for text in plain for word in re.findall(r"\w+", text)}
    spans = []
    for view in views:
        for start, stop in quotes:
            inside = _folded([c for c in view if start < c[1] and c[2] < stop], _decomposed)
            chars = "".join(char for char, _, _ in inside)
            for match in re.finditer(r"\w+", chars):
                word = match[0]
                piece = not word.isascii() and any(word in text for text in plain)
                if piece or (len(word) >= RUN_IN_QUOTES and word in words):
                    spans.append((inside[match.start()][1], inside[match.end() - 1][2]))
    return spans


def _of_secrets(views: list[View], secrets: list[str]) -> list[Span]:
    """Pieces of secrets, and whole ones at any length."""
    spans: list[Span] = []
    folded = [plain for secret in secrets if (plain := _alphanumeric(secret))]
    for view in views:
        message = _folded(view, _alphanumeric)
        spans += _shared(message, folded, _is_long)
        text = "".join(char for char, _, _ in message)
        for secret in folded:
            for match in re.finditer(re.escape(secret), text):
                spans.append((message[match.start()][1], message[match.end() - 1][2]))
    return spans + _of_encoded("".join(char for char, _, _ in views[0]), folded)


def _of_encoded(message: str, folded: list[str]) -> list[Span]:
    """Pieces that are base64, base32 or hex of something in the texts."""
    spans = []
    for match in _ENCODED.finditer(message):
        for decoded in _decodings(match[0]):
            plain = _alphanumeric(decoded)
            view = [(char, 0, 0) for char in plain]
            if next(_shared(view, folded, _is_long), None) is not None:
                spans.append(match.span())
    return spans


def _decodings(piece: str) -> Iterator[str]:
    bare = piece.rstrip("=").replace("-", "+").replace("_", "/")
    digits = re.sub("[ :-]", "", piece)
    b32, b64 = (bare + "=" * (-len(bare) % size) for size in (8, 4))
    for decode, text in ((bytes.fromhex, digits), (base64.b32decode, b32), (base64.b64decode, b64)):
        try:
            yield decode(text).decode("utf-8", "replace")
        except (ValueError, binascii.Error):
            continue


# folding


def _decomposed(text: str) -> str:
    """Fold a text by case, with accents apart from their letters."""
    return unicodedata.normalize("NFKD", text.casefold())


def _alphanumeric(text: str) -> str:
    """Fold a text to its letters and digits, without case and accents."""
    return re.sub(r"[\W_]+", "", _decomposed(text))


def _closed_up(text: str) -> str:
    """Fold a text by case and spaces alone, for values with many other characters than letters and digits."""
    return "".join(text.casefold().split())


def _is_long(run: str) -> bool:
    return len(run) >= RUN or (len(run) >= RUN_WITH_DIGIT and any(map(str.isdigit, run)))


def _is_long_with_marks(run: str) -> bool:
    alphanumeric = sum(map(str.isalnum, run))
    return len(run) >= RUN and (alphanumeric >= RUN_WITH_DIGIT or any(map(str.isdigit, run)))


_FOLDS: tuple[tuple[Callable[[str], str], Callable[[str], bool]], ...] = (
    (_alphanumeric, _is_long),
    (_closed_up, _is_long_with_marks),
)


def _folded(view: View, fold: Callable[[str], str]) -> View:
    return [(folded, start, stop) for char, start, stop in view for folded in fold(char)]


def _views(message: str) -> Iterator[View]:
    """The message as it is, then decoded once, twice and three times: a URL inside of JSON is escaped twice."""
    view = [(char, at, at + 1) for at, char in enumerate(message)]
    yield view
    for _ in range(3):
        text = "".join(char for char, _, _ in view)
        matches = list(_CODED.finditer(text))
        if not matches:
            return
        decoded: View = []
        at = 0
        for match in matches:
            decoded += view[at : match.start()]
            span = view[match.start()][1], view[match.end() - 1][2]
            decoded += [(char, *span) for char in _read(match)]
            at = match.end()
        view = decoded + view[at:]
        yield view


def _read(match: re.Match[str]) -> str:
    text = match[0]
    if match["url"] or match["bytes"]:
        data = bytes.fromhex(text.replace("%", "").replace("\\x", ""))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data.decode("latin-1")  # repr() of a str writes é as \xe9
    if match["utf16"]:
        return bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be", "replace")
    if match["utf32"]:
        return chr(min(int(text, base=0), sys.maxunicode))
    if match["escape"]:
        return " " if text[1].isalpha() else text[1]
    return html.unescape(text)


# matching


def _shared(message: View, texts: Sequence[str], enough: Callable[[str], bool]) -> Iterator[Span]:
    """Spans of the message whose folded form stands in a text and is long enough to be no coincidence."""
    chars = "".join(char for char, _, _ in message)
    at = 0
    while at < len(chars):
        end = max((_reach(chars, at, text) for text in texts), default=at)
        if enough(chars[at:end]):
            yield message[at][1], message[end - 1][2]
            at = end
        else:
            at += 1


def _reach(chars: str, at: int, text: str) -> int:
    """The end of the longest run from ``at`` that the text contains, found by doubling, then halving."""
    low, step = 0, RUN_WITH_DIGIT
    while at + low + step <= len(chars) and chars[at : at + low + step] in text:
        low += step
        step *= 2
    while step:
        if at + low + step <= len(chars) and chars[at : at + low + step] in text:
            low += step
        else:
            step //= 2
    return at + low


def _widened(message: str, start: int, stop: int) -> Span:
    """Extend a span to whole words."""
    while start and message[start - 1].isalnum() and message[start].isalnum():
        start -= 1
    while stop < len(message) and message[stop - 1].isalnum() and message[stop].isalnum():
        stop += 1
    return start, stop


def _without(message: str, spans: list[Span]) -> str:
    out: list[str] = []
    at = 0
    for start, stop in sorted(spans):
        if stop <= at:
            continue
        if start > at or not out:
            out += [message[at:start], DASH]
        at = stop
    return "".join([*out, message[at:]])


def _words(code: Iterable[types.CodeType]) -> set[str]:
    """The words in the names and constants of code, and the names of Python's builtins."""
    words = {name.casefold() for name in dir(builtins)} | {"nonetype"}
    waiting: list[object] = list(code)
    while waiting:
        item = waiting.pop()
        if isinstance(item, types.CodeType):
            waiting += [*item.co_consts, *item.co_names, *item.co_varnames, *item.co_freevars, item.co_name]
        elif isinstance(item, (tuple, frozenset)):
            waiting += item
        elif isinstance(item, str):
            words.update(re.findall(r"\w+", item.casefold()))
    return words


# exceptions


# Read around any property or metaclass of user code, which may raise or lie.
_NAME_OF = type.__dict__["__name__"].__get__
_MODULE_OF = type.__dict__["__module__"].__get__
_TRACEBACK_OF = BaseException.__dict__["__traceback__"].__get__


def describe(error: BaseException, texts: Iterable[str] = (), hidden: Iterable[str] | None = None) -> str:
    """``Type: message`` of an exception, redacted, without lone surrogates.

    ``hidden``: secrets; None: those of the environment.
    """
    texts, hidden = list(texts), secrets() if hidden is None else list(hidden)
    name, text = _type_name(error, texts, hidden), redacted_message(error, texts, hidden)
    return f"{name}: {text}" if text else name


def redacted_message(error: BaseException, texts: Iterable[str], hidden: Iterable[str]) -> str:
    """The message of an exception, redacted, without its type."""
    try:
        return redact(str(error), texts, hidden=hidden, code=_code_of(error))
    except BaseException:  # noqa: BLE001  # its own __str__, whatever that raises
        return "its message cannot be read"


def _type_name(error: BaseException, texts: Iterable[str], hidden: Iterable[str]) -> str:
    """The name of an exception's class; redacted unless its module has the class under that name."""
    try:  # a class that is made at run time may be named after a value of the document
        kind = type(error)
        name = str(_NAME_OF(kind))  # not kind.__name__: a metaclass may raise
        if getattr(sys.modules.get(str(_MODULE_OF(kind))), name, None) is kind:
            return name
        return redact(f"'{name}'", texts, hidden=hidden, code=_code_of(error)).strip("'")
    except BaseException:  # noqa: BLE001  # a metaclass of the user's own
        return "an exception"


def _code_of(error: BaseException) -> list[types.CodeType]:
    """The code that raised an exception, whose words may stay. An error about models has its message from error_map."""
    code = [frame.f_code for frame, _ in tb.walk_tb(_TRACEBACK_OF(error))]
    if issubclass(type(error), MrengineError):
        from mrengine.providers.call import error_map

        code += [value.__code__ for value in vars(error_map).values() if isinstance(value, types.FunctionType)]
    return code


def where(error: BaseException, *, own: str) -> str:
    """The frames of an exception without those in files under ``own``: file, line and function, no source, no value.
    Code that was made at run time shows its line alone: its name may be a value.
    """
    frames = [f for f in tb.extract_tb(_TRACEBACK_OF(error), limit=None) if not f.filename.startswith(own)]
    return "\n".join(map(_frame, frames[-20:]))


def _frame(frame: tb.FrameSummary) -> str:
    name = frame.filename
    if _FILE.fullmatch(name) or os.path.exists(name) or _INTERACTIVE.fullmatch(name):
        return f'File "{name}", line {frame.lineno}, in {frame.name}'
    return f'File "{name if name == "<string>" else "<unknown>"}", line {frame.lineno}'
