"""The engine's loop, step by step, over a backend that does what the test says."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from mrengine.engine import protocol as m
from mrengine.engine.loop import Engine
from mrengine.engine.protocol import RoundSettings
from mrengine.engine.worker_monitor import HANG_GRACE_S, SETTLED_S, UNCLAIMED_S
from mrengine.errors import LogError
from mrengine.log.format import codec, task_records
from mrengine.log.format.job_records import NoteRecord, unpack_note


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A backend without processes: what was sent lies in ``held``; the test says what comes back."""

    def __init__(self, workers: int, slots: int = 1) -> None:
        self.workers, self.slots = workers, slots
        self.held: list[deque[m.Start]] = [deque() for _ in range(workers)]
        self.running: dict[int, list[m.Started]] = {}
        self.drained = False
        self.killed: list[int] = []
        self.rss = 0
        self.halted: set[int] = set()

    def send(self, worker: int, tasks: Sequence[m.Start]) -> None:
        self.held[worker].extend(tasks)

    def poll(self, timeout_s: float) -> list[m.Message]:
        return []

    def started(self, worker: int) -> Sequence[m.Started]:
        return self.running.get(worker, ())

    def resident(self, worker: int) -> int:
        return self.rss

    def stopped(self, worker: int) -> bool:
        return worker in self.halted

    def drain(self) -> None:
        self.drained = True

    def kill(self, worker: int) -> None:
        self.killed.append(worker)


