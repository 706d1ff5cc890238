"""Hosts whose streams, signals or folder are not as a program expects to find them."""

from __future__ import annotations

import sys

import pytest

from tests.system.hosts.stage import Stage

STATES = {
    "all three closed, and the files, too": "sys.stdin = sys.stdout = sys.stderr = None; os.closerange(0, 3)",
    "SIGCHLD ignored": "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "a folder that was deleted": "import tempfile; os.chdir(tempfile.mkdtemp()); os.rmdir(os.getcwd())",
    "all signals blocked": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "few descriptors left": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    "a umask that hides all": "os.umask(0o777)",
}


@pytest.mark.parametrize("state", STATES)
def test_a_host_in_a_strange_state(stage: Stage, state: str) -> None:
    """Its job runs as any other, and leaves it in the state it was in.

    Meanwhile Python's own handlers are called by way of the run; what is ignored or left to the system stays so.
    """
    text = f"""
    import signal
    {STATES[state]}
    handlers = lambda: [str(signal.getsignal(number)) for number in signal.valid_signals()]
    mask = lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    files = lambda: sorted(name for name in os.listdir("/proc/self/fd"))
    before = handlers(), mask(), files()
    plain = lambda: [n for n in signal.valid_signals() if isinstance(signal.getsignal(n), signal.Handlers)]
    begun = plain()
    during = set()
    host = runner()
    host.on("*", lambda event: during.add(plain() == begun and mask() == before[1]))
    run = host.run(DOCS, ask)
    told = facts(run, during=sorted(during), changed=[])
    del run
    told["changed"] = [(a, b) for a, b in zip(before, (handlers(), mask(), files())) if a != b]
    with open(os.environ["HOST_REPORT"], "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        json.dump(told, file)
    os.chmod(os.environ["HOST_REPORT"], 0o600)
    """
    told = stage.script(text)
    stage.check(told)
    stage.check_calls()
    assert told["during"] == [True]
    assert told["changed"] == []


@pytest.mark.parametrize("closed", [(1, 2), (0, 1, 2)], ids=["stdout and stderr", "all three"])
def test_a_host_that_is_started_without_streams(stage: Stage, closed: tuple[int, ...]) -> None:
    """The lowest descriptors are handed out to files and sockets: none is taken for a stream."""
    shell = ["sh", "-c", '"$0" "$@" ' + " ".join(f"{'<' if fd == 0 else str(fd) + '>'}&-" for fd in closed)]
    told = stage.run(*shell, sys.executable, stage.write("host.py", "report(play())"), stdout=None, stderr=None)
    stage.check(told)
    stage.check_calls()


def test_a_host_under_nohup(stage: Stage) -> None:
    """It lives on when its terminal goes, and SIGHUP stays ignored in it."""
    text = "import signal; report(play(), ignored=signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    told = stage.run("nohup", sys.executable, stage.write("host.py", text))
    stage.check(told)
    stage.check_calls()
    assert told["ignored"]


def test_what_map_fn_prints_reaches_the_hosts_logger_alone(stage: Stage) -> None:
    """stdout as INFO, stderr and warnings as WARNING, its own loggers under their names; nothing on the screen."""
    text = """
    import logging, warnings
    lines = []
    class Keep(logging.Handler):
        def emit(self, record):
            lines.append([record.name, record.levelname, record.getMessage()])
    logging.getLogger().addHandler(Keep())
    logging.getLogger().setLevel(logging.INFO)
    def loud(chunk, context):
        import subprocess
        print("printed", chunk.id)
        print("to stderr", chunk.id, file=sys.stderr)
        os.write(1, b"written %d\\n" % chunk.id)
        subprocess.run(["echo", "a child's", str(chunk.id)], check=True)
        logging.getLogger("shop").error("logged %d", chunk.id)
        return ask(chunk, context)
    run = play(loud)
    report(run, lines=[line for line in lines if line[0] != "mrengine"])
    """
    told = stage.script(text)
    stage.check(told)
    stage.check_calls()
    expected = [
        line
        for n in range(8)
        for line in (
            ["map_fn", "INFO", f"printed {n}"],
            ["map_fn", "WARNING", f"to stderr {n}"],
            ["map_fn", "INFO", f"written {n}"],
            ["map_fn", "INFO", f"a child's {n}"],
            ["shop", "ERROR", f"logged {n}"],
        )
    ]
    assert sorted(told["lines"]) == sorted(expected)
