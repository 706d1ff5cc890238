"""The decorator and the contexts: what they record, and that they cost nothing until they are asked."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mrengine import profiling
from mrengine.errors import ConfigError
from mrengine.profiling import (
    PerformanceCollector,
    ProfilerContext,
    async_profile_context,
    cprofile_context,
    profile,
)


@pytest.fixture
def collector() -> PerformanceCollector:
    return PerformanceCollector()


def test_a_function_is_recorded_by_its_qualified_name_also_where_it_raises(collector: PerformanceCollector) -> None:
    @profile(collector=collector)
    def divide(a: int, b: int) -> float:
        """Doc."""
        return a / b

    assert divide(6, b=3) == 2
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)
    (name,) = collector.names
    assert name.endswith("divide")
    assert len(collector) == 2
    assert divide.__doc__ == "Doc."


def test_the_bare_decorator_uses_the_collector_of_the_process() -> None:
    @profile
    def nothing() -> None: ...

    nothing()
    assert len(profiling.collector) == 0
    profiling.collector.enable()
    try:
        nothing()
        assert len(profiling.collector) == 1
    finally:
        profiling.collector.disable()
        profiling.collector.clear()


def test_a_coroutine_function_stays_one_and_its_waiting_counts(collector: PerformanceCollector) -> None:
    @profile(name="wait", collector=collector)
    async def wait() -> int:
        await asyncio.sleep(0.02)
        return 7

    async def both() -> list[int]:
        return list(await asyncio.gather(wait(), wait()))

    assert inspect.iscoroutinefunction(wait)
    assert asyncio.run(both()) == [7, 7]
    assert min(collector.records("wait")) >= 19


@pytest.mark.parametrize("enabled", [True, False])
def test_a_generator_keeps_its_protocol(collector: PerformanceCollector, enabled: bool) -> None:
    collector.enabled = enabled
    heard: list[object] = []

    @profile(name="count", collector=collector)
    def count() -> Iterator[int]:
        try:
            heard.append((yield 1))
            try:
                yield 2
            except KeyError as error:
                heard.append(error.args[0])
            yield 3
        finally:
            heard.append("closed")

    steps = count()
    assert inspect.isgeneratorfunction(count)
    assert next(steps) == 1
    assert steps.send("sent") == 2  # type: ignore[attr-defined]
    assert steps.throw(KeyError("thrown")) == 3  # type: ignore[attr-defined]
    steps.close()  # type: ignore[attr-defined]
    assert heard == ["sent", "thrown", "closed"]
    assert len(collector) == enabled


def test_a_generator_s_time_is_that_spent_inside(collector: PerformanceCollector) -> None:
    @profile(name="lazy", collector=collector)
    def lazy() -> Iterator[int]:
        yield from range(3)

    for _ in lazy():
        time.sleep(0.02)
    assert collector.records("lazy")[0] < 20


def test_an_asynchronous_generator_is_recorded_once(collector: PerformanceCollector) -> None:
    @profile(name="stream", collector=collector)
    async def stream() -> AsyncIterator[int]:
        for value in range(3):
            await asyncio.sleep(0)
            yield value

    async def read() -> list[int]:
        return [value async for value in stream()]

    assert inspect.isasyncgenfunction(stream)
    assert asyncio.run(read()) == [0, 1, 2]
    assert len(collector) == 1


@pytest.mark.parametrize("enabled", [True, False])
def test_an_asynchronous_generator_keeps_its_protocol(collector: PerformanceCollector, enabled: bool) -> None:
    """What is sent, thrown in and closed reaches it, and what it raises and cleans up comes back."""
    collector.enabled = enabled
    log: list[object] = []

    @profile(collector=collector)
    async def echo() -> AsyncGenerator[object, object]:
        try:
            sent: object = "begun"
            while True:
                try:
                    sent = yield sent
                except KeyError as error:
                    sent = repr(error)
                if sent == "end":
                    return
                if sent == "fail":
                    raise ValueError(sent)
        finally:
            log.append("closed")

    async def talk() -> None:
        stream = echo()
        log.extend([await anext(stream), await stream.asend(7), await stream.athrow(KeyError("k"))])
        await stream.aclose()
        stream = echo()
        await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await stream.asend("end")
        stream = echo()
        await anext(stream)
        with pytest.raises(ValueError, match="fail"):
            await stream.asend("fail")

    asyncio.run(talk())
    assert log == ["begun", 7, "KeyError('k')", "closed", "closed", "closed"]
    assert len(collector) == 3 * enabled


@pytest.mark.parametrize("above", [True, False])
def test_methods_of_every_kind_are_recorded_on_either_side_of_their_decorator(
    collector: PerformanceCollector, above: bool
) -> None:
    timed = profile(collector=collector)

    def both(kind: Any) -> Callable[[Any], Any]:
        return lambda function: timed(kind(function)) if above else kind(timed(function))

    class Reader:
        size = 3

        @timed
        def plain(self, n: int) -> int:
            return self.size + n

        @both(classmethod)
        def of_class(cls, n: int) -> int:
            return int(cls.size) + n

        @both(staticmethod)
        def static(n: int) -> int:
            return n

        @both(staticmethod)
        async def waits(n: int) -> int:
            return n

        @both(classmethod)
        async def yields(cls, n: int) -> AsyncIterator[int]:
            yield n

    class Derived(Reader):
        size = 5

    async def asked() -> list[int]:
        return [await Derived.waits(1), *[n async for n in Derived().yields(2)]]

    made = Derived()
    assert (made.plain(1), made.of_class(1), Derived.of_class(1), made.static(1), Derived.static(2)) == (6, 6, 6, 1, 2)
    assert asyncio.run(asked()) == [1, 2]
    counts = {name.rpartition(".")[2]: len(collector.records(name)) for name in collector.names}
    assert counts == {"plain": 1, "of_class": 2, "static": 2, "waits": 1, "yields": 1}


def test_a_function_under_the_decorator_travels_and_records_where_it_arrives(collector: PerformanceCollector) -> None:
    """By value, as what stands in a script or a notebook does."""

    @profile
    def bare(n: int) -> int:
        return n + 1

    @profile(collector=collector)
    def given(n: int) -> int:
        return bare(n) + 1

    arrived = cloudpickle.loads(cloudpickle.dumps(given))
    profiling.collector.enable()
    try:
        assert arrived(1) == 3
        assert [name.rpartition(".")[2] for name in profiling.collector.names] == ["bare", "given"]
    finally:
        profiling.collector.disable()
        profiling.collector.clear()
    assert len(collector) == 0


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a str"):
        profile("map")  # type: ignore[type-var]


def test_a_block_is_recorded_also_where_it_raises(collector: PerformanceCollector) -> None:
    timing = ProfilerContext("block", collector=collector)
    assert timing.duration_ms == 0
    with pytest.raises(KeyError), timing:
        raise KeyError
    assert collector.records("block") == [timing.duration_ms]

    async def run() -> None:
        async with ProfilerContext("block", collector=collector), async_profile_context("inner", collector=collector):
            await asyncio.sleep(0)

    asyncio.run(run())
    assert collector.names == ["block", "inner"]


def test_a_disabled_decorator_costs_less_than_ten_empty_calls(collector: PerformanceCollector) -> None:
    """The contract says under 1 µs; an empty call takes some 30 to 100 ns, and the ratio holds on any machine."""
    collector.disable()

    def empty() -> None: ...

    profiled = profile(collector=collector)(empty)

    def best(function: object, turns: int = 2_000) -> float:
        times = []
        for _ in range(40):
            began = time.thread_time()
            for _ in range(turns):
                function()  # type: ignore[operator]
            times.append(time.thread_time() - began)
        return min(times)

    assert best(profiled) < 10 * best(empty)


def test_cprofile_writes_the_table_and_the_profile(tmp_path: Path) -> None:
    with pytest.raises(KeyError), cprofile_context(tmp_path / "profile.txt", top_n=5):
        sorted(range(10), key={}.__getitem__)
    assert "cumulative" in (tmp_path / "profile.txt").read_text()
    assert (tmp_path / "profile.pstats").stat().st_size
    with cprofile_context() as profiler:
        sorted(range(10))
    assert profiler.getstats()
    with pytest.raises(ValueError, match="at least 1"), cprofile_context(top_n=0):
        pass
