"""Loaders, which make text of files: their contract, and the choice of one by first bytes, name or content type."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from mrengine.errors import ConfigError, MissingExtra, MrengineError, SourceError

__all__ = ["FileLoader", "Loader", "Notes", "Piece", "find_loader", "loaded", "needs"]

log = logging.getLogger("mrengine")

GROUP = "mrengine.loaders"
_OFFICE = "application/vnd.openxmlformats-officedocument"


class Piece(NamedTuple):
    """A piece of a document's text. ``page``: the number of the page on which it begins; None: as the one before."""

    text: str
    page: int | None = None


@runtime_checkable
class Loader(Protocol):
    """Makes text of one kind of file. An entry point of the group ``mrengine.loaders`` names a class or an instance.

    ``suffixes``: in lower case, with their dot; ``media_types``: as servers send them. ``load`` takes a seekable binary
    file at its beginning and returns pieces of text, ``Piece`` or str. Whatever it raises makes its source unreadable;
    of a message, which may quote the document, only that of a SourceError is shown.
    """

    suffixes: tuple[str, ...]
    media_types: tuple[str, ...]

    def load(self, binary: BinaryIO) -> Iterable[Piece | str]:
        """The text of a file, in order."""
        ...


@dataclass(slots=True)
class Notes:
    """What is learned while a text is read. ``pages``: (number, offset of its first character) of each page, in order;
    ``warnings``: for the user.
    """

    pages: list[tuple[int, int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def log(self) -> None:
        """Log the warnings, for a caller who does not take the notes."""
        for line in self.warnings:
            log.warning("%s", line)


class FileLoader(NamedTuple):
    """A loader for a file. ``what``: what the file is, for errors; ``is_text``: its bytes are text, too."""

    what: str
    load: Callable[[BinaryIO], Iterable[Piece | str]]
    is_text: bool = False


class _Kind(NamedTuple):
    """A loader of our own, and how its files are recognised. ``home``: "module.function" in ``formats``."""

    what: str
    home: str
    suffixes: tuple[str, ...]
    media_types: tuple[str, ...]
    sign: str = ""  # a pattern of the first bytes


_PARQUET = r"PAR1[\x00-\x08\x0e-\x19]"
_ZIP = r"PK\x03\x04"
_KINDS = (
    _Kind("a PDF", "pdf.load", (".pdf",), ("application/pdf", "application/x-pdf"), r"(\xef\xbb\xbf)?\s{0,32}%PDF-\d"),
    _Kind("a Word document", "office.docx", (".docx",), (f"{_OFFICE}.wordprocessingml.document",), _ZIP + r".*?word/"),
    _Kind("a presentation", "office.pptx", (".pptx",), (f"{_OFFICE}.presentationml.presentation",), _ZIP + r".*?ppt/"),
    _Kind("a workbook", "office.xlsx", (".xlsx",), (f"{_OFFICE}.spreadsheetml.sheet",), _ZIP + r".*?xl/"),
    _Kind("a web page", "web_page.load", (".html", ".htm", ".xhtml"), ("text/html", "application/xhtml+xml")),
    _Kind("a Parquet file", "parquet.load", (".parquet", ".pq"), ("application/vnd.apache.parquet",), _PARQUET),
)  # fmt: skip


def find_loader(name: str, media_type: str, first: bytes) -> FileLoader | None:
    """The loader for a file with this name and these first bytes; None: it is text, or of no known kind.

    A loader of another package goes before ours. Ours are chosen by the first bytes, then by the media type of a
    server, then by the suffix.
    """
    match = re.search(r"\.[^./\\]+$", name)
    suffix = match[0].lower() if match else ""
    for title, loader in _plugins():
        if suffix in loader.suffixes or (media_type and media_type in loader.media_types):
            return FileLoader(f"a file for the loader {title}", loader.load)
    signed = next((kind for kind in _KINDS if kind.sign and _signs()[kind.home].match(first)), None)
    kind = signed or _by_name(suffix, media_type)
    if kind is None:
        return None
    module, _, function = kind.home.partition(".")
    load = getattr(import_module(f"mrengine.sources.formats.{module}"), function)
    return FileLoader(kind.what, load, is_text=module == "web_page")


def _by_name(suffix: str, media_type: str) -> _Kind | None:
    kind = next((kind for kind in _KINDS if media_type in kind.media_types), None)
    # A server that says "text/plain" of "notes.docx" is believed; "application/octet-stream" says nothing.
    if kind is not None or media_type.startswith("text/") or media_type.endswith(("json", "xml")):
        return kind
    return next((kind for kind in _KINDS if suffix in kind.suffixes), None)


@cache
def _signs() -> dict[str, re.Pattern[bytes]]:
    return {kind.home: re.compile(kind.sign.encode("latin-1"), re.DOTALL) for kind in _KINDS}


@cache  # entry points are searched on the disk, once for all files
def _plugins() -> list[tuple[str, Any]]:
    """The loaders of other packages. ConfigError: one cannot be used."""
    from importlib.metadata import entry_points

    loaders = []
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
            loader = loaded() if isinstance(loaded, type) else loaded
        except Exception as error:
            message = f"the loader {point.name!r} of {point.value} cannot be imported: {type(error).__name__}"
            raise ConfigError(message, setting=GROUP) from error
        if not isinstance(loader, Loader):
            message = f"the loader {point.name!r} of {point.value} lacks suffixes, media_types or load()"
            raise ConfigError(message, setting=GROUP)
        loaders.append((point.name, loader))
    return loaders


def needs(extra: str, what: str) -> MissingExtra:
    """The error of a file that needs a package which is not installed."""
    return MissingExtra(f"{what} needs a package that is not installed: pip install 'mrengine[{extra}]'", extra=extra)


def loaded(loader: FileLoader, binary: BinaryIO, name: str, pages: list[tuple[int, int]]) -> Iterator[str]:
    """The text of a file; (number, offset) of each page is appended to ``pages`` as it comes by. SourceError."""
    at = 0
    for piece in _pieces(loader, binary, name):
        text, page = (piece, None) if isinstance(piece, str) else piece
        if not isinstance(text, str):
            raise SourceError(f"the loader of {name} gave {type(text).__name__}, not text", source=name)
        if page is not None and (not pages or pages[-1][0] != page):
            pages.append((int(page), at))
        if text:
            at += len(text)
            yield text


def _pieces(loader: FileLoader, binary: BinaryIO, name: str) -> Iterator[Piece | str]:
    """The pieces of a loader. SourceError, whatever it raises: messages of parsers quote what they have parsed."""
    try:
        yield from loader.load(binary)
    except MissingExtra as error:
        raise MissingExtra(f"{name} is {loader.what}: {error}", extra=error.extra, source=name) from None
    except SourceError as error:
        raise SourceError(f"{name}: {error}", source=name, command=error.command) from None
    except MrengineError:
        raise
    except Exception as error:  # noqa: BLE001  # a damaged file can make a parser raise anything
        message = f"{name} cannot be read as {loader.what} ({type(error).__name__}): it is damaged, or something else"
        raise SourceError(message, source=name) from None
