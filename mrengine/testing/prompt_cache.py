"""The test server's prompt cache, by the rules that vendors publish, and its bill, by arithmetic of its own.

Anthropic: what precedes a ``cache_control`` mark, tools and system first, is written at the mark. Later calls that
begin with the same blocks read it, up to 20 blocks before a mark. Nothing shorter than the minimum is cached; a request
may have four marks. OpenAI: the longest beginning that an earlier call had, in steps from the minimum on, without
marks. In both, what a call writes can be read once its answer has begun: calls that start together read nothing. A word
is a token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import Any

__all__ = ["Billed", "PromptCache", "TooManyMarks", "dollars", "usage"]

_TTL_S = {"5m": 300.0, "1h": 3600.0}
_LOOK_BACK = 20  # blocks before a mark
_MOST_MARKS = 4
_STEP = 128  # tokens, by which OpenAI's cached beginnings grow


class TooManyMarks(ValueError):
    """A request with more than four marks."""


@dataclass(frozen=True, slots=True)
class Billed:
    """Tokens of one answer. ``fresh``: neither read from the cache nor written into it."""

    fresh: int
    output: int
    read: int = 0
    written: int = 0
    written_1h: int = 0

    @property
    def input(self) -> int:
        """The whole prompt."""
        return self.fresh + self.read + self.written + self.written_1h


def dollars(price: Mapping[str, Any], billed: Billed, *, factor: float) -> Decimal:
    """The exact bill of one answer. ``price``: US dollars per million tokens, with ``long`` for prompts of more than
    ``long_above``; ``factor``: of a batch.
    """
    if billed.input > price.get("long_above", billed.input):
        price = price["long"]
    each = {
        "input": billed.fresh,
        "output": billed.output,
        "cached": billed.read,
        "cache_write": billed.written,
        "cache_write_1h": billed.written_1h,
    }
    # Decimal: the job's own sum in floats is compared with this one, and must not share its rounding.
    total = sum((Decimal(str(price.get(name, price["input"]))) * count for name, count in each.items()), Decimal(0))
    return total * Decimal(str(factor)) / 1_000_000


def usage(shape: str, billed: Billed) -> dict[str, Any]:
    """The usage in a vendor's shape: Anthropic's input is without cached tokens, OpenAI's includes them."""
    if shape == "anthropic":
        return {
            "input_tokens": billed.fresh,
            "output_tokens": billed.output,
            "cache_read_input_tokens": billed.read,
            "cache_creation_input_tokens": billed.written + billed.written_1h,
            "cache_creation": {
                "ephemeral_5m_input_tokens": billed.written,
                "ephemeral_1h_input_tokens": billed.written_1h,
            },
        }
    return {
        "prompt_tokens": billed.input,
        "completion_tokens": billed.output,
        "total_tokens": billed.input + billed.output,
        "prompt_tokens_details": {"cached_tokens": billed.read, "cache_write_tokens": billed.written},
    }


@dataclass(slots=True)
class _Entry:
    readable_at: float
    until: float
    ttl_s: float


class PromptCache:
    """The caches of all keys and models. ``minimum``: tokens of the shortest prefix."""

    def __init__(self, minimum: int) -> None:
        self._minimum = minimum
        self._entries: dict[bytes, _Entry] = {}

    def bill(self, shape: str, body: Mapping[str, Any], output: int, *, key: str, now: float, delay_s: float) -> Billed:
        """Look a request up, write what it writes, and return its bill. TooManyMarks."""
        whose = f"{key}\0{body.get('model')}\0"  # part of each digest, so that one dict holds all caches
        if shape == "anthropic":
            return self._marked(whose, _blocks(body), output, now, now + delay_s)
        return self._automatic(whose, _words(body), output, now, now + delay_s)

    def _marked(self, whose: str, blocks: Sequence[_Block], output: int, now: float, ready: float) -> Billed:
        # The digest of every beginning that ends with a block; reads look at up to 20 of them for each mark.
        ends, tokens, hasher = [], 0, blake2b(whose.encode(), digest_size=16)
        for block in blocks:
            tokens += block.tokens
            hasher.update(block.bytes)
            ends.append((tokens, hasher.digest()))
        marks = [n for n, block in enumerate(blocks) if block.ttl]
        if len(marks) > _MOST_MARKS:
            raise TooManyMarks
        looked = sorted({n for mark in marks for n in range(max(0, mark - _LOOK_BACK), mark + 1)}, reverse=True)
        read = next((ends[n][0] for n in looked if self._reads(ends[n][1], now)), 0)  # the longest one
        written, upto = {"5m": 0, "1h": 0}, read
        for mark in marks:
            total, digest = ends[mark]
            if total >= self._minimum and total > read:
                self._write(digest, ready, blocks[mark].ttl)
                written[blocks[mark].ttl] += total - upto
                upto = total
        return Billed(tokens - read - sum(written.values()), output, read, written["5m"], written["1h"])

    def _automatic(self, whose: str, words: Sequence[str], output: int, now: float, ready: float) -> Billed:
        read, hasher, begun = 0, blake2b(whose.encode(), digest_size=16), 0
        for end in range(self._minimum, len(words) + 1, _STEP):
            hasher.update(("\0".join(words[begun:end]) + "\0").encode("utf-8", "surrogatepass"))
            begun, digest = end, hasher.digest()
            if self._reads(digest, now):
                read = end
            elif digest not in self._entries or self._entries[digest].until <= now:
                self._write(digest, ready, "5m")
        return Billed(len(words) - read, output, read)

    def _reads(self, digest: bytes, now: float) -> bool:
        entry = self._entries.get(digest)
        if entry is None or not entry.readable_at <= now < entry.until:
            return False
        entry.until = now + entry.ttl_s  # each read renews it
        return True

    def _write(self, digest: bytes, ready: float, ttl: str) -> None:
        self._entries[digest] = _Entry(ready, ready + _TTL_S[ttl], _TTL_S[ttl])


@dataclass(frozen=True, slots=True)
class _Block:
    bytes: bytes
    tokens: int
    ttl: str  # of its mark; "": it has none


def _blocks(body: Mapping[str, Any]) -> list[_Block]:
    """All blocks of a request to Messages, in the order of the cache: tools, system, messages."""
    blocks = [_block(tool, "tool") for tool in body.get("tools") or ()]
    system = body.get("system")
    blocks += [_block(one, "system") for one in _listed(system)]
    for message in body.get("messages") or ():
        blocks += [_block(one, str(message.get("role"))) for one in _listed(message.get("content"))]
    return blocks


def _listed(content: Any) -> list[Any]:
    if content is None:
        return []
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _block(content: Mapping[str, Any], role: str) -> _Block:
    mark = content.get("cache_control")
    ttl = str(mark.get("ttl", "5m")) if isinstance(mark, dict) else ""
    plain = {name: value for name, value in content.items() if name != "cache_control"}
    text = plain["text"] if plain.get("type") == "text" else json.dumps(plain.get("input_schema", plain))
    # Without the mark: the same text is the same beginning, wherever an earlier call had its marks.
    return _Block(json.dumps([role, plain], sort_keys=True).encode(), len(text.split()), ttl)


def _words(body: Mapping[str, Any]) -> list[str]:
    """All words of a request to Chat Completions; its schema precedes the messages."""
    schema = body.get("response_format")
    words = json.dumps(schema).split() if schema else []
    for message in body.get("messages") or ():
        content = message.get("content")
        text = content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content or ())
        words += [f"<{message.get('role')}>", *text.split()]
    return words
