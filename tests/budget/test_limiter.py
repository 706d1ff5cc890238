"""One limit: slots, headers, and grants to those who are there."""

from __future__ import annotations

import pytest

from mrengine.budget.limiter import GRACE_S, Limiter
from mrengine.budget.wait_queue import PASSES, QueuedRequest
from mrengine.records import Observed, RateLimit

FULL = 59_400.0


def join(limiter, number, tokens=1000.0, *, rank=0, owner="a", now=0.0):
    key = (owner, number)
    limiter.queue.join(QueuedRequest(key, rank, (tokens, tokens, 0.0, 1.0), now, now + GRACE_S))
    return key


def grant(limiter, number, tokens=1000.0, now=0.0):
    key = join(limiter, number, tokens, now=now)
    granted, _ = limiter.serve((key,), now)
    return granted[key]


def limiter_of(**limit):
    return Limiter(RateLimit(**(limit or {"tpm": 60_000})), 0.0, idle=(0, 1))


def test_who_comes_late_finds_its_tokens_still_there():
    """The one behind is not granted what the absent one ahead of it waits for."""
    limiter = limiter_of()
    grant(limiter, 0, FULL)
    first, second = join(limiter, 1), join(limiter, 2, owner="b")
    _, waits = limiter.serve((second,), 1.5)
    assert waits[0].position == 2
    assert waits[0].wait_s == pytest.approx(0.5)
    granted, _ = limiter.serve((first,), 1.5)
    assert list(granted) == [first]


def test_all_that_a_worker_waits_for_is_granted_in_one_call():
    """As much as there is, in order; the rest learn when."""
    limiter = limiter_of(tpm=6000)
    keys = [join(limiter, number) for number in range(8)]
    granted, waits = limiter.serve(keys, 0.0)
    assert list(granted) == keys[:5]
    assert [wait.position for wait in waits] == [1, 2, 3]
    assert waits[0].wait_s == pytest.approx(0.6)
    assert waits[2].wait_s == pytest.approx(20.6)


def test_one_dimension_that_is_empty_does_not_block_another():
    """Who needs no output tokens passes one who waits for them; what that one needs of the rest stays its own."""
    limiter = limiter_of(tpm=6000, output_tpm=60)
    limiter.queue.join(QueuedRequest(("a", 1), 0, (1059.0, 1000.0, 59.0, 1.0), 0.0, 9.0))
    limiter.serve((("a", 1),), 0.0)
    limiter.queue.join(QueuedRequest(("a", 2), 0, (1050.0, 1000.0, 50.0, 1.0), 0.0, 99.0))
    passing = join(limiter, 3, 3000.0)
    granted, waits = limiter.serve((("a", 2), passing), 0.0)
    assert list(granted) == [passing]
    assert waits[0].wait_s == pytest.approx(49.6)


def test_slots_bound_the_calls_in_flight():
    """No more than ``concurrent``; one that ends makes room."""
    limiter = limiter_of(concurrent=2)
    keys = [join(limiter, number) for number in range(3)]
    granted, waits = limiter.serve(keys, 0.0)
    assert len(granted) == 2
    assert 0 < waits[0].wait_s <= 1.0
    limiter.settle(granted[keys[0]], None, 1.0)
    granted, _ = limiter.serve(keys[2:], 1.0)
    assert list(granted) == keys[2:]


def test_a_free_slot_does_not_wait_long_for_one_who_is_not_there():
    """Who is there may pass, but each one only a few times: then the slot is kept."""
    limiter = limiter_of(concurrent=1)
    join(limiter, 0, owner="absent")
    served = 0
    for number in range(1, 10):
        key = join(limiter, number)
        granted, _ = limiter.serve((key,), 0.0)
        served += len(granted)
        for held in granted.values():
            limiter.settle(held, None, 0.0)
    assert served == PASSES


def test_a_header_that_says_less_wins():
    """The provider's bucket was drained by others: what it says is what there is."""
    limiter = limiter_of()
    held = grant(limiter, 1)
    limiter.observe(Observed(limit_tokens=60_000, remaining_tokens=0), 0.1, held=held)
    key = join(limiter, 2, now=0.1)
    _, waits = limiter.serve((key,), 0.1)
    assert 1.0 <= waits[0].wait_s <= 1.3
    granted, _ = limiter.serve((key,), 1.4)
    assert granted


