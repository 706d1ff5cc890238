"""Models that rest: who waits, who tries, and when all is given up; on a clock."""

from __future__ import annotations

from mrengine.engine.outages import IN_A_ROW, Outages


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def resting(clock: Clock) -> Outages:
    """Model 0 of two has failed so often in a row that it rests; its tasks are 0, 2 and 4."""
    outages = Outages(2, give_up_s=100.0, backoff_s=1.0, clock=clock)
    for key in (0, 2, 4)[:IN_A_ROW]:
        outages.failed(0, key, "503")
    return outages


def test_a_model_that_is_well_holds_nobody() -> None:
    """And one failure among answers only waits a moment."""
    clock = Clock()
    outages = Outages(2, give_up_s=100.0, backoff_s=1.0, clock=clock)
    assert not outages.holds(0, 6)
    outages.failed(0, 0, "503")
    assert not outages.holds(0, 6)
    assert list(outages.ready()) == []
    clock.now += 1.0
    assert list(outages.ready()) == [0]


def test_while_it_rests_its_tasks_wait_and_one_tries() -> None:
    """The other model's tasks are given out; the one that tries is not held again."""
    clock = Clock()
    outages = resting(clock)
    assert outages.holds(0, 6)
    assert not outages.holds(1, 1)
    assert list(outages.ready()) == []
    clock.now += 5.0
    (probe,) = outages.ready()
    assert not outages.holds(0, probe)
    assert outages.holds(0, 8)
    assert list(outages.ready()) == []
    outages.ended(0, probe)
    assert sorted([probe, *outages.ready()]) == [0, 2, 4, 6, 8]


def test_a_failed_try_makes_the_rest_longer() -> None:
    """It is knocked at a few times, not by everybody."""
    clock = Clock()
    outages, tries = resting(clock), 0
    while not list(outages.lost()):
        clock.now += 0.5
        for key in outages.ready():
            tries += 1
            outages.failed(0, key, "503")
    assert 3 <= tries <= 8


def test_tasks_fail_together_when_their_model_is_given_up() -> None:
    """With the last cause; what would come later fails, too."""
    clock = Clock()
    outages = resting(clock)
    clock.now += 99.0
    assert list(outages.lost()) == []
    clock.now += 1.0
    assert sorted(outages.lost()) == [(0, "503"), (2, "503"), (4, "503")]
    assert outages.holds(0, 6)
    assert list(outages.lost()) == [(6, "503")]
    assert list(outages.lost()) == []


def test_a_task_that_alone_fails_again_and_again_is_lost_alone() -> None:
    """Its model answers the others meanwhile."""
    clock = Clock()
    outages = Outages(2, give_up_s=10.0, backoff_s=1.0, clock=clock)
    for _ in range(12):
        outages.failed(0, 0, "500")
        outages.ended(0, 2)
        clock.now += 1.0
        if lost := list(outages.lost()):
            break
        assert list(outages.ready()) == [0]
    assert lost == [(0, "500")]
    assert not outages.holds(0, 4)


def test_silence_rests_a_model_at_once_and_counts_from_its_beginning() -> None:
    """The next task would be silent as long; but what was answered meanwhile tells that the model lives."""
    clock = Clock()
    outages = Outages(2, give_up_s=100.0, backoff_s=1.0, clock=clock)
    outages.failed(0, 0, "no answer", silent_s=50.0)
    assert outages.holds(0, 2)
    clock.now += 49.0
    assert list(outages.lost()) == []
    clock.now += 1.0
    assert sorted(outages.lost()) == [(0, "no answer"), (2, "no answer")]
    clock.now += 100.0
    outages.ended(1, 1)
    clock.now += 10.0
    outages.failed(1, 3, "no answer", silent_s=50.0)
    clock.now += 89.0
    assert outages.holds(1, 5)
    assert [key for key, _ in outages.lost()] == [3]  # it alone has had its time
    clock.now += 1.0
    assert [key for key, _ in outages.lost()] == [5]