class Journal:
    """Log and announcer in one: what happened, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.size = 0
        self.durable_to = 0
        self.failed: set[int] = set()
        self.error: LogError | None = None
        self.notes: list[NoteRecord] = []

    def append(self, kind: int, payload: bytes) -> int:
        if kind == codec.NOTE:
            self.notes.append(unpack_note(payload))
            return self.size
        self.events.append(("append", kind))
        if kind == codec.FAILURE:
            self.failed.add(task_records.unpack_failure(payload).chunk_id)
        self.size += 1
        return self.size

    def write(self) -> None:
        self.events.append(("write", None))

    def commit(self) -> int:
        if self.error is not None:
            raise self.error
        self.events.append(("commit", None))
        self.durable_to = self.size
        return self.size

    def durable(self, offset: int) -> None:
        assert offset <= self.durable_to
        self.events.append(("durable", offset))

    def note(self, name: str, fields: Any) -> None:
        self.events.append(("note", name))

    def line(self, packed: bytes) -> None:
        self.events.append(("line", packed))

    def kinds(self) -> list[int]:
        return [value for what, value in self.events if what == "append"]


class Bench:
    """An engine on a script, a journal and a clock."""

    def __init__(self, chunks: int = 4, workers: int = 1, slots: int = 1, **settings: Any) -> None:
        self.clock, self.journal, self.backend = Clock(), Journal(), Script(workers, slots)
        settings = {"round": 0, "models": ["m"], **settings}
        self.engine = Engine(
            backend=self.backend,
            log=self.journal,
            announcer=self.journal,
            settings=RoundSettings(**settings),
            pending=range(chunks),
            document_of=lambda chunk: f"doc-{chunk}",
            clock=self.clock,
            wall=lambda: 0.0,
        )
        self.say(*((worker, m.READY, -1, -1, b"") for worker in range(workers)))

    def say(self, *messages: m.Message) -> None:
        self.engine.take(messages)

    def result(self, worker: int = 0) -> int:
        """The first task that a worker holds comes to its end; its chunk."""
        task = self.backend.held[worker].popleft()
        self.say((worker, codec.RESULT, task.chunk, task.model, b"result"))
        return task.chunk

    def die(self, worker: int, started: Sequence[int], *, exitcode: int = -9, ready: bool = True) -> None:
        """A worker dies with these chunks running, and comes back (``ready``: as far as that)."""
        models = {task.chunk: task.model for task in self.backend.held[worker]}
        self.backend.held[worker].clear()
        running = [m.Started(chunk, models[chunk], self.clock.now) for chunk in started]
        cause = "ended by SIGKILL" if exitcode == -9 else f"exit code {exitcode}"
        self.say((worker, m.DIED, -1, -1, m.Death(running, exitcode, cause)))
        if ready:
            self.say((worker, m.READY, -1, -1, b""))

    def holds(self, worker: int = 0) -> list[int]:
        return [task.chunk for task in self.backend.held[worker]]


def test_a_round_gives_out_commits_and_ends() -> None:
    """One task a slot at a time; done when all have results."""
    bench = Bench(chunks=3)
    assert bench.holds() == [0]
    assert [bench.result() for _ in range(3)] == [0, 1, 2]
    assert bench.engine.state == "done"
    assert bench.journal.kinds() == [codec.RESULT] * 3


def test_a_call_that_was_begun_is_gone_on_with_by_the_same_model() -> None:
    """After a death too, whatever the balance would say now: its answer may be in the log."""
    bench = Bench(chunks=3, workers=1, models=["a", "b"], balance="least_used")
    task = bench.backend.held[0][0]
    bench.say((0, codec.INTENT, task.chunk, task.model, b"intent"))
    bench.engine._choice.given(task.model)
    bench.die(0, [task.chunk])
    again = bench.backend.held[0][0]
    assert (again.chunk, again.model) == (task.chunk, task.model)


def test_nothing_is_announced_before_it_is_durable() -> None:
    """append, then commit, then durable; the next task goes out before the commit."""
    bench = Bench(chunks=2)
    bench.journal.events.clear()
    bench.result()
    assert [what for what, _ in bench.journal.events] == ["append", "commit", "durable"]
    assert bench.holds() == [1]


def test_an_intent_is_written_and_not_synced() -> None:
    """It has to survive this process only."""
    bench = Bench()
    bench.journal.events.clear()
    bench.say((0, codec.INTENT, 0, 0, b"intent"))
    assert [what for what, _ in bench.journal.events] == ["append", "write"]


def test_a_log_that_fails_lets_what_is_in_flight_end() -> None:
    """Its calls are paid for, and their workers keep the answers: ``drain_s``, as at every stop."""
    bench = Bench(chunks=4, workers=2, slots=1, drain_s=10.0)
    bench.journal.error = LogError("no room", reason="full", path="log")
    bench.result(0)
    assert bench.engine.state is None
    assert bench.backend.drained
    assert bench.holds(0) == [2]  # it was given out before the disk was asked
    bench.clock.now += 9.0
    bench.result(1)
    bench.say((0, m.DROPPED, 2, 0, b""))
    assert bench.engine.state == "log"
    assert bench.engine.facts == {"message": "no room", "reason": "full", "path": "log", "ranges": []}
    assert [what for what, _ in bench.journal.events].count("durable") == 0


def test_a_log_that_fails_while_the_job_drains_is_reported() -> None:
    """What was asked for before cannot be had; what hangs is not waited for."""
    bench = Bench(chunks=4, workers=2, slots=1, drain_s=10.0)
    bench.engine.stop("stopped")
    bench.journal.error = LogError("no room", reason="full")
    bench.result(0)
    assert bench.engine.state is None
    bench.clock.now += 11.0
    bench.say()
    assert bench.engine.state == "log"


def test_an_outcome_counts_once() -> None:
    """A second one of the same task is not even logged."""
    bench = Bench(chunks=2)
    bench.result()
    bench.say((0, codec.RESULT, 0, 0, b"again"))
    assert bench.journal.kinds() == [codec.RESULT]


def test_a_task_that_kills_its_worker_is_given_up() -> None:
    """After max_attempts, with the cause; the others go on."""
    bench = Bench(chunks=2, max_attempts=3)
    for _ in range(3):
        assert bench.holds() == [0]
        bench.die(0, [0])
    assert bench.journal.kinds().count(codec.ATTEMPT) == 3
    assert bench.journal.kinds()[-1] == codec.FAILURE
    deaths = [note for note in bench.journal.notes if note.name == "worker:crashed"]
    assert [(note.worker_id, note.fields["exitcode"]) for note in deaths] == [(0, -9)] * 3
    assert bench.holds() == [1]
    bench.result()
    assert bench.engine.state == "done"


def test_tasks_that_waited_are_free_of_charge() -> None:
    """Only what was started is charged; the rest is given out again as attempt 1."""
    bench = Bench(chunks=4, slots=1)
    bench.engine._workers[0].prefetch.window = 4
    bench.result()
    assert len(bench.holds()) == 3
    bench.die(0, [1])
    assert bench.backend.held[0][0] == m.Start(1, 0, 2)
    bench.result()
    assert [task.attempt for task in bench.backend.held[0]] == [1, 1]


@pytest.mark.parametrize("guilty", [0, 3, 5, 7])
def test_suspects_are_halved_until_the_guilty_is_alone(guilty: int) -> None:
    """Eight slots: three halvings, then its three attempts; seven innocents finish."""
    bench = Bench(chunks=8, slots=8, max_attempts=3)
    deaths = 0
    while bench.engine.state is None:
        running = bench.holds()
        if guilty in running:
            deaths += 1
            bench.die(0, running)
        else:
            bench.result()
    kinds = bench.journal.kinds()
    assert kinds.count(codec.RESULT) == 7
    assert kinds.count(codec.FAILURE) == 1
    assert deaths == 3 + 3


def test_a_pool_whose_workers_only_die_is_broken() -> None:
    """Deaths without a finished task are bounded, and the cause is named."""
    bench = Bench(chunks=1, workers=2)
    deaths = 0
    while not bench.backend.drained:
        bench.die(1, [])
        deaths += 1
        assert deaths < 50
    bench.result()
    assert bench.engine.state == "broken"
    assert "SIGKILL" in bench.engine.facts["cause"]


def test_a_worker_that_cannot_start_ends_the_job() -> None:
    """With its cause."""
    bench = Bench()
    bench.say((0, m.FAILED_START, -1, -1, b"ImportError: x"))
    bench.backend.held[0].clear()
    bench.say((0, m.DROPPED, 0, 0, b""))
    assert bench.engine.state == "broken"
    assert "ImportError" in bench.engine.facts["message"]


def test_a_worker_that_ends_itself_while_it_starts_ends_the_job() -> None:
    """Once may be a thread of an earlier round; its successor that does the same has an initializer that exits."""
    bench = Bench(chunks=2)
    bench.die(0, [], ready=False, exitcode=3)
    assert not bench.backend.drained
    bench.die(0, [], ready=False, exitcode=3)
    bench.backend.held[0].clear()
    bench.say()
    assert bench.engine.state == "broken"
    assert "while it started" in bench.engine.facts["cause"]


def test_a_worker_that_is_killed_while_it_starts_does_not() -> None:
    """Whoever kills it may stop killing."""
    bench = Bench(chunks=2)
    bench.die(0, [], ready=False)
    bench.die(0, [], ready=False)
    bench.say((0, m.READY, -1, -1, b""))
    bench.result()
    bench.result()
    assert bench.engine.state == "done"


def test_a_worker_that_does_not_come_up_ends_the_job() -> None:
    """An initializer that hangs: nothing waits for ever."""
    bench = Bench(chunks=2, chunk_timeout_s=10.0)
    bench.die(0, [], ready=False)
    bench.clock.now += 10 + HANG_GRACE_S + 1
    bench.say()
    assert bench.engine.state == "broken"
    assert "initializer" in bench.engine.facts["cause"]


def test_a_worker_that_was_stopped_is_replaced() -> None:
    """SIGSTOP, seen twice; its tasks go back and are charged to nobody."""
    bench = Bench(chunks=2, slots=2, max_attempts=1)
    bench.backend.halted = {0}
    bench.clock.now += 1
    bench.say()
    assert bench.backend.killed == []
    bench.clock.now += 1
    bench.say()
    assert bench.backend.killed == [0]
    bench.die(0, [0, 1])
    assert codec.ATTEMPT not in bench.journal.kinds()
    assert sorted(bench.holds()) == [0, 1]


def _pass(bench: Bench, seconds: float) -> None:
    """Time goes by, second by second, and nobody says anything."""
    until = bench.clock.now + seconds
    while bench.clock.now < until and not bench.backend.killed:
        bench.clock.now += 1
        bench.say()


def test_a_worker_whose_slots_are_all_overdue_goes_at_once() -> None:
    """Nothing in it can end: what else it was given does not wait for drain_s. One slot that works has that time."""
    for busy in (1, 0):
        bench = Bench(chunks=60, slots=2, chunk_timeout_s=10.0, drain_s=60.0)
        for _ in range(10):
            bench.clock.now += 0.001
            bench.result()
        first, second, *given = bench.holds()
        assert given
        late = bench.clock.now - 10.0 - HANG_GRACE_S - 1
        since = [late, bench.clock.now if busy else late]
        bench.backend.running = {
            0: [m.Started(key, 0, began) for key, began in zip((first, second), since, strict=True)]
        }
        bench.clock.now += 1
        bench.say()
        assert bench.backend.killed == ([] if busy else [0])


def test_a_task_that_is_stopped_again_and_again_is_given_up() -> None:
    """The first stop may have come from outside; those after it are crashes, and do not break the pool."""
    bench = Bench(chunks=5, max_attempts=3)
    for charges in (0, 1, 2, 3):
        bench.backend.halted, bench.backend.killed = {0}, []
        _pass(bench, 3)
        assert bench.backend.killed == [0]
        bench.backend.halted = set()
        bench.die(0, [0])
        assert bench.journal.kinds().count(codec.ATTEMPT) == charges
    assert bench.journal.failed == {0}
    assert bench.engine.state is None


def test_every_task_may_be_stopped_once() -> None:
    """Whoever stops workers from outside breaks no pool."""
    bench = Bench(chunks=20, slots=1, max_attempts=1)
    while bench.holds():
        bench.backend.halted, bench.backend.killed = {0}, []
        _pass(bench, 3)
        bench.backend.halted = set()
        bench.die(0, bench.holds()[:1])
        bench.result()
    assert bench.engine.state == "done"
    assert not bench.journal.failed


def test_a_worker_that_stops_while_it_starts_is_replaced_once() -> None:
    """From outside, maybe; where the next one stops as well, the initializer does it."""
    bench = Bench(chunks=2)
    for state in (None, "broken"):
        bench.backend.halted, bench.backend.killed = {0}, []
        _pass(bench, 3)
        assert bench.backend.killed == [0]
        bench.backend.halted = set()
        bench.die(0, [], ready=False)
        assert bench.engine.state == state
    assert "it was stopped by" in bench.engine.facts["message"]


def test_a_task_that_runs_on_after_its_outcome_is_ended() -> None:
    """Soon, where nothing else runs in the worker; it costs nobody an attempt."""
    bench = Bench(chunks=3)
    bench.backend.running = {0: [m.Started(0, 0, bench.clock.now)]}
    bench.result()
    assert bench.holds()[0] == 1
    _pass(bench, SETTLED_S + 2)
    assert bench.backend.killed == [0]
    bench.backend.running = {}
    bench.die(0, [])
    assert bench.holds()[0] == 1
    assert codec.ATTEMPT not in bench.journal.kinds()


def test_what_runs_beside_a_task_that_does_not_end_has_time_to_come_to_its_outcome() -> None:
    """Then the worker is replaced, and its tasks are charged nothing."""
    bench = Bench(chunks=4, slots=2, drain_s=10.0)
    bench.backend.running = {0: [m.Started(0, 0, bench.clock.now), m.Started(1, 0, bench.clock.now)]}
    bench.result()
    _pass(bench, SETTLED_S + 2)
    assert bench.backend.killed == []
    _pass(bench, 10)
    assert bench.backend.killed == [0]
    bench.die(0, [1])
    assert codec.ATTEMPT not in bench.journal.kinds()


def test_a_task_that_nobody_runs_is_given_out_again_and_not_for_ever() -> None:
    """A worker that runs nothing and has a task is replaced; it is the task's fault when it is alone."""
    bench = Bench(chunks=2, max_attempts=2)
    for _ in range(2):
        assert bench.holds() == [0]
        bench.backend.killed = []
        _pass(bench, UNCLAIMED_S + 2)
        assert bench.backend.killed == [0]
        bench.die(0, [])
    assert bench.journal.failed == {0}
    assert bench.holds() == [1]


