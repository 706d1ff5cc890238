"""What the fault benchmark counts."""

from __future__ import annotations

from bench.faults.judge import Run, asked, judge, read_output
from bench.peers.work import Limiter, answer_to, number_of, prompt


def right(*numbers: int) -> dict[int, str]:
    return {number: answer_to(prompt(number)) for number in numbers}


def run(announced: set[int], answers: dict[int, str] | None, ended: str = "returned") -> Run:
    return Run(frozenset(announced), answers, ended, 1.0)


def counts(*runs: Run, calls: int = 4, again: tuple[int, ...] = (), twice: int = 0) -> dict[str, int]:
    found = judge(runs, calls, bought_twice=twice, asked_again=again, refused=0, early=0)
    return {name: found[name] for name in ("announced", "lost", "missing", "wrong", "bought_twice")}


def test_a_resumed_run_that_lost_nothing() -> None:
    """0 and 1 were announced, 2 was in flight: it is bought again, which loses nothing that was announced."""
    found = counts(run({0, 1}, None, "killed"), run({0, 1, 2, 3}, right(0, 1, 2, 3)), again=(2, 3), twice=1)
    assert found == {"announced": 2, "lost": 0, "missing": 0, "wrong": 0, "bought_twice": 1}


def test_what_was_announced_and_is_asked_again_was_lost() -> None:
    found = counts(run({0, 1}, None, "killed"), run({0, 1, 2, 3}, right(0, 1, 2, 3)), again=(0, 2, 3))
    assert (found["lost"], found["missing"]) == (1, 0)


def test_what_was_announced_and_is_missing_at_the_end_was_lost_once() -> None:
    found = counts(run({0, 1}, None, "killed"), run({2}, right(1, 2)), again=(0, 2, 3))
    assert (found["lost"], found["missing"]) == (1, 2)


def test_a_second_run_that_never_returns_has_lost_all() -> None:
    found = counts(run({0, 1}, None, "killed"), run(set(), None, "never returned"))
    assert (found["lost"], found["missing"]) == (2, 4)


def test_an_answer_that_the_model_never_gave_is_wrong_and_not_missing() -> None:
    found = counts(run({0, 1, 2}, {**right(0, 1), 2: "<html>"}))
    assert (found["wrong"], found["missing"], found["lost"]) == (1, 1, 1)
    assert counts(run(set(), {**right(0, 1, 2), -4: "<html>"}))["wrong"] == 1


def test_output_that_was_cut_off_counts_as_far_as_it_goes() -> None:
    assert read_output("done 3\nnoise\ndone 12\ndone 4") == (frozenset({3, 12}), None)
    assert read_output('done 3\n{"3": "x"}\n') == (frozenset({3}), {3: "x"})
    assert read_output('{"3": "x"') == (frozenset(), None)


def test_questions_are_found_in_requests_of_any_shape() -> None:
    plain = {"body": {"messages": [{"role": "user", "content": prompt(7)}]}}
    parts = {"body": {"messages": [{"role": "user", "content": [{"type": "text", "text": prompt(12, 3)}]}]}}
    probe = {"body": {"messages": [{"role": "user", "content": "say hello"}]}}
    assert asked([plain, parts, probe]) == [7, 12]
    assert number_of(prompt(12, 3)) == 12
    assert answer_to("say hello") == "ok"


def test_the_limiter_of_the_hand_written_program_starts_full() -> None:
    limiter = Limiter(60_000)
    for _ in range(100):
        limiter.wait()
    assert 60_000 - 101 <= limiter._level <= 60_000
    Limiter(None).wait()
