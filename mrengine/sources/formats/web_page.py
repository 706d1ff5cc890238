"""HTML, by ``trafilatura``: a page's main text as Markdown, without menus and the like; all its text if it has none."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterator
from typing import BinaryIO

from mrengine.errors import SourceError
from mrengine.sources.filetypes import mark_of
from mrengine.sources.loaders import Piece, needs

__all__ = ["load"]

_HIDDEN = re.compile(r"(?is)<!--.*?-->|<(script|style|noscript|template|head|svg)\b.*?</\1\s*>")
_BLOCK = re.compile(
    r"(?i)</?(p|div|br|li|ul|ol|tr|table|h[1-6]|section|article|header|footer|nav|pre|blockquote)\b[^>]*>"
)
_TAG = re.compile(r"(?s)<[a-zA-Z/!?][^>]*>")
_TITLE = re.compile(r"(?is)<title[^>]*>(.*?)</title\s*>")
_CHARSET = re.compile(
    rb"(?i)<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([a-z0-9_-]+)|^<\?xml[^>]{0,100}encoding=[\"']([a-z0-9_-]+)"
)


def load(binary: BinaryIO) -> Iterator[Piece]:
    """The page's text, below its title. MissingExtra; SourceError: it has none."""
    try:
        import trafilatura
    except ImportError:
        raise needs("html", "a web page") from None
    for name in ("trafilatura", "htmldate", "justext"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they quote what they read
    page = _decoded(binary.read())
    text = trafilatura.extract(
        page,
        output_format="markdown",
        include_formatting=True,
        include_tables=True,
        include_comments=True,
        favor_recall=True,
        deduplicate=False,
    )
    text = (text or "").strip() or _visible(page)
    if not text:
        raise SourceError("it has no text: pages that a script fills have to be saved by a browser first")
    yield Piece(_title(page, text) + text + "\n")


def _decoded(data: bytes) -> str:
    """The page as text: by its byte order mark, as UTF-8, as it declares itself, else as browsers read it."""
    declared = _CHARSET.search(data[:4096])
    named = (declared[1] or declared[2]).decode("ascii").lower() if declared else ""
    # Browsers read these as Windows-1252, so that is what pages with these names are written in.
    named = "cp1252" if named in ("iso-8859-1", "latin1", "latin-1", "us-ascii") else named
    # UTF-8 before the declared encoding: text in another encoding is hardly ever valid UTF-8.
    for encoding in (mark_of(data), "utf-8-sig", named):
        try:
            if encoding:
                return data.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    return data.decode("cp1252", "replace")


def _title(page: str, text: str) -> str:
    """The title as a heading, where the text does not begin with it."""
    match = _TITLE.search(page)
    title = " ".join(html.unescape(_TAG.sub("", match[1])).split()) if match else ""
    return f"# {title}\n\n" if title and title not in text[: len(title) + 200] else ""


def _visible(page: str) -> str:
    """All text that a page shows."""
    text = _TAG.sub("", _BLOCK.sub("\n", _HIDDEN.sub(" ", page)))
    lines = (" ".join(line.split()) for line in html.unescape(text).split("\n"))
    return "\n".join(line for line in lines if line)
