"""Estimates what a job would cost, without a call: chunks are cut and counted, and nothing is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mrengine.budget import estimate_tokens
from mrengine.errors import ConfigError
from mrengine.host.arguments import check_map
from mrengine.host.chunk_limits import chunking_of
from mrengine.log.format.document_facts import pack_facts, pages_between, unpack_facts
from mrengine.providers.batches.client import has_batches
from mrengine.providers.call.structured import in_words
from mrengine.providers.models.model import Model
from mrengine.providers.models.resolution import OPENAI
from mrengine.records import Chunk, Estimate, Usage
from mrengine.settings import Settings
from mrengine.sources import Reading, documents_of

__all__ = ["estimate"]

ANSWER_TOKENS = 1024  # the default of max_tokens
FOREIGN_RATIO = 1.3  # another tokenizer's count over ours
NOT_COUNTED = "retries, re-asks, continued answers and a reduce by prompt are not counted"
UNKNOWN = "one call a chunk: how many the map function makes is not known (calls_per_chunk= or sample= says it)"


@dataclass(frozen=True, slots=True)
class _Work:
    """The calls and tokens of one chunk, on average, and what that was assumed from."""

    calls: float
    input_tokens: float
    output_tokens: float
    assumed: str


def estimate(
    document: Any,
    map_fn: Callable[..., Any] | None,
    settings: Settings,
    models: Sequence[Model],
    *,
    calls_per_chunk: float | None = None,
    sample: int = 0,
) -> Estimate:
    """Estimate a job, as ``MapReduceRunner.estimate`` says; ``balance="all"`` counts each chunk for each model."""
    _check(map_fn, calls_per_chunk, sample)
    counted = _Counted(sample)
    counted.count(_chunks(document, settings, models))
    tokens = counted.tokens / counted.chunks if counted.chunks else 0.0
    work = _measured(map_fn, counted.sample()) if sample else _assumed(map_fn, calls_per_chunk, tokens)
    each = len(models) if settings.balance == "all" else 1
    calls, input_tokens, output_tokens = (
        math.ceil(round(number * counted.chunks, 6)) for number in (work.calls, work.input_tokens, work.output_tokens)
    )
    longest = math.ceil(work.input_tokens / work.calls) if work.calls else 0
    size = input_tokens, output_tokens, longest
    cost = _together([_cost(model, *size) for model in models], all_models=each > 1)
    batched = [_cost(model, *size, batch=True) if has_batches(model) else None for model in models]
    return Estimate(
        counted.chunks,
        calls * each,
        input_tokens * each,
        cost,
        output_tokens * each,
        work.calls,
        (work.assumed, NOT_COUNTED),
        _together(batched, all_models=each > 1),
    )


def _together(costs: Sequence[float | None], *, all_models: bool) -> float | None:
    # Which model is given which chunk is not known before: without balance="all" the dearest model bounds the cost.
    priced = [cost for cost in costs if cost is not None]
    if not costs or len(priced) < len(costs):
        return None
    return sum(priced) if all_models else max(priced)


def _check(map_fn: Any, calls_per_chunk: Any, sample: Any) -> None:
    number = isinstance(calls_per_chunk, (int, float)) and not isinstance(calls_per_chunk, bool)
    if calls_per_chunk is not None and not (number and 0 <= calls_per_chunk < math.inf):
        raise ConfigError(f"calls_per_chunk={calls_per_chunk!r}: it is a number, 0 or more", setting="calls_per_chunk")
    if type(sample) is not int or sample < 0:
        raise ConfigError(f"sample={sample!r}: it is a number of chunks, 0 or more", setting="sample")
    if sample and calls_per_chunk is not None:
        raise ConfigError("calls_per_chunk is given or measured by sample=: choose one", setting="sample")
    if sample and map_fn is None:
        raise ConfigError("sample= runs the map function over some chunks: give it", setting="sample")
    if map_fn is not None:
        check_map(map_fn)


def _chunks(document: Any, settings: Settings, models: Sequence[Model]) -> Iterable[Chunk]:
    chunker, first = chunking_of(settings, models).chunker(), 0
    reading = Reading(skip=settings.on_source_error == "skip")
    for source in documents_of(document):
        before = len(reading.errors)
        chunks = list(chunker.chunk(reading.text(source), document_id=source.id, first_id=first))
        if source.fields or reading.pages:
            facts = unpack_facts(pack_facts(source.id, source.fields, reading.pages))
            chunks = [
                replace(
                    chunk,
                    fields=facts.fields,
                    page_marks=pages_between(facts.pages, chunk.start - chunk.overlap, chunk.end),
                )
                for chunk in chunks
            ]
        if len(reading.errors) == before:  # otherwise the source broke off: it is left out, or check() below raises
            first += len(chunks)
            yield from chunks
    reading.check()


@dataclass(slots=True)
class _Counted:
    """Counts chunks and keeps an evenly spread sample of them."""

    # How many there will be is not known: whenever twice the sample is kept, every second one goes.

    wanted: int
    chunks: int = 0
    tokens: int = 0
    _kept: list[Chunk] = field(default_factory=list)
    _stride: int = 1

    def count(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            if self.wanted and self.chunks % self._stride == 0:
                self._keep(chunk)
            self.chunks += 1
            self.tokens += chunk.tokens

    def _keep(self, chunk: Chunk) -> None:
        self._kept.append(chunk)
        if len(self._kept) > 2 * self.wanted:
            self._kept = self._kept[::2]
            self._stride *= 2

    def sample(self) -> list[Chunk]:
        """The sample: as many chunks as are wanted, or all where there are fewer."""
        step = max(1.0, len(self._kept) / self.wanted)
        return [self._kept[int(at * step)] for at in range(min(self.wanted, len(self._kept)))]


def _assumed(map_fn: Any, calls_per_chunk: float | None, tokens: float) -> _Work:
    fields: dict[str, Any] = getattr(map_fn, "prompt_fields", dict)()
    sized = getattr(map_fn, "answer_tokens", None)
    answer = int(fields.get("max_tokens") or (sized(int(tokens)) if callable(sized) else ANSWER_TOKENS))
    schema = fields.get("response_model")
    texts = (fields.get("template"), fields.get("system"), in_words(schema) if schema else None)
    around = estimate_tokens("".join(text for text in texts if text)) if any(texts) else 0
    calls = 1.0 if calls_per_chunk is None else float(calls_per_chunk)
    if calls_per_chunk is not None:
        basis = f"{calls:g} calls a chunk, as you say, each with the chunk's text"
    else:
        basis = "one call a chunk" if fields else UNKNOWN
    basis += f", and answers of {answer} tokens"
    return _Work(calls, calls * (tokens + around), calls * answer, basis)


def _measured(map_fn: Any, chunks: Sequence[Chunk]) -> _Work:
    """Run the map function over some chunks, and count what it asks a fake model. As user code it may do anything."""
    from mrengine.testing.context import FakeContext

    calls = input_tokens = output_tokens = 0
    raised: dict[str, int] = {}
    for chunk in chunks:
        context = FakeContext()
        context.chunk = chunk
        try:
            map_fn(chunk, context)
        except Exception as error:  # noqa: BLE001  # its parser may not accept the fake's answer
            raised[type(error).__name__] = raised.get(type(error).__name__, 0) + 1
        calls += len(context.requests) + len(context.grants)
        for request in context.requests:
            schema = in_words(request.schema) if request.schema is not None else ""
            input_tokens += estimate_tokens(request.prompt + schema, chunk.text, chunk.tokens, request.system)
            output_tokens += request.max_tokens
        input_tokens += sum(grant.tokens for grant in context.grants)
        output_tokens += sum(grant.max_tokens for grant in context.grants)
    number = len(chunks) or 1
    basis = f"{calls / number:g} calls a chunk, measured over {len(chunks)} chunks with a fake model's answers"
    if raised:
        basis += f"; of these {', '.join(f'{times} raised {name}' for name, times in raised.items())}"
    return _Work(calls / number, input_tokens / number, output_tokens / number, basis)


def _cost(model: Model, tokens: int, answers: int, longest: int, *, batch: bool = False) -> float | None:
    # OpenAI's own tokenizer is the one that counts here.
    ratio = 1.0 if model.base_url == OPENAI else FOREIGN_RATIO
    usage, longest = Usage(int(tokens * ratio) + 1, answers), int(longest * ratio)
    return None if model.price is None else model.price.cost(usage, batch=batch, longest=longest)