def test_a_worker_that_runs_something_may_take_its_time_with_the_rest() -> None:
    """Code in C may hold the interpreter as long as a task may take."""
    bench = Bench(chunks=2, slots=2, chunk_timeout_s=60.0)
    bench.backend.running = {0: [m.Started(0, 0, bench.clock.now)]}
    _pass(bench, UNCLAIMED_S * 3)
    assert bench.backend.killed == []
    _pass(bench, 80)
    assert bench.backend.killed == [0]


def test_what_a_worker_said_last_and_nobody_can_read_may_have_been_any_of_its_tasks() -> None:
    """All of them are suspects, for the guilty one may have left its slot."""
    bench = Bench(chunks=2, slots=2)
    bench.backend.held[0].clear()
    bench.say((0, m.DIED, -1, -1, m.Death([], -9, "junk", garbled=True)), (0, m.READY, -1, -1, b""))
    assert bench.holds() == [0]


def test_after_a_pause_of_its_own_nothing_is_held_against_a_worker() -> None:
    """A laptop that slept: what the workers have said since is still to be read."""
    bench = Bench(chunks=2)
    _pass(bench, 2)
    bench.clock.now += 3600
    bench.say()
    assert bench.backend.killed == []


@pytest.mark.parametrize("slots", [1, 4, 16, 64])
def test_one_bad_task_in_every_worker_does_not_break_the_pool(slots: int) -> None:
    """Though it is always in the half that runs first, and no task is finished in between."""
    bench = Bench(chunks=3 * slots + 3, workers=3, slots=slots)
    bad = {0, 1, 2}
    while bench.journal.failed != bad:
        for worker in bad - bench.journal.failed:
            assert worker in bench.holds(worker)
            bench.die(worker, bench.holds(worker))
        assert bench.engine.state is None, bench.engine.facts


