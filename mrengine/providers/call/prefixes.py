"""The part of a prompt that a provider may cache: schema, system and the beginning that all calls have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

from mrengine.providers.models.model import Model
from mrengine.records import Request

__all__ = ["cacheable", "parted", "prefix_digest", "prefix_tokens"]

SHORTEST = 1024  # tokens of the shortest prefix that is cached, for models whose own minimum is not known
_BYTES_A_TOKEN = 3.5  # rather too few: marking a prefix that is too short costs nothing
_REMOTE = frozenset({"openai", "anthropic", "http"})


def cacheable(request: Request, model: Model) -> Request:
    """The same request; without ``cache`` if its provider would not cache its prefix."""
    if not request.cache:
        return request
    least = model.cache_min or SHORTEST
    long = _bytes(request) >= least * _BYTES_A_TOKEN
    return request if long and model.kind in _REMOTE else replace(request, cache=None)


def prefix_digest(request: Request) -> str:
    """The digest of a request's prefix; "" for a request that has none to cache."""
    if not request.cache:
        return ""
    hasher = blake2b(digest_size=12)
    for part in _parts(request):
        encoded = part.encode("utf-8", "surrogatepass")
        hasher.update(len(encoded).to_bytes(8, "big") + encoded)  # the length, so that parts cannot run together
    return hasher.hexdigest()


def prefix_tokens(request: Request) -> int:
    """About how many tokens may be cached, rather too few."""
    return int(_bytes(request) / _BYTES_A_TOKEN) if request.cache else 0


def _bytes(request: Request) -> int:
    return sum(len(part.encode("utf-8", "surrogatepass")) for part in _parts(request))


def _parts(request: Request) -> tuple[str, str, str]:
    schema = "" if request.schema is None else json.dumps(request.schema, ensure_ascii=False)
    return schema, request.system or "", request.prompt[: request.prefix]


def parted(request: Request, words: str, clean: Callable[[str], str]) -> tuple[str, str]:
    """(the part that may be cached, the rest) of a prompt. ``words``: the schema, if it is sent as text. It follows the
    prompt, or precedes a prefix to cache, as all calls have it in common.
    """
    if not request.cache:
        return "", clean(request.prompt) + words
    head, tail = clean(request.prompt[: request.prefix]), clean(request.prompt[request.prefix :])
    return (f"{words.lstrip()}\n\n{head}" if words else head), tail
