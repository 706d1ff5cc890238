"""``python -m bench components``: what each part of the road costs by itself, in microseconds of CPU.

Each part is run over the same material several times; ``share`` is its part of a chunk of 6,000 tokens whose call is
made over a plain connection. A part that is off, such as profiling without a collector, stands there to show what it
costs all the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.chunking_texts import TEXTS
from bench.machine import save
from bench.numbers import spread
from mrengine.profiling import PerformanceCollector, profile
from mrengine.testing import LLMServer

__all__ = ["add_options", "main"]

Part = Callable[[], int]  # does it, and says how often


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--turns", type=int, default=5)


def reading() -> Iterator[Part]:
    """A file of 24 KB from the disk to a document."""
    from mrengine import read_source

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.txt"
        path.write_text(TEXTS["prose"](24_000, 1))

        def read() -> int:
            return sum(1 for _ in range(20) if next(iter(read_source(path))))

        yield read


def cutting() -> Iterator[Part]:
    """Text to chunks of 6,000 tokens, with exact counts."""
    from mrengine.chunking import safe_chunk

    texts = iter(TEXTS["prose"](240_000, seed) for seed in range(100))
    yield lambda: sum(1 for _ in safe_chunk(next(texts), target_tokens=6000, overlap_tokens=0))


def committing() -> Iterator[Part]:
    """A result of 1 KB into the log, in groups of 64."""
    from bench.compare.log import ours, result

    with tempfile.TemporaryDirectory() as folder:
        group = [result(number) for number in range(64)]
        with contextmanager(ours)(Path(folder)) as commit:

            def some() -> int:
                for _ in range(10):
                    commit(group)
                return 640

            yield some


def calling() -> Iterator[Part]:
    """A call over a plain connection, body and answer included; the client's CPU."""
    from mrengine.providers.connect import connect
    from mrengine.providers.models.model import resolve_models
    from mrengine.records import ModelSpec, Request

    text = TEXTS["prose"](24_000, 1)
    with LLMServer() as server:
        (model,) = resolve_models(ModelSpec("any", provider="http", base_url=server.url))
        client = connect(model, slots=1)

        def some() -> int:
            return sum(1 for _ in range(100) if client.complete(Request("any", text, max_tokens=64)).text)

        some()
        yield some


def unprofiled() -> Iterator[Part]:
    """A function under @profile while nothing is measured."""
    called = profile(lambda: None)

    def some() -> int:
        for _ in range(100_000):
            called()
        return 100_000

    yield some


def profiled() -> Iterator[Part]:
    """The same, into a collector."""
    called = profile(collector=PerformanceCollector())(lambda: None)

    def some() -> int:
        for _ in range(20_000):
            called()
        return 20_000

    yield some


PARTS: dict[str, Callable[[], Iterator[Part]]] = {
    "read a file": reading,
    "cut a chunk": cutting,
    "call": calling,
    "commit a result": committing,
    "@profile, off": unprofiled,
    "@profile, on": profiled,
}
OF_A_CHUNK = ("cut a chunk", "call", "commit a result")


def main(options: argparse.Namespace) -> int:
    """Measure, print, save."""
    samples: dict[str, list[float]] = {}
    for name, part in PARTS.items():
        with contextmanager(part)() as run:
            run()
            for _ in range(options.turns):
                began = time.process_time()
                count = run()
                samples.setdefault(name, []).append((time.process_time() - began) / count * 1e6)
    medians = {name: spread(found)["median"] for name, found in samples.items()}
    whole = sum(medians[name] for name in OF_A_CHUNK)
    rows: list[dict[str, Any]] = []
    for name, found in samples.items():
        told = spread(found)
        share = round(medians[name] / whole, 3) if name in OF_A_CHUNK else None
        rows.append(
            {
                "part": name,
                "about": (PARTS[name].__doc__ or "").strip(),
                "cpu_us": told.pop("median"),
                "share": share,
                **told,
            }
        )
        print(f"{name:18} {rows[-1]['cpu_us']:10.2f} µs  {'' if share is None else f'{share:.1%}'}")
    print(f"written to {save('components', rows, packages=['tiktoken', 'msgpack'], turns=options.turns)}")
    return 0