def test_a_retry_waits_and_is_bounded() -> None:
    """It comes back after its time as the next attempt; then it is given up."""
    bench = Bench(chunks=1, max_attempts=2)
    retry = msgpack.packb(["later", 5.0])
    task = bench.backend.held[0].popleft()
    bench.say((0, m.RETRY, task.chunk, task.model, retry))
    assert bench.holds() == []
    assert 0 < bench.engine.wait_s() <= 5.0
    bench.clock.now += 5.1
    bench.say()
    assert bench.backend.held[0].popleft() == m.Start(0, 0, 2)
    bench.say((0, m.RETRY, 0, 0, retry))
    assert bench.journal.kinds()[-1] == codec.FAILURE
    assert bench.engine.state == "done"


def test_stop_lets_what_is_in_flight_end() -> None:
    """Nothing new goes out; the state is the first reason."""
    bench = Bench(chunks=3)
    bench.engine.stop("timeout")
    bench.engine.stop("stopped")
    assert bench.backend.drained
    assert bench.engine.state is None
    bench.result()
    assert bench.holds() == []
    assert bench.engine.state == "timeout"


def test_a_drain_is_bounded() -> None:
    """What has not ended after drain_s is left to the next run."""
    bench = Bench(chunks=2, drain_s=0.2)
    bench.engine.stop()
    assert bench.engine.wait_s() < 0.3  # not until the next look at deadlines
    bench.clock.now += 10.1
    bench.say()
    assert bench.engine.state == "stopped"
    assert bench.engine.in_flight == 1


