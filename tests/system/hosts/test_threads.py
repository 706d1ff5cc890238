"""Hosts with threads, locks and processes of their own."""

from __future__ import annotations

import pytest

from tests.system.hosts.stage import Stage


def test_a_thread_that_ends_before_the_program(stage: Stage) -> None:
    """The supervisor outlives the thread that started it: a second thread uses the same warm pool."""
    text = """
    import threading
    told = []
    with runner() as warm:
        for _ in range(2):
            thread = threading.Thread(target=lambda: told.append(facts(warm.run(DOCS, ask))))
            thread.start()
            thread.join()
    with open(os.environ["HOST_REPORT"], "w") as file:
        json.dump(told, file)
    """
    first, second = stage.script(text)
    stage.check(first)
    stage.check(second)
    assert {result[2] for result in first["results"]} == {result[2] for result in second["results"]}
    assert {result[1] for result in first["results"]} == {result[1] for result in second["results"]}
    assert stage.server.stats().requests == 16


def test_two_runners_in_two_threads(stage: Stage) -> None:
    """Each has a supervisor and workers of its own, at the same time; a runner that is busy says so."""
    text = """
    import threading
    from mrengine.errors import ConfigError
    told, busy, both = {}, [], threading.Barrier(2)
    def one(name):
        mine = runner()
        def meet(event):
            both.wait(20)
            try:
                mine.run("x", ask)
            except ConfigError as error:
                busy.append(str(error))
        mine.on("job:start", meet)
        told[name] = facts(mine.run([name + text for text in DOCS], ask))
    threads = [threading.Thread(target=one, args=(name,)) for name in "ab"]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    with open(os.environ["HOST_REPORT"], "w") as file:
        json.dump([told["a"], told["b"], busy], file)
    """
    a, b, busy = stage.script(text)
    stage.check(a, docs=[f"adoc {n}" for n in range(8)])
    stage.check(b, docs=[f"bdoc {n}" for n in range(8)])
    assert not {result[2] for result in a["results"]} & {result[2] for result in b["results"]}
    assert len(busy) == 2
    stage.check_calls(16)


def test_locks_that_other_threads_hold_at_the_start(stage: Stage) -> None:
    """The host is not forked: a lock that is held, of the logging module's own too, is held in no worker."""
    text = """
    import logging, threading
    own, held = threading.Lock(), threading.Event()
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    def hold():
        with own:
            handler.acquire()
            logging._lock.acquire() if hasattr(logging, "_lock") else None
            held.set()
            over.wait(20)
            logging._lock.release()
            handler.release()
    over = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    def ask_and_log(chunk, context):
        import logging
        logging.getLogger("shop").debug("unheard")
        logging.getLogger("shop.new.%d" % chunk.id).info("unheard")
        return ask(chunk, context)
    threading.Timer(0.2, over.set).start()
    run = play(ask_and_log)
    over.set()
    thread.join()
    report(run)
    """
    stage.check(stage.script(text))
    stage.check_calls()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemonic_process(stage: Stage, method: str) -> None:
    """multiprocessing forbids it children of its own, as Celery's workers; a supervisor is a program of its own. Of one
    that was spawned the main module is called __mp_main__, which no worker would find.
    """
    text = f"""
    import multiprocessing
    def work():
        assert multiprocessing.current_process().daemon
        report(play())
    if __name__ == "__main__":
        child = multiprocessing.get_context("{method}").Process(target=work, daemon=True)
        child.start()
        child.join(40)
        assert child.exitcode == 0
    """
    stage.check(stage.script(text))
    stage.check_calls()


def test_a_pool_inside_map_fn(stage: Stage) -> None:
    """Workers are not daemonic: map_fn may have processes, which go with its worker."""
    text = """
    import multiprocessing
    def square(n):
        return n * n
    def ask_with_a_pool(chunk, context):
        with multiprocessing.Pool(2) as pool:
            squares = pool.map(square, range(4))
        return [*ask(chunk, context), squares, multiprocessing.current_process().daemon]
    report(play(ask_with_a_pool))
    """
    told = stage.script(text)
    stage.check(told)
    stage.check_calls()
    assert all(result[4:] == [[0, 1, 4, 9], False] for result in told["results"])


def test_what_map_fn_leaves_running_goes_with_its_worker(stage: Stage) -> None:
    """A child that sleeps, one in a session of its own, a thread that never ends: nothing of them is left."""
    text = """
    import subprocess, threading, time
    def leave(chunk, context):
        subprocess.Popen(["sleep", "600"], start_new_session=chunk.id == 3)
        threading.Thread(target=time.sleep, args=(600,)).start()
        return ask(chunk, context)
    report(play(leave))
    """
    stage.check(stage.script(text))
    stage.check_calls()


def test_a_job_inside_map_fn(stage: Stage) -> None:
    """A worker is a host like any other: a supervisor of its own below it, gone before its chunk is done."""
    text = """
    def summarise(chunk, context):
        inner = runner(workers=1).run([chunk.text + " a", chunk.text + " b"], ask)
        return [os.getpid(), [result.result for result in inner.results]]
    run = runner().run(["doc 1", "doc 2"], summarise)
    with open(os.environ["HOST_REPORT"], "w") as file:
        json.dump([result.result for result in run.results], file)
    """
    told = stage.script(text)
    for (worker, results), n in zip(told, (1, 2), strict=True):
        facts = {"host": worker, "results": results}
        stage.check(facts, docs=[f"doc {n} a", f"doc {n} b"], workers=1)
    stage.check_calls(4)
