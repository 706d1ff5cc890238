"""Hosts that run an event loop."""

from __future__ import annotations

from tests.system.hosts.stage import Stage, documented


def test_inside_a_running_loop(stage: Stage) -> None:
    """It works, blocks the loop, and the warning says what to do, at the caller's own line."""
    text = """
    import asyncio, warnings
    async def main():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = play()
        report(run, told=[[str(one.message), one.category.__name__, one.filename] for one in caught])
    asyncio.run(main())
    """
    told = stage.script(text)
    stage.check(told)
    stage.check_calls()
    [[message, category, filename]] = told["told"]
    assert category == "RuntimeWarning"
    assert "asyncio.to_thread" in message
    assert filename == str(stage.folder / "host.py")


def test_beside_a_running_loop(stage: Stage) -> None:
    """asyncio.to_thread does not warn, and leaves the loop free while the job runs."""
    text = """
    import asyncio
    async def main():
        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1
        ticks = 0
        ticking = asyncio.create_task(tick())
        a, b = runner(), runner()
        first, second = await asyncio.gather(
            asyncio.to_thread(a.run, ["a" + text for text in DOCS], ask),
            asyncio.to_thread(b.run, ["b" + text for text in DOCS], ask),
        )
        ticking.cancel()
        with open(os.environ["HOST_REPORT"], "w") as file:
            json.dump([facts(first), facts(second), ticks], file)
    asyncio.run(main())
    """
    a, b, ticks = stage.script(text)
    stage.check(a, docs=[f"adoc {n}" for n in range(8)])
    stage.check(b, docs=[f"bdoc {n}" for n in range(8)])
    stage.check_calls(16)
    assert ticks > 5


def test_a_cancelled_task_stops_its_job(stage: Stage) -> None:
    """As docs/operations.md has it: what was in flight when the task was cancelled is kept, and paid for once."""
    text = """
async def main():
    job = runner("cancelled")
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    job.on("chunk:processed", lambda event: loop.call_soon_threadsafe(started.set))
    task = asyncio.create_task(summarise(job, [f"doc {n}" for n in range(400)], ask))
    await started.wait()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        status = job.status()
        with open(os.environ["HOST_REPORT"], "w") as file:
            json.dump([status.done, status.state], file)
asyncio.run(main())
"""
    done, state = stage.script(
        "import asyncio, contextlib\nfrom mrengine.errors import JobCancelled\n" + documented("asyncio") + text
    )
    assert state == "stopped"
    assert 0 < done < 400
    stage.check_nothing_left()
    stage.check_calls(done)