def test_a_model_that_is_down_gives_its_task_to_another() -> None:
    """The last one ends the job, and nothing is recorded as failed."""
    bench = Bench(chunks=2, models=["a", "b"])
    task = bench.backend.held[0].popleft()
    bench.say((0, m.MODEL_DOWN, task.chunk, task.model, b"401"))
    task = bench.backend.held[0].popleft()
    assert task.model == 1
    bench.say((0, m.MODEL_DOWN, task.chunk, task.model, b"401 too"))
    for rest in bench.backend.held[0]:
        bench.say((0, m.DROPPED, rest.chunk, rest.model, b""))
    assert bench.engine.state == "failed"
    assert codec.FAILURE not in bench.journal.kinds()


def test_a_spent_budget_stops_the_job() -> None:
    """The task stays pending."""
    bench = Bench(chunks=2)
    task = bench.backend.held[0].popleft()
    bench.say((0, m.BUDGET_SPENT, task.chunk, task.model, msgpack.packb(["spent", 9, 10, "tokens"])))
    assert bench.engine.state == "budget"
    assert bench.engine.facts["limit"] == 10


def test_an_overdue_task_alone_is_charged() -> None:
    """Its worker takes nothing new, the others have drain_s, then it is replaced."""
    bench = Bench(chunks=4, slots=2, chunk_timeout_s=10.0, drain_s=5.0)
    began = bench.clock.now
    bench.backend.running[0] = [m.Started(0, 0, began), m.Started(1, 0, began + 11)]
    bench.clock.now += 10 + HANG_GRACE_S + 1
    bench.say()
    assert bench.backend.killed == []
    bench.clock.now += 5.1
    bench.say()
    assert bench.backend.killed == [0]
    bench.die(0, [0, 1])
    charged = [value for what, value in bench.journal.events if what == "append"]
    assert charged == [codec.ATTEMPT]
    assert bench.holds()[0] == 0


