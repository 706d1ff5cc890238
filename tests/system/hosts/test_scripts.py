"""Programs that a user types: scripts without a guard, -c, stdin, functions that no module holds."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.system.hosts.stage import Stage

RUN = "report(play())"


def test_a_script_without_a_guard(stage: Stage) -> None:
    """__main__ is never imported again: one host, one report, each call once."""
    stage.check(stage.script(RUN))
    stage.check_calls()


def test_python_c(stage: Stage) -> None:
    """There is no file that a child could import."""
    stage.check(stage.run(sys.executable, "-c", stage.text(RUN)))
    stage.check_calls()


def test_a_program_on_stdin(stage: Stage) -> None:
    """Neither is there one here."""
    stage.check(stage.run(sys.executable, "-", input=stage.text(RUN)))
    stage.check_calls()


def test_stdin_is_the_hosts_own(stage: Stage) -> None:
    """No process of the engine reads from it."""
    text = """
    def curious(chunk, context):
        assert sys.stdin.read() == ""
        return ask(chunk, context)
    run = play(curious)
    report(run, line=sys.stdin.read())
    """
    told = stage.run(sys.executable, stage.write("host.py", text), input="a line\n")
    stage.check(told)
    assert told["line"] == "a line\n"


def test_a_function_that_no_module_holds(stage: Stage) -> None:
    """A lambda in a closure travels by value, with what it refers to."""
    text = """
    def make(prefix):
        ask = lambda text, context: context.complete(prefix + text).text
        return lambda chunk, context: [ask(chunk.text, context), *lineage()]
    report(play(make("Q ")))
    """
    stage.check(stage.script(text))
    stage.check_calls()


def test_a_virtualenv_whose_python_is_a_link(stage: Stage, tmp_path: Path) -> None:
    """The supervisor is started by the name that the host has: resolved, it would find other packages or none."""
    (tmp_path / "venv").symlink_to(sys.prefix)
    python = tmp_path / "venv" / Path(sys.executable).relative_to(sys.prefix)
    text = """
    def named(chunk, context):
        with open(f"/proc/{os.getppid()}/cmdline") as file:
            return [*ask(chunk, context), file.read().partition("\\0")[0]]
    report(play(named))
    """
    told = stage.run(python, stage.write("host.py", text))
    stage.check(told)
    assert {result[4] for result in told["results"]} == {str(python)}
    stage.check_calls()


def test_an_interpreter_without_a_name(stage: Stage) -> None:
    """An embedded python has no sys.executable: the one of its prefix is taken."""
    stage.check(stage.script(f"sys.executable = None\n{RUN}"))
    stage.check_calls()


def test_a_seed_of_hashes_changes_nothing(stage: Stage) -> None:
    """A job begun under one PYTHONHASHSEED is the same job under another."""
    text = """
    wanted = {"alpha", "beta", "gamma"}
    def ask_known(chunk, context):
        return ask(chunk, context) + [len(wanted)]
    report(play(ask_known, "seeded"))
    """
    resumed = []
    for seed in ("1", "2"):
        stage.env["PYTHONHASHSEED"] = seed
        resumed.append(stage.script(text)["resumed"])
    assert resumed == [0, 8]
    stage.check_calls()