def test_a_header_that_says_more_changes_nothing():
    """Our own rule holds, whatever the provider would allow."""
    limiter = limiter_of(tpm=6000)
    held = grant(limiter, 1, 5900.0)
    limiter.observe(Observed(limit_tokens=10**9, remaining_tokens=10**9), 0.1, held=held)
    key = join(limiter, 2, now=0.1)
    assert limiter.serve((key,), 0.1)[1]


def test_a_header_counts_calls_that_its_provider_had_not_seen():
    """Two calls granted after the one that brought the header are on their way: what they take is gone already."""
    limiter = limiter_of()
    first, *later = [grant(limiter, number, 1000.0) for number in range(3)]
    limiter.observe(Observed(limit_tokens=60_000, remaining_tokens=5000), 0.05, held=first, others=lambda: later)
    assert limiter.remaining() == pytest.approx(5000 - 2000 - 200, abs=100)


def test_the_header_of_an_older_call_does_not_replace_a_newer_reading():
    """Answers come in any order."""
    limiter = limiter_of()
    first, second = grant(limiter, 1), grant(limiter, 2)
    limiter.observe(Observed(limit_tokens=60_000, remaining_tokens=3000), 0.1, held=second)
    limiter.observe(Observed(limit_tokens=60_000, remaining_tokens=50_000), 0.2, held=first)
    assert limiter.remaining() < 4000


def refuse(limiter, held, now, **headers):
    """A call is turned away."""
    limiter.settle(held, (0.0, 0.0, 0.0, 1.0), now)
    limiter.observe(Observed(**headers), now, held=held, refused=True)


def test_retry_after_holds_everybody_until_then():
    """Two refusals in a row are about the limit: nobody is granted anything before Retry-After is over."""
    limiter = limiter_of()
    for held in [grant(limiter, number) for number in range(2)]:
        refuse(limiter, held, 1.0, retry_after_s=7.0, remaining_tokens=50_000)
    key = join(limiter, 2, now=1.0)
    _, waits = limiter.serve((key,), 1.0)
    assert waits[0].wait_s == pytest.approx(7.0)
    assert limiter.serve((key,), 7.99)[1]
    assert limiter.serve((key,), 8.0)[0]


def test_a_lone_refusal_among_answers_holds_nobody_else():
    """5% of refusals whatever is asked: the others go on, and nothing is concluded about the level."""
    limiter = limiter_of()
    for number in range(60):
        held = grant(limiter, number, 100.0, now=1.0)
        if number % 20 == 7:
            refuse(limiter, held, 1.0, retry_after_s=7.0)
        else:
            limiter.settle(held, (100.0, 100.0, 0.0, 1.0), 1.0)
    assert limiter.remaining() > 50_000
    assert limiter.serve((join(limiter, 99, now=1.0),), 1.0)[0]


def test_after_a_refusal_without_a_level_all_who_wait_come_one_by_one():
    """The provider has just enough for one when it said: the others would be turned away again."""
    limiter = limiter_of()
    held = [grant(limiter, number, 1000.0) for number in range(8)]
    for one in held:
        limiter.settle(one, (0.0, 0.0, 0.0, 1.0), 0.1)
        limiter.observe(Observed(retry_after_s=2.0), 0.1, held=one, refused=True)
    keys = [join(limiter, number, 1000.0, now=2.4) for number in range(10, 18)]
    assert len(limiter.serve(keys, 2.4)[0]) == 1
    assert len(limiter.serve(keys[1:], 5.4)[0]) == 3


def wave(limiter, number, refused, now):
    """As many calls as may be in flight; ``refused`` of them are turned away, the others answered. How many."""
    keys = [join(limiter, number + i, now=now) for i in range(20)]
    held = limiter.serve(keys, now)[0]
    for i, one in enumerate(held.values()):
        limiter.settle(one, (0.0 if i < refused else 9.0, 0.0, 0.0, 1.0), now + 0.5)
        if i < refused:
            limiter.observe(Observed(retry_after_s=1.0), now + 0.5, held=one, refused=True)
    for key in keys:
        limiter.queue.leave(key)
    return len(held)


