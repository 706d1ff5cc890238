"""Measures code: a decorator and context managers that record into a collector, and one that runs cProfile."""

from __future__ import annotations

import cProfile
import functools
import inspect
import io
import pstats
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar, overload

from mrengine.errors import ConfigError
from mrengine.profiling.durations import PerformanceCollector
from mrengine.profiling.durations import collector as own

__all__ = ["ProfilerContext", "async_profile_context", "cprofile_context", "profile"]

F = TypeVar("F", bound=Callable[..., Any])


class ProfilerContext:
    """``with ProfilerContext("parse") as timing: …`` records how long the block took, even if it raises.

    ``timing.duration_ms`` is the time so far, and after the block its whole time. ``async with`` works, too.
    """

    __slots__ = ("_began", "_collector", "_ended", "name")

    def __init__(self, name: str, *, collector: PerformanceCollector | None = None) -> None:
        self.name = name
        self._collector = own if collector is None else collector
        self._began = self._ended = 0

    @property
    def duration_ms(self) -> float:
        """The block's duration in milliseconds, so far or as a whole; 0.0 before the block."""
        if not self._began:
            return 0.0
        return ((self._ended or time.perf_counter_ns()) - self._began) / 1e6

    def __enter__(self) -> ProfilerContext:
        self._ended = 0
        self._began = time.perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.perf_counter_ns()
        self._collector.record(self.name, self.duration_ms)

    async def __aenter__(self) -> ProfilerContext:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


@asynccontextmanager
async def async_profile_context(
    name: str, *, collector: PerformanceCollector | None = None
) -> AsyncIterator[ProfilerContext]:
    """:class:`ProfilerContext` for ``async with``. The time counts while other tasks of the event loop run."""
    with ProfilerContext(name, collector=collector) as timing:
        yield timing


@overload
def profile(function: F, /) -> F: ...
@overload
def profile(*, name: str | None = None, collector: PerformanceCollector | None = None) -> Callable[[F], F]: ...
def profile(
    function: F | None = None, /, *, name: str | None = None, collector: PerformanceCollector | None = None
) -> F | Callable[[F], F]:
    """Record how long each call of a function takes, under its qualified name.

    Works on functions, coroutine functions, generators and asynchronous generators. A generator's time is that spent
    inside of it, without its consumer's between two values. Failed calls are recorded, too.
    """
    if function is None:
        return functools.partial(_wrap, name=name, collector=collector)
    return _wrap(function, name=name, collector=collector)


def _wrap(function: F, *, name: str | None, collector: PerformanceCollector | None) -> F:
    if isinstance(function, (classmethod, staticmethod)):  # @profile stands above @classmethod
        inner = _wrap(function.__func__, name=name, collector=collector)
        return type(function)(inner)
    if not callable(function):
        raise ConfigError(f"@profile decorates a function, not a {type(function).__name__}")
    label = name or str(getattr(function, "__qualname__", type(function).__name__))
    # The wrapper's closure holds it. So a map function that is pickled by value takes it along, see its __reduce__().
    target = own if collector is None else collector
    return functools.wraps(function)(_wrapper_for(function)(function, label, target))  # type: ignore[return-value]


def _wrapper_for(function: Callable[..., Any]) -> Callable[[Any, str, PerformanceCollector], Callable[..., Any]]:
    # A wrapper of the function's own kind: inspect must say the same of both.
    if inspect.isasyncgenfunction(function):
        return _async_generator
    if inspect.iscoroutinefunction(function):
        return _coroutine
    return _generator if inspect.isgeneratorfunction(function) else _function


def _function(function: Any, label: str, target: PerformanceCollector) -> Callable[..., Any]:
    def profiled(*args: Any, **kwargs: Any) -> Any:
        if not target.enabled:  # looked up in each call, as a collector may be enabled later
            return function(*args, **kwargs)
        with ProfilerContext(label, collector=target):
            return function(*args, **kwargs)

    return profiled


def _coroutine(function: Any, label: str, target: PerformanceCollector) -> Callable[..., Any]:
    async def profiled(*args: Any, **kwargs: Any) -> Any:
        if not target.enabled:
            return await function(*args, **kwargs)
        with ProfilerContext(label, collector=target):
            return await function(*args, **kwargs)

    return profiled


class _Spent:
    """The time inside a generator: a clock that stops while its consumer works."""

    __slots__ = ("began", "total")

    def __init__(self) -> None:
        self.total = 0
        self.began = 0

    def __enter__(self) -> None:
        self.began = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self.total += time.perf_counter_ns() - self.began


def _generator(function: Any, label: str, target: PerformanceCollector) -> Callable[..., Any]:
    def profiled(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        if not target.enabled:
            return (yield from function(*args, **kwargs))
        # Not ``yield from``: it would count the consumer's time between two values. The protocol is the same by hand.
        spent = _Spent()
        inner = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, inner)
        try:
            while True:
                try:
                    with spent:
                        value = step()
                except StopIteration as end:
                    return end.value
                try:
                    sent = yield value
                except GeneratorExit:
                    with spent:  # its ``finally`` blocks are its own time
                        inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - what was thrown in belongs to the wrapped generator
                    step = functools.partial(inner.throw, error)
                else:
                    step = functools.partial(inner.send, sent)
        finally:
            target.record(label, spent.total / 1e6)

    return profiled


def _async_generator(function: Any, label: str, target: PerformanceCollector) -> Callable[..., Any]:
    async def profiled(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        # Also by hand while the collector is disabled: there is no ``yield from`` to delegate with.
        spent = _Spent() if target.enabled else None
        inner = function(*args, **kwargs)
        step = inner.asend(None)
        try:
            while True:
                try:
                    if spent is None:
                        value = await step
                    else:
                        with spent:
                            value = await step
                except StopAsyncIteration:
                    return
                try:
                    sent = yield value
                except GeneratorExit:
                    with spent or nullcontext():
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - what was thrown in belongs to the wrapped generator
                    step = inner.athrow(error)
                else:
                    step = inner.asend(sent)
        finally:
            if spent is not None:
                target.record(label, spent.total / 1e6)

    return profiled


@contextmanager
def cprofile_context(path: str | Path | None = None, top_n: int = 30) -> Iterator[cProfile.Profile]:
    """Run a block of this thread under :mod:`cProfile`.

    ``path``: a text file for the table of the ``top_n`` functions by cumulative time; the whole profile goes beside it,
    with the suffix ``.pstats``, for ``snakeviz`` and its like. None: nothing is written; use the profile that the block
    is given. The files are written even if the block raises. ValueError for ``top_n`` below 1.
    """
    if top_n < 1:
        raise ValueError(f"top_n is at least 1, not {top_n}")
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        yield profiler
    finally:
        profiler.disable()
        if path is not None:
            text = io.StringIO()
            pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(top_n)
            Path(path).write_text(text.getvalue(), encoding="utf-8")
            profiler.dump_stats(Path(path).with_suffix(".pstats"))