def test_a_worker_that_grows_is_replaced_between_tasks() -> None:
    """Nobody is charged."""
    bench = Bench(chunks=3, max_worker_rss=1000)
    bench.backend.rss = 2000
    bench.clock.now += 1
    bench.say()
    assert bench.backend.killed == []
    bench.result()
    bench.clock.now += 1
    bench.say()
    assert bench.backend.killed == [0]
    bench.die(0, [])
    assert codec.ATTEMPT not in bench.journal.kinds()
    assert bench.holds() == [1]


def test_a_worker_that_grew_and_crashes_is_charged_for_it() -> None:
    """It was to be replaced later: whoever ended it before that, the engine did not."""
    bench = Bench(chunks=3, max_worker_rss=1000)
    bench.backend.rss = 2000
    bench.clock.now += 1
    bench.say()
    assert bench.backend.killed == []
    bench.die(0, [0])
    assert bench.journal.kinds().count(codec.ATTEMPT) == 1


def test_a_crash_just_before_the_kill_is_a_crash() -> None:
    """A segmentation fault is nobody's SIGKILL."""
    bench = Bench(chunks=1, max_worker_rss=1000)
    bench.backend.halted.add(0)
    for _ in range(2):
        bench.clock.now += 1
        bench.say()
    assert bench.backend.killed
    bench.die(0, [0], exitcode=-11)
    assert bench.journal.kinds().count(codec.ATTEMPT) == 1


def test_a_task_that_hangs_in_a_worker_that_grew_is_charged() -> None:
    """It has its own time before its worker is replaced, and is given up after max_attempts of it."""
    bench = Bench(chunks=1, max_worker_rss=1000, chunk_timeout_s=10.0, drain_s=1.0, max_attempts=2)
    for deaths in (1, 2):
        bench.backend.rss = 0
        bench.backend.running[0] = [m.Started(0, 0, bench.clock.now)]
        bench.clock.now += 1
        bench.backend.rss = 2000
        while len(bench.backend.killed) < deaths:
            bench.say()
            bench.clock.now += 0.5
            assert bench.clock.now < 200
        bench.die(0, [0])
    assert bench.journal.failed == {0}


def test_an_idle_worker_steals() -> None:
    """assignment="steal": the longest queue's tail."""
    bench = Bench(chunks=4, workers=2, steal=True)
    assert (bench.holds(0), bench.holds(1)) == ([0], [1])
    bench.result(1)
    bench.result(1)
    assert bench.holds(1) == [2]


def test_every_model_runs_on_every_chunk() -> None:
    """all_models: a key for each pair, at the chunk's home."""
    bench = Bench(chunks=4, workers=1, slots=4, models=["a", "b"], all_models=True)
    assert [(task.chunk, task.model) for task in bench.backend.held[0]] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_the_failure_of_a_given_up_task_is_a_whole_record() -> None:
    """It can be read back, with document, model, attempts and cause."""
    written: list[bytes] = []
    bench = Bench(chunks=1, max_attempts=1)
    append = bench.journal.append
    bench.journal.append = lambda kind, payload: (written.append(payload), append(kind, payload))[1]  # type: ignore[method-assign]
    bench.die(0, [0])
    record = task_records.unpack_failure(written[-2])
    assert (record.document_id, record.model, record.kind, record.attempts) == ("doc-0", "m", "crash", 1)
    assert "SIGKILL" in record.message


def test_suspects_that_run_again_are_at_a_further_attempt() -> None:
    """Uncharged, and yet not the first: they find the answers that were paid for before the death."""
    bench = Bench(2, slots=2)
    bench.die(0, [0, 1])
    again = [bench.backend.held[0][0]]
    bench.result()
    again += bench.backend.held[0]
    assert sorted((task.chunk, task.attempt) for task in again) == [(0, 2), (1, 2)]