def test_without_a_known_limit_a_refusal_halves_what_is_in_flight():
    """Then every success lets one more through, up to what was borne; more is tried after a while of silence."""
    limiter = Limiter(RateLimit(), 0.0)
    assert wave(limiter, 0, 3, 100.0) == 20  # one wave of refusals is one refusal
    widths = [wave(limiter, 100 * n, 0, 100 + 2.0 * n) for n in range(1, 12)]
    assert widths[:4] == [9, 18, 18, 18]
    assert widths[-1] > 18


def test_a_provider_that_bears_8_calls_gets_little_more():
    """Few are refused, and few of the 8 stay idle."""
    limiter = Limiter(RateLimit(), 0.0)
    widths = [wave(limiter, 100 * n, max(0, min(20, limiter.slots() or 20) - 8), 100 + 2.0 * n) for n in range(20)]
    assert sum(min(8, width) for width in widths[2:]) >= 0.8 * 8 * 18
    assert sum(max(0, width - 8) for width in widths[2:]) <= 0.4 * sum(widths[2:])


def test_the_first_calls_say_nothing_about_how_many_are_borne():
    """They were in flight before there was a limit to count them."""
    limiter = Limiter(RateLimit(), 0.0)
    for _ in range(2):
        limiter.observe(Observed(retry_after_s=1.0), 0.5, held=None)
    assert [wave(limiter, 100 * n, 0, 2.0 * n) for n in range(1, 6)] == [1, 2, 4, 8, 16]


def test_settling_gives_back_in_each_dimension():
    """What was reserved and not used, apart for input and output; the request stays counted."""
    limiter = limiter_of(tpm=60_000, output_tpm=6000, rpm=60)
    limiter.queue.join(QueuedRequest(("a", 1), 0, (3000.0, 2000.0, 1000.0, 1.0), 0.0, 9.0))
    held = limiter.serve((("a", 1),), 0.0)[0]["a", 1]
    limiter.settle(held, (1500.0, 1400.0, 100.0, 1.0), 0.0)
    levels = {i: bucket.level for i, bucket in limiter.own.items()}
    assert levels == pytest.approx({0: FULL - 1500, 2: 5940 - 100, 3: 59.4 - 1})


def test_the_state_survives_dump_and_load():
    """A second process goes on where the first one is."""
    limiter = limiter_of(tpm=60_000, concurrent=3)
    held = grant(limiter, 1)
    limiter.observe(Observed(limit_tokens=60_000, remaining_tokens=30_000), 0.5, held=held)
    join(limiter, 2, now=0.5)
    other = limiter_of(tpm=60_000, concurrent=3)
    other.load(limiter.dump())
    assert other.dump() == limiter.dump()


def test_a_dead_process_holds_nothing():
    """Its slots are free and its asks gone; those of the others stay."""
    limiter = limiter_of(concurrent=1)
    dead = ("p1/0.0", 1)
    limiter.queue.join(QueuedRequest(dead, 0, (1.0, 1.0, 0.0, 1.0), 0.0, 9.0))
    limiter.serve((dead,), 0.0, process="p1")
    join(limiter, 2, owner="p1/0.0")
    join(limiter, 3, owner="p2/0.0")
    assert limiter.processes() == {"p1", "p2"}
    limiter.forget("p1")
    assert limiter.queue.waiting() == [("p2/0.0", 3)]
    assert limiter.serve((("p2/0.0", 3),), 0.0, process="p2")[0]


def test_where_all_were_refused_one_alone_tries_and_waits_longer_each_time():
    """Whoever waits with it is not sent into the same refusal."""
    limiter, now, waits = Limiter(RateLimit(), 0.0), 100.0, []
    assert wave(limiter, 0, 20, now) == 20
    for n in range(1, 5):
        waits.append(limiter.hold_until - now)
        now = limiter.hold_until
        assert wave(limiter, 100 * n, 1, now) == 1
    assert waits == sorted(waits)
    assert waits[-1] >= 4 * waits[0]
    now = limiter.hold_until
    assert [wave(limiter, 1000 + 100 * n, 0, now + 2.0 * n) for n in range(3)] == [1, 2, 4]
