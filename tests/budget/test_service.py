"""The state of the manager process, as its workers see it: exchanges that may be repeated, workers that may die."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.service import BudgetService
from mrengine.budget.spend_limit import SpendLimit
from mrengine.records import Budget, Observed, Price, RateLimit
from tests.budget.simulation import Clock
from tests.budget.test_bucket import worst_excess

FULL = 59_400


def service_of(clock=None, budget=None, prices=None, **limit):
    limits = {"m": RateLimit(**limit)} if limit else {}
    manager = TokenBucketManager(limits, clock=clock or Clock(), idle=("P0", "P1"))
    service = BudgetService(manager, spend_limit=SpendLimit(budget, prices=prices))
    assert service.hello(0, 1, ())
    return service


def ask(number, tokens=1000, output=0, *, model="m", rank=1, bound=None, estimated=False):
    return number, model, tokens, output, rank, tokens if bound is None else bound, estimated


def done(number, tokens=(1000, 0, 0), *, model="m", made=True, headers=None, counted=0, output=0):
    return number, model, counted, output, tokens, made, headers


def headers(**headers):
    observed = Observed(**headers)
    return tuple(getattr(observed, name) for name in observed.__slots__)


def level(service):
    return service._manager.request("m", 0, "P1").remaining


def test_an_exchange_that_is_repeated_grants_once():
    """The reply was lost with the connection: the same asks are granted again, and charged once."""
    service = service_of(tpm=60_000)
    first = service.exchange(0, 1, [ask(1), ask(2)], [])
    assert service.exchange(0, 1, [ask(1), ask(2)], []) == first
    assert first[0] == [1, 2]
    assert level(service) == FULL - 2000


def test_a_settlement_that_is_repeated_counts_once():
    """The reply to it was lost; what came back stays back, but not twice."""
    service = service_of(tpm=60_000)
    service.exchange(0, 1, [ask(1, 5000)], [])
    for _ in range(3):
        service.exchange(0, 1, [], [done(1, (1000, 0, 0))])
    assert level(service) == FULL - 1000


def test_a_request_that_is_listed_no_more_is_withdrawn():
    """Nobody stands behind one who has left."""
    service = service_of(tpm=60_000)
    service.hello(1, 1, ())
    service.exchange(0, 1, [ask(1, FULL)], [])
    service.exchange(0, 1, [ask(2, 30_000)], [])
    blocked = service.exchange(1, 1, [ask(1, 1000)], [])
    assert blocked[2][0][2] == 2
    service.exchange(0, 1, [], [])
    assert service.exchange(1, 1, [ask(1, 1000)], [])[2][0][2] == 1


def test_a_call_that_was_not_sent_gives_everything_back():
    """Tokens, the request and the slot."""
    service = service_of(tpm=60_000, rpm=60, concurrent=1)
    service.exchange(0, 1, [ask(1)], [])
    assert service.exchange(0, 1, [ask(2)], [])[0] == []
    assert service.exchange(0, 1, [ask(2)], [done(1, None, made=False)])[0] == [2]
    assert level(service) == FULL - 1000


def test_a_call_of_unknown_use_gives_nothing_back():
    """A dropped connection may have been paid for."""
    service = service_of(tpm=60_000)
    service.exchange(0, 1, [ask(1)], [])
    service.exchange(0, 1, [], [done(1, None)])
    assert level(service) == FULL - 1000


def test_a_dead_workers_unmade_calls_are_given_back():
    """Its successor knows from the log's intents which calls were sent: these stay spent, the rest comes back."""
    service = service_of(tpm=60_000)
    service.exchange(0, 1, [ask(1), ask(2), ask(3)], [])
    service.exchange(0, 1, [ask(4, FULL)], [])
    assert service.hello(0, 2, (), [2])
    assert level(service) == FULL - 1000
    assert service.exchange(0, 2, [ask(1)], [])[0] == [1]


def test_a_dead_workers_calls_are_all_spent_where_nobody_knows():
    """No intents stated: conservative. Its slots and its place in the line are free all the same."""
    service = service_of(tpm=60_000, concurrent=2)
    service.exchange(0, 1, [ask(1), ask(2), ask(3)], [])
    service.hello(0, 2, ())
    assert level(service) == FULL - 2000
    assert service.exchange(0, 2, [ask(1), ask(2)], [])[0] == [1, 2]


