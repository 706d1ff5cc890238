"""Who owns an answer: a digest of the endpoint and the keys that were used, which reveals neither."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgpack

from mrengine.errors import MrengineError

if TYPE_CHECKING:
    from mrengine.providers.models.model import Model

__all__ = ["owner_of"]


def owner_of(models: Sequence[Model], env: Mapping[str, str] = os.environ) -> bytes:
    """The owner's digest, 16 bytes. The order of keys does not matter; another key, header or address does."""
    facts = [[model.kind, model.base_url or "", _keys(model, env), _headers(model)] for model in models]
    return blake2b(msgpack.packb(facts, unicode_errors="surrogatepass"), digest_size=16).digest()


def _keys(model: Model, env: Mapping[str, str]) -> list[str]:
    from mrengine.providers.models import keys

    found = []
    for lane in (model, *model.lanes):
        with suppress(MrengineError):  # a key that is missing fails the call itself, with a better message
            found.append((lane.key_env and keys.key_in(lane.key_env, env)) or "")
    return sorted(found)


def _headers(model: Model) -> list[list[str]]:
    """The headers as they are sent."""
    # A callable is called anew: answers that were bought with one token are not shared with the token that replaces it.
    given = model.spec.headers
    if callable(given):
        try:
            given = given()
        except Exception:  # noqa: BLE001  # user code; the call itself will tell
            given = {"unknown": os.urandom(16).hex()}  # an owner that nobody else is: nothing is shared
    return sorted([str(name).lower(), os.path.expandvars(str(value))] for name, value in (given or {}).items())
