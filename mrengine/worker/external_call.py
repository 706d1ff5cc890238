"""Accounts for a call that a map function makes with its own client: reserved, logged and settled like any other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mrengine.engine import protocol as m
from mrengine.log.format import codec, task_records
from mrengine.providers.call import error_map
from mrengine.providers.call.counting import usage_of
from mrengine.records import Usage

if TYPE_CHECKING:
    from mrengine.providers.models.model import Model

__all__ = ["ExternalCall", "external_call"]


class ExternalCall:
    """The permission that ``context.budget()`` yields: ``tokens`` and ``max_tokens`` of ``model`` were granted.

    ``usage`` is None until ``used()`` is called.
    """

    def __init__(self, model: str, tokens: int, max_tokens: int = 0) -> None:
        self.model, self.tokens, self.max_tokens = model, tokens, max_tokens
        self.usage: Usage | None = None

    @property
    def granted(self) -> int:
        """All tokens that were granted."""
        return self.tokens + self.max_tokens

    def used(self, usage: Any) -> None:
        """Report what the call has used: a Usage, a number of tokens, the client's answer, or the usage in it.

        Several reports add up. ConfigError: the value holds no count.
        """
        reported = usage_of(usage)
        self.usage = reported if self.usage is None else self.usage + reported


@contextmanager
def external_call(
    lease: Any,
    model: Model,
    grant: ExternalCall,
    *,
    task: m.Start,
    round_: int,
    emit: m.Emit,
    done: Callable[[Usage, float | None], None],
) -> Iterator[ExternalCall]:
    """Log an INTENT before the block and a CALL after it, and report usage and cost to ``done(usage, cost_usd)``.

    Without ``used()`` the granted tokens count as used, unless an exception says that the call was turned away or never
    sent.
    """
    digest = os.urandom(16)  # nobody finds it again: there is no answer
    at: dict[str, Any] = {
        "round": round_,
        "chunk_id": task.chunk,
        "model_index": task.model,
        "digest": digest,
        "model": model.name,
    }
    intent = task_records.IntentRecord(
        at=time.time(), input_tokens=grant.tokens, output_tokens=grant.max_tokens, bound_tokens=grant.tokens, **at
    )
    emit(codec.INTENT, task.chunk, task.model, task_records.pack_intent(intent))
    begun, made, observed = time.monotonic(), True, None
    try:
        yield grant
    except Exception as error:
        # Only a call that was turned away was not made: before any other exception the provider may have billed it.
        failed = error_map.from_exception(error, model=model.name)
        made, observed = not error_map.turned_away(failed), failed.observed
        raise
    finally:
        made = made or grant.usage is not None  # map_fn has reported usage before it raised
        lease.settle(grant.usage, observed, made=made)
        usage = grant.usage or (Usage(grant.tokens, grant.max_tokens, estimated=True) if made else Usage())
        cost = None if model.price is None else model.price.cost(usage)
        done(usage, cost)
        call = task_records.CallRecord(
            at=time.time(), usage=usage, cost_usd=cost, reusable=False, finish_reason="own",
            latency_ms=(time.monotonic() - begun) * 1e3, text="", **at,
        )  # fmt: skip
        emit(codec.CALL, task.chunk, task.model, task_records.pack_call(call))