def test_a_stale_incarnation_is_refused():
    """An older incarnation that wakes up after its successor came neither gets nor settles anything."""
    service = service_of(tpm=60_000)
    service.exchange(0, 1, [ask(1)], [])
    service.hello(0, 2, ())
    assert not service.hello(0, 1, ())
    assert service.exchange(0, 1, [ask(2)], []) is None
    assert service.exchange(7, 1, [ask(2)], []) is None


def test_a_new_manager_learns_what_is_in_flight():
    """Calls that its predecessor granted occupy their slots, cost nothing again and are settled as any other."""
    service = BudgetService(
        TokenBucketManager({"m": RateLimit(tpm=60_000, concurrent=2)}, clock=Clock(), idle=("P0", "P1"))
    )
    service.hello(0, 1, [(8, "m", 1000, 0), (9, "m", 1000, 0)])
    service.hello(0, 1, [(8, "m", 1000, 0), (9, "m", 1000, 0)])
    assert service.exchange(0, 1, [ask(10)], [])[0] == []
    assert level(service) == FULL
    assert service.exchange(0, 1, [ask(10)], [done(8), done(9)])[0] == [10]
    assert level(service) == FULL - 1000


def test_a_new_manager_puts_aside_what_is_in_flight():
    """Its predecessor's grants may still cost their upper bounds: the cap holds for both together."""
    service = service_of(budget=Budget(max_tokens=5000))
    service.hello(0, 1, [(8, "m", 2500, 500)])
    assert service.exchange(0, 1, [ask(10, bound=2500)], [])[0] == []
    assert service.exchange(0, 1, [ask(10, bound=2500)], [done(8, (900, 100, 0))])[0] == [10]
    assert service._spend_limit.spent[0] == 1000


def test_estimates_are_raised_by_the_models_ratio_and_settled():
    """681 by our count are 886 at first, and 1,018 once an answer has headers so."""
    service = service_of(tpm=60_000)
    service.exchange(0, 1, [ask(1, 681, 20, estimated=True)], [])
    assert level(service) == FULL - 906
    service.exchange(0, 1, [], [done(1, (1018, 20, 0), counted=681, output=20)])
    assert level(service) == FULL - 1038
    service.exchange(0, 1, [ask(2, 681, 20, estimated=True)], [])
    assert level(service) == FULL - 2 * 1038


def test_more_than_the_limit_is_refused_and_the_rest_is_served():
    """One hopeless call does not stop the others of its worker."""
    service = service_of(tpm=60_000)
    granted, refused, waits, _ = service.exchange(0, 1, [ask(1, 70_000), ask(2)], [])
    assert granted == [2]
    assert refused[0][:2] == (1, "config")
    assert "70000 tokens" in refused[0][2]
    assert waits == []


def test_a_model_without_a_limit_is_granted_and_named():
    """The worker need not ask again, until a header speaks of a limit."""
    service = service_of()
    assert service.exchange(0, 1, [ask(1, 10**9)], []) == ([1], [], [], ["m"])
    service.exchange(0, 1, [], [done(-1, headers=headers(limit_tokens=60_000, remaining_tokens=100))])
    granted, _, waits, free = service.exchange(0, 1, [ask(2)], [])
    assert (granted, free) == ([], [])
    assert 0.9 < waits[0][1] < 1.3


@pytest.mark.parametrize("budget", [None, Budget(max_tokens=10**6)])
def test_calls_that_were_made_before_a_limit_was_known_are_charged_to_it(budget):
    """Sixteen free calls and their headers: the bucket is as full as the provider's, whatever order they come in."""
    service = service_of(budget=budget)
    service.exchange(0, 1, [ask(number) for number in range(1, 17)], [])
    for number in range(16, 0, -1):
        stated = headers(limit_tokens=60_000, remaining_tokens=60_000 - 1000 * number)
        service.exchange(0, 1, [], [done(number, (1000, 0, 0), headers=stated)])
    with service._manager.open("m") as limiter:
        assert limiter.own[0].level == FULL - 16_000


