"""What the system refuses is told by an error of the package, at once, and costs nothing that was finished."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner, ModelSpec, map_prompt
from mrengine.backends.process import supervisor_handle
from mrengine.errors import ConfigError, LogError, SourceError
from mrengine.jobs import list_jobs
from mrengine.log.file.disk import OsFiles
from mrengine.records import Completion, Request, Usage
from mrengine.sources import spool
from tests.system.processes import alive

MB = 1 << 20
SYNC_FAILS = """
from mrengine.log.file.disk import OsFiles
def fails(*args):
    raise OSError(5, "EIO")
OsFiles.sync_folder = fails
main("""
OF_ANOTHER_USER = """
    import os, subprocess, sys, time
    from mrengine import MapReduceRunner

    def map_fn(chunk, context):
        if chunk.id == 0:
            mine = subprocess.Popen(["sleep", "60"], user=65534, **{how!r})
            while open(f"/proc/{{mine.pid}}/comm").read() != "sleep\\n":
                time.sleep(0.01)
            with open("pid", "w") as file:
                file.write(str(mine.pid))
        if {crash!r} and context.attempt == 1:
            os._exit(3)
        return chunk.id

    run = MapReduceRunner(workers=1, state_dir="state").run(["a", "b", "c"], map_fn)
    print([result.result for result in run.results])
"""


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("how", [{}, {"start_new_session": True}])
def test_a_process_of_another_user_that_map_fn_left_ends_nothing(
    tmp_path: Path, how: dict[str, Any], crash: bool
) -> None:
    """It cannot be ended from here, by a root without CAP_KILL: the run has its results all the same."""
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        pytest.skip("needs root and setpriv")
    code = textwrap.dedent(OF_ANOTHER_USER).format(how=how, crash=crash)
    command = [setpriv, "--bounding-set=-kill", "--inh-caps=-kill", sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    pid = int((tmp_path / "pid").read_text())
    try:
        assert ran.stdout == "[0, 1, 2]\n", ran.stderr
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("size", [5000, 70 * MB])
def test_an_id_that_no_name_is_so_long_is_refused(state_dir: Path, size: int) -> None:
    """At once, and without repeating it: it may be the text."""
    with pytest.raises(ConfigError, match="at most 4096 characters") as caught:
        MapReduceRunner(workers=1).run([Document("x" * size, "text")], lambda chunk, context: 1)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("map_fn", "settings"),
    [(map_prompt("x" * 70 * MB + "$text"), {}), (lambda chunk, context: 1, {"map_version": "x" * 70 * MB})],
)
def test_a_job_that_no_record_holds_is_refused(state_dir: Path, map_fn: Any, settings: dict[str, Any]) -> None:
    """No supervisor dies of it."""
    with pytest.raises(ConfigError, match="64 MB are kept"):
        MapReduceRunner(workers=1, models="fake", **settings).run("text", map_fn)


class Talkative:
    """A provider whose answers no record holds."""

    def __init__(self, spec: ModelSpec) -> None: ...

    def complete(self, request: Request) -> Completion:
        return Completion("x" * 70 * MB, None, Usage(1, 1), request.model, "stop", 1.0)

    def close(self) -> None: ...


def test_an_answer_that_no_record_holds_is_given_and_not_kept(state_dir: Path) -> None:
    """It counts, and the job goes on."""
    model = ModelSpec("talkative", provider=Talkative)
    run = MapReduceRunner(workers=1, models=model).run("text", lambda chunk, context: len(context.complete("?").text))
    assert run.results[0].result == 70 * MB
    assert run.summary.usage["talkative"].input_tokens == 1


@pytest.fixture
def _gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder was removed."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()


RELATIVE: dict[str, Callable[[], object]] = {
    "run": lambda: MapReduceRunner(workers=1, state_dir="state").run("text", lambda chunk, context: 1),
    "Job": lambda: Job("job", state_dir="state").status(),
    "estimate": lambda: MapReduceRunner(workers=1, state_dir="state").run("text", lambda chunk, context: 1),
}


@pytest.mark.usefixtures("_gone")
@pytest.mark.parametrize("call", RELATIVE)
def test_a_relative_folder_in_one_that_was_removed(call: str) -> None:
    """The setting is named."""
    with pytest.raises(ConfigError, match="absolute path") as caught:
        RELATIVE[call]()
    assert caught.value.setting == "state_dir"


NO_PATHS: dict[str, Any] = {"NUL": "sta\0te", "not UTF-8": "sta\udcffte", "bytes": b"state", "a number": 5}


@pytest.mark.parametrize("strategy", ["parallel", "sequential"])
@pytest.mark.parametrize("what", NO_PATHS)
def test_what_is_no_path_is_refused_by_its_setting(
    what: str, strategy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever takes it: runners, jobs, lists of jobs."""
    monkeypatch.chdir(tmp_path)
    folder = NO_PATHS[what]
    for call in (
        lambda: MapReduceRunner(workers=1, state_dir=folder, strategy=strategy).run("text", lambda chunk, context: 1),
        lambda: Job("job", state_dir=folder).status(),
        lambda: list(list_jobs(folder)),
    ):
        with pytest.raises(ConfigError) as caught:
            call()  # type: ignore[no-untyped-call]
        assert caught.value.setting == "state_dir"
    assert list(tmp_path.iterdir()) == []


def test_a_jobs_name_that_is_a_text_is_not_repeated() -> None:
    """The message has its beginning and its end."""
    with pytest.raises(ConfigError, match="at most 100 letters") as caught:
        MapReduceRunner("x" * 70 * MB)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("strategy", ["parallel", "sequential"])
@pytest.mark.parametrize("of", ["spool", "log"])
def test_a_folder_that_cannot_be_synced(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, of: str
) -> None:
    """Whichever file it is for: an error of the package, and the job begins anew."""

    def fails(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    host = MapReduceRunner("job", workers=1, strategy=strategy)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        if of == "spool":
            patch.setattr(spool, "_sync_folder", fails)
        else:
            patch.setattr(OsFiles, "sync_folder", fails)
            patch.setattr(supervisor_handle, "_BOOT", supervisor_handle._BOOT.replace("\nmain(", SYNC_FAILS))
        with pytest.raises((SourceError, LogError)):
            host.run("text", lambda chunk, context: 1)
    assert MapReduceRunner("job", workers=1).run("text", lambda chunk, context: 1).results[0].result == 1


def test_a_file_that_cannot_be_removed_at_the_end_costs_no_result(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All chunks are done: what is left is told."""

    def refuses(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuses)
    run = MapReduceRunner("job", workers=1, keep="results").run("text", lambda chunk, context: 1)
    assert run.results[0].result == 1
    assert "could not be cleared" in caplog.text


TOO_MANY_FILES = """
import json, resource, socket
from mrengine import MapReduceRunner
from mrengine.errors import MrengineError
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
MapReduceRunner(workers=1).run("text", lambda chunk, context: 1)  # what is imported when it is needed is there
told = []
for spare in range(12):
    held = []
    try:
        while True:
            held.append(open("/dev/null"))
    except OSError:
        pass
    for file in held[len(held) - spare :]:
        file.close()
    try:
        MapReduceRunner(workers=1).run("text", lambda chunk, context: 1)
        told.append("done")
    except MrengineError as error:
        told.append(type(error).__name__)
    except BaseException as error:
        told.append("raw " + repr(error))
    for file in held:
        file.close()
print(json.dumps(told))
"""


def test_a_host_with_too_many_open_files_is_reported(state_dir: Path) -> None:
    """Whichever descriptor is the first that it cannot have."""
    ran = subprocess.run(
        [sys.executable, "-c", TOO_MANY_FILES], capture_output=True, text=True, timeout=200, check=True
    )
    told = json.loads(ran.stdout)
    assert not [name for name in told if name.startswith("raw")], told
    assert "ConfigError" in told


RACE = """
import sys, time
from mrengine import MapReduceRunner
from mrengine.errors import JobBusy
def bad(wait_s):
    time.sleep(wait_s)
    raise ValueError("no such source")
    yield
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    while True:
        documents = bad(number % 4 * 0.005) if sys.argv[1] == "bad" else ["a", "b"]
        try:
            print(len(MapReduceRunner(f"job-{number}", workers=1).run(documents, lambda chunk, context: 1).results))
            break
        except JobBusy:
            time.sleep(0.003)
        except Exception as error:
            print(type(error).__name__)
            break
"""


@pytest.mark.system
@pytest.mark.usefixtures("state_dir")
def test_a_bad_source_takes_no_folder_from_a_job_that_begins() -> None:
    """Of three programs that begin jobs of the same ids, two are refused: nothing that the third has made goes."""
    pipe = subprocess.PIPE
    programs = [
        subprocess.Popen([sys.executable, "-c", RACE, kind], stdin=pipe, stdout=pipe, text=True)
        for kind in ("bad", "bad", "good")
    ]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    found = [program.communicate(timeout=200)[0].splitlines() for program in programs]
    assert found[2] == ["2"] * 20


@pytest.mark.usefixtures("state_dir")
def test_what_a_function_closes_over_costs_by_its_size() -> None:
    """Not by its square: 8 times as many bytes, 64 times the work."""

    def cpu_s(megabytes: int) -> float:
        data = bytes(megabytes << 20)
        before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        found = MapReduceRunner(workers=1).run(["a"], lambda chunk, context, data=data: len(data))
        after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        assert found.results[0].result == len(data)
        return sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after, strict=True))

    cpu_s(1)  # what is loaded once
    assert cpu_s(128) < 24 * cpu_s(16)