def test_a_spend_limit_refuses_what_could_exceed_it():
    """Upper bounds count until they are settled; then what was used."""
    service = service_of(budget=Budget(max_tokens=5000))
    granted, refused, waits, free = service.exchange(
        0, 1, [ask(1, 1000, 1000, bound=2000), ask(2, 1000, bound=2500)], []
    )
    assert (granted, refused, free) == ([1], [], [])
    assert waits[0][0] == 2
    granted, *_ = service.exchange(0, 1, [ask(2, 1000, bound=2500)], [done(1, (900, 100, 0))])
    assert granted == [2]
    _, refused, _, _ = service.exchange(0, 1, [ask(3, 100, bound=2000)], [done(2, None)])
    assert refused == [(3, "exhausted", "2000 tokens", ("tokens", 3500.0, 5000.0))]


def test_a_waiting_request_reserves_nothing_of_the_spend_limit():
    """What the rate limit holds back is not reserved meanwhile."""
    service = service_of(tpm=60_000, budget=Budget(max_tokens=70_000))
    service.exchange(0, 1, [ask(1, FULL)], [])
    for _ in range(3):
        assert service.exchange(0, 1, [ask(2, 10_000)], [])[0] == []
    assert service._spend_limit.reserved[0] == FULL


def test_a_dead_workers_calls_are_spent_from_the_spend_limit():
    """An intent without an answer counts at its upper bound; an unmade call costs nothing."""
    service = service_of(budget=Budget(max_tokens=10_000))
    service.exchange(0, 1, [ask(1, bound=3000), ask(2, bound=4000)], [])
    service.hello(0, 2, (), [1])
    assert service._spend_limit.spent == (3000.0, 0.0)
    assert service._spend_limit.reserved == (0.0, 0.0)


def test_a_model_of_unknown_price_is_refused_under_a_cost_limit():
    """Clearly, and without stopping the exchange."""
    prices = {"m": Price(1.0, 1.0)}
    service = service_of(budget=Budget(max_cost_usd=1.0), prices=prices)
    granted, refused, _, _ = service.exchange(0, 1, [ask(1, model="other"), ask(2)], [])
    assert granted == [2]
    assert "price" in refused[0][2]


def short_answers(service, model="m"):
    """Nine answers of 20 tokens to calls of max_tokens 1000: no more is reserved for the next ones."""
    for number in range(1, 10):
        service.exchange(0, 1, [ask(number, 100, 1000, estimated=True)], [])
        service.exchange(0, 1, [], [done(number, (100, 20, 0), counted=100, output=1000)])


def refused_when_nearly_empty(service, clock, number):
    """A call is turned away at once, without a word about the level; then a minute passes."""
    rest = level(service) - 1500
    service.exchange(0, 1, [ask(number, rest), ask(number + 1, 100, 1000, estimated=True)], [])
    service.exchange(0, 1, [], [done(number + 1, None, made=False, headers=headers(retry_after_s=0.0))])
    clock.now += 30


def one_answer(service, number):
    """What a call of 100 + 1000 takes from the level when it is granted, and after an answer of 20 tokens."""
    before = level(service)
    service.exchange(0, 1, [ask(number, 100, 1000, estimated=True)], [])
    granted = before - level(service)
    service.exchange(0, 1, [], [done(number, (100, 20, 0), counted=100, output=1000)])
    return granted, before - level(service)


def test_a_provider_that_counts_max_tokens_is_noticed():
    """Turned away while the bucket was nearly empty: all of it is reserved; and again: nothing of it comes back."""
    clock = Clock()
    service = service_of(clock, tpm=60_000)
    short_answers(service)
    assert one_answer(service, 40) == (130, 120)
    refused_when_nearly_empty(service, clock, 50)
    assert one_answer(service, 60) == (1100, 120)
    refused_when_nearly_empty(service, clock, 70)
    assert one_answer(service, 80) == (1100, 1100)


@pytest.mark.parametrize(("left", "reserved"), [(500, 1100), (90, 130)])
def test_the_level_a_refusal_tells_decides_whether_max_tokens_is_counted(left, reserved):
    """With enough left for the call as it was reserved, its provider reserves more; else it is simply empty."""
    clock = Clock()
    service = service_of(clock, tpm=60_000)
    short_answers(service)
    service.exchange(0, 1, [ask(50, 100, 1000, estimated=True)], [])
    stated = headers(retry_after_s=0.0, limit_tokens=60_000, remaining_tokens=left, remaining_requests=9)
    service.exchange(0, 1, [], [done(50, None, made=False, headers=stated)])
    clock.now += 30
    assert one_answer(service, 60) == (reserved, 120)


def test_a_refusal_for_another_reason_teaches_nothing():
    """A request that was wrong has headers, too, and no time to wait."""
    clock = Clock()
    service = service_of(clock, tpm=60_000)
    short_answers(service)
    service.exchange(0, 1, [ask(50, 100, 1000, estimated=True)], [])
    stated = headers(limit_tokens=60_000, remaining_tokens=500)
    service.exchange(0, 1, [], [done(50, None, made=False, headers=stated)])
    clock.now += 30
    assert one_answer(service, 60) == (130, 120)


class Workers(RuleBasedStateMachine):
    """Three workers that ask, settle, repeat themselves, die and come back, in any order."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        limits = {"m": RateLimit(tpm=6000, concurrent=4)}
        self.service = BudgetService(
            TokenBucketManager(limits, clock=self.clock), spend_limit=SpendLimit(Budget(max_tokens=40_000))
        )
        self.incarnation = dict.fromkeys(range(3), 1)
        self.asks = {worker: {} for worker in range(3)}
        self.held = {worker: {} for worker in range(3)}
        self.grants, self.spent, self.number = [], 0, 0
        for worker in range(3):
            self.service.hello(worker, 1, ())

    workers = st.integers(0, 2)

    @rule(worker=workers, tokens=st.integers(1, 3000), rank=st.integers(0, 2))
    def wish(self, worker, tokens, rank):
        self.number += 1
        self.asks[worker][self.number] = ask(self.number, tokens, rank=rank)

    @rule(worker=workers, settled=st.integers(0, 3), used=st.floats(0.0, 1.0), times=st.integers(1, 3))
    def exchange(self, worker, settled, used, times):
        ended = [(n, self.held[worker].pop(n)) for n in list(self.held[worker])[:settled]]
        report = [done(n, (int(tokens * used), 0, 0)) for n, tokens in ended]
        self.spent += sum(int(tokens * used) for _, tokens in ended)
        for _ in range(times):
            reply = self.service.exchange(worker, self.incarnation[worker], list(self.asks[worker].values()), report)
        for number in reply[0]:
            tokens = self.asks[worker].pop(number)[2]
            self.held[worker][number] = tokens
            self.grants.append((self.clock.now, float(tokens)))
        for number, *_ in reply[1]:
            self.asks[worker].pop(number)

    @rule(worker=workers, sent=st.integers(0, 4))
    def die(self, worker, sent):
        made = list(self.held[worker])[:sent]
        self.spent += sum(self.held[worker][number] for number in made)
        self.incarnation[worker] += 1
        assert self.service.hello(worker, self.incarnation[worker], (), made)
        self.held[worker], self.asks[worker] = {}, {}

    @rule(seconds=st.floats(0.0, 40.0))
    def passing(self, seconds):
        self.clock.now += seconds

    @invariant()
    def never_more_than_the_slots(self):
        assert sum(map(len, self.held.values())) <= 4

    @invariant()
    def never_more_than_the_budget(self):
        assert self.spent + sum(sum(held.values()) for held in self.held.values()) <= 40_000

    @invariant()
    def the_ledger_knows_what_was_spent(self):
        assert self.service._spend_limit.spent[0] == self.spent


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_real_use_in_any_window_stays_below_the_rule_over_all_workers():
    """Promise 4 through the whole service: reserved high, settled low, by four workers."""
    import random

    rng = random.Random(3)
    clock = Clock()
    service = service_of(clock, tpm=60_000)
    open_calls, real = [], []
    waiting = {worker: {} for worker in range(4)}
    for worker in range(1, 4):
        service.hello(worker, 1, ())
    for number in range(2000):
        clock.now += rng.expovariate(20)
        worker = rng.randrange(4)
        if len(waiting[worker]) < 5:
            waiting[worker][number] = ask(number, rng.randrange(1, 4000))
        mine = [call for call in open_calls if call[0] == worker and rng.random() < 0.3]
        open_calls = [call for call in open_calls if call not in mine]
        ended = [done(n, (tokens, 0, 0)) for _, n, tokens in mine]
        for granted in service.exchange(worker, 1, list(waiting[worker].values()), ended)[0]:
            used = rng.randrange(0, waiting[worker].pop(granted)[2] + 1)
            open_calls.append((worker, granted, used))
            real.append((clock.now, float(used)))
    assert len(real) > 100
    assert worst_excess(real, FULL, 1000.0) <= 0.01
