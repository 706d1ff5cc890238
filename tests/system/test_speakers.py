"""Only a worker speaks for its tasks, and whatever else map_fn does to it is told at once and costs its own chunk."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner
from mrengine.errors import BudgetExhausted, ModelError, PoolBroken
from tests.system.processes import state, wait_for
from tests.system.test_crashes import given_up, run

pytestmark = pytest.mark.usefixtures("state_dir")

LONG = pytest.mark.system
SOON_S = 60  # far below chunk_timeout_s: what is told at once does not wait for that


def _exit_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# who speaks

LEAVES: dict[str, tuple[int, Callable[[], Any]]] = {
    "sys.exit(3)": (3, lambda: sys.exit(3)),
    "sys.exit()": (0, sys.exit),
    "sys.exit(text)": (1, lambda: sys.exit("why")),
    "an exec that fails": (1, lambda: os.execv("/nowhere", ["x"])),
    "an exception": (1, lambda: {}["x"]),
    "a value": (0, lambda: "the child's"),
}


@pytest.mark.parametrize(
    ("leaves", "fork"),
    [*((leaves, "os") for leaves in LEAVES), ("sys.exit(3)", "C")]
    + [pytest.param(leaves, "C", marks=LONG) for leaves in LEAVES if leaves != "sys.exit(3)"],
)
def test_a_child_that_leaves_map_fn_says_nothing(leaves: str, fork: str) -> None:
    """It ends with the code that the interpreter would give it, the parent's value counts."""
    code, leave = LEAVES[leaves]

    def forks(chunk: Any, context: Any) -> Any:
        if chunk.id == 2:
            pid = os.fork() if fork == "os" else ctypes.CDLL(None).fork()
            return _exit_of(pid) if pid else leave()
        return "parent"

    began = time.monotonic()
    found, deaths = run(forks, 6)
    assert [result.result for result in found.results] == ["parent", "parent", code, "parent", "parent", "parent"]
    assert not deaths
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("fork", ["os", "C"])
def test_a_fork_that_returns_twice_mixes_no_frames(fork: str) -> None:
    """Results larger than a pipe, of both processes at once."""

    def twice(chunk: Any, context: Any) -> str:
        os.fork() if fork == "os" else ctypes.CDLL(None).fork()
        return f"{chunk.id:02d}" * (1 << 20)

    found, deaths = run(twice, 6, slots=2)
    assert [result.result for result in found.results] == [f"{i:02d}" * (1 << 20) for i in range(6)]
    assert not deaths


def test_a_child_cannot_call_a_model_and_is_reported_so() -> None:
    """It has no budget and no log; what it prints and logs is heard, and mixes with nobody's frames."""

    def forks(chunk: Any, context: Any) -> Any:
        if not (pid := os.fork()):
            logging.getLogger("child").warning("x" * 7000)
            try:
                context.complete("hello")
            except Exception as error:
                os._exit(7 if "map_fn itself" in str(error) else 1)
            os._exit(0)
        logging.getLogger("parent").warning("y" * 7000)
        return _exit_of(pid)

    found, _ = run(forks, 8)
    assert [result.result for result in found.results] == [7] * 8


def test_a_fork_in_a_module_or_initializer_starts_no_second_worker() -> None:
    """It would read the tasks of the first one."""
    found, deaths = run(lambda chunk, context: os.getpid(), 12, initializer=os.fork)
    assert len({result.result for result in found.results}) <= 2
    assert not deaths


def test_in_this_process_a_fork_says_nothing_either(tmp_path: Path) -> None:
    """strategy="sequential": the child does not go on with the program."""
    here = os.getpid()

    def forks(chunk: Any, context: Any) -> int:
        pid = os.fork()
        return _exit_of(pid) if pid else sys.exit(4)

    found = MapReduceRunner(strategy="sequential", models="fake").run(["a", "b"], forks)
    with (tmp_path / "ends").open("a") as file:
        print(os.getpid(), file=file)
    assert [result.result for result in found.results] == [4, 4]
    assert (tmp_path / "ends").read_text() == f"{here}\n"


def test_junk_in_the_pipe_closes_its_own_chunk() -> None:
    """Whatever it is, it is known as no frame."""

    def writes(chunk: Any, context: Any) -> int:
        if chunk.id == 3:
            for name in os.listdir("/proc/self/fd"):
                if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
                    try:
                        os.write(int(name), b"\x20\0\0\0junk" * 9)
                    except OSError:
                        continue
        return int(chunk.id)

    found, _ = run(writes, 8, workers=1)
    assert given_up(found) == [(3, "crash", 3)]
    assert "something else than the worker wrote into its pipe" in found.failures[0].message


# exceptions that cannot be told


class _Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if threading.current_thread().name.startswith("mrengine-slot"):
            raise SystemExit
        return type.__getattribute__(cls, name)


def _exceptions() -> dict[str, Callable[[], BaseException]]:
    class Text(Exception):
        def __init__(self, raises: type[BaseException]) -> None:
            self.raises = raises

        def __str__(self) -> str:
            raise self.raises

    class Nothing(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise KeyboardInterrupt

    class Nameless(Exception, metaclass=_Meta):
        pass

    class Piece(str):
        def __getitem__(self, at: Any) -> str:
            raise SystemExit

        __len__ = __iter__ = __getitem__  # type: ignore[assignment]

    class Odd(Exception):
        def __str__(self) -> str:
            return Piece("odd")

    class Broken(ModelError):
        @property
        def transient(self) -> bool:
            raise SystemExit

    return {
        "Text": lambda: Text(SystemExit),
        "Text ": lambda: Text(KeyboardInterrupt),
        "Nothing": Nothing,
        "Nameless": Nameless,
        "Odd": Odd,
        "Broken": lambda: Broken.__new__(Broken),
        "BudgetExhausted": lambda: BudgetExhausted.__new__(BudgetExhausted),
        "KeyboardInterrupt": KeyboardInterrupt,
        "GeneratorExit": GeneratorExit,
    }


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=LONG) if name in ("Text ", "BudgetExhausted", "GeneratorExit") else name
        for name in _exceptions()
    ],
)
def test_an_exception_that_cannot_be_told_is_its_chunks_failure(name: str) -> None:
    """With its type; at once, and in a pool of one slot."""

    def raises(chunk: Any, context: Any) -> int:
        if chunk.id == 1:
            raise _exceptions()[name]()
        return int(chunk.id)

    found, deaths = run(raises, 4, workers=1)
    assert given_up(found) == [(1, "error", 1)]
    assert found.failures[0].message.startswith(name.strip())
    assert not deaths


def test_a_stop_that_map_fn_raises_itself_is_its_failure() -> None:
    """The job does not stop: it would be given the same chunk for ever."""

    def raises(chunk: Any, context: Any) -> int:
        from mrengine.errors import Stopped

        raise Stopped

    found, _ = run(lambda chunk, context: raises(chunk, context) if chunk.id else 0, 2)
    assert given_up(found) == [(1, "error", 1)]


# exceptions from elsewhere


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


@pytest.mark.parametrize("error", [TimeoutError, pytest.param(SystemExit, marks=LONG)])
def test_an_exception_that_comes_late_ends_no_slot(error: type[BaseException]) -> None:
    """It strikes the thread while it waits for the next task, which runs all the same."""

    def late(chunk: Any, context: Any) -> int:
        if chunk.id % 3 == 0:
            timer = threading.Timer(0.05, _raise_in, (threading.get_ident(), error))
            timer.daemon = True
            timer.start()
        elif chunk.id % 3 == 1 and context.attempt == 1:
            from mrengine.errors import Retry

            raise Retry("so that the slot waits", after_s=0.2)
        return int(chunk.id)

    found, deaths = run(late, 6, workers=1, assignment="steal")
    struck = {failure.chunk_id for failure in found.failures}  # while it ran: the chunk's own
    assert {result.chunk_id for result in found.results} | struck == set(range(6))
    assert all(failure.message.startswith(error.__name__) for failure in found.failures)
    assert not deaths


@pytest.mark.parametrize("chunks", [300, pytest.param(5000, marks=pytest.mark.system)])
def test_a_storm_of_exceptions_loses_no_task(chunks: int) -> None:
    """At any place of a slot's own code, in the middle of a frame too."""

    def storm() -> None:
        def strike() -> None:
            while True:
                time.sleep(0.002)
                for thread in threading.enumerate():
                    if thread.name.startswith("mrengine-slot"):
                        _raise_in(thread.ident or 0, TimeoutError)

        threading.Thread(target=strike, daemon=True).start()

    def large(chunk: Any, context: Any) -> str:
        return str(chunk.id) * 100_000

    found, _ = run(large, chunks, workers=1, slots=2, initializer=storm)
    assert len(found.results) + len(found.failures) == chunks
    assert all(result.result == str(result.chunk_id) * 100_000 for result in found.results)
    kinds = {failure.message.split(":")[0].split(";")[0] for failure in found.failures}
    assert kinds <= {"TimeoutError", "LogError"}  # struck while it ran, or while its chunk was read


# what a map function does to its process


def _all_but_standard() -> None:
    os.closerange(3, 4096)


def _something_else_in_their_place() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3, 64):
        os.dup2(null, fd)


CLOSERS: dict[str, Callable[[], object]] = {
    "closed": _all_but_standard,
    "standard ones, too": lambda: os.closerange(0, 4096),
    "closed, then it hangs": lambda: (_all_but_standard(), time.sleep(3600)),
    "taken by another file": _something_else_in_their_place,
    "exec of a program that stays": lambda: os.execvp("sleep", ["sleep", "3600"]),
}


@pytest.mark.parametrize("how", CLOSERS)
def test_closing_the_workers_descriptors_is_reported_at_once(how: str) -> None:
    """It costs its own chunk, and nobody waits for chunk_timeout_s."""

    def closes(chunk: Any, context: Any) -> int:
        if chunk.id == 3:
            CLOSERS[how]()
        return int(chunk.id)

    began = time.monotonic()
    found, _ = run(closes, 8, slots=2)
    assert given_up(found) == [(3, "crash", 3)]
    assert "its pipe to the supervisor was closed in it" in found.failures[0].message
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("replaced", [False, True])
def test_closing_the_jobs_files_harms_no_other_chunk(replaced: bool) -> None:
    """The next one would read nothing, or something else."""

    def closes(chunk: Any, context: Any) -> str:
        if chunk.id == 3:
            null = os.open(os.devnull, os.O_RDONLY)
            for name in os.listdir("/proc/self/fd"):
                path = f"/proc/self/fd/{name}"
                if os.path.exists(path) and "/jobs/" in os.readlink(path):
                    os.dup2(null, int(name)) if replaced else os.close(int(name))
        return str(chunk.text)

    found, _ = run(closes, 8, slots=2)
    assert given_up(found) == [(3, "crash", 3)]
    assert "files of the job were closed in it" in found.failures[0].message
    assert [result.result for result in found.results] == [str(i) for i in range(8) if i != 3]


def test_a_task_too_short_for_a_look_of_its_own_spoils_no_other() -> None:
    """What it closed is found at its own write, at the next failure, or by the worker's clock."""

    def closes(chunk: Any, context: Any) -> str:
        text, known = str(chunk.text), vars(threading.current_thread())
        if "fds" not in known:
            paths = {int(name): f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")}
            known["fds"] = [fd for fd, path in paths.items() if os.path.exists(path) and "/jobs/" in os.readlink(path)]
        elif chunk.id % 40 == 30:
            for fd in known["fds"]:
                os.close(fd)
        return text

    found, _ = run(closes, 200)
    assert [result.result for result in found.results] == [str(result.chunk_id) for result in found.results]
    assert {chunk for chunk, *_ in given_up(found)} <= {30, 70, 110, 150, 190}
    assert len(found.results) >= 195


@pytest.mark.parametrize("slots", [1, pytest.param(4, marks=pytest.mark.system)])
@pytest.mark.parametrize("signum", [signal.SIGSTOP, pytest.param(signal.SIGTSTP, marks=pytest.mark.system)])
def test_a_chunk_that_stops_its_worker_costs_itself(signum: signal.Signals, slots: int) -> None:
    """Like a crash; the pool is not broken."""

    def stops(chunk: Any, context: Any) -> int:
        if chunk.id == 3:
            signal.pthread_kill(threading.get_ident(), signum)
            time.sleep(3600)
        return int(chunk.id)

    found, _ = run(stops, 8, workers=1, slots=slots)
    assert given_up(found) == [(3, "crash", 3)]
    assert signum.name in found.failures[0].message


@pytest.mark.parametrize("how", ["descriptors", "streams"])
def test_what_a_chunk_closes_of_its_output_is_open_for_the_next(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """It prints, and is heard."""

    def closes(chunk: Any, context: Any) -> int:
        if chunk.id % 3 == 1:
            time.sleep(0.002)  # long enough for a look of its own
            for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
                os.close(fd) if how == "descriptors" else stream.close()
        else:
            print(f"out {chunk.id}")
            print(f"err {chunk.id}", file=sys.stderr)
        return int(chunk.id)

    with caplog.at_level(logging.INFO, "map_fn"):
        found, deaths = run(closes, 9, workers=1)
    assert [result.result for result in found.results] == list(range(9))
    assert not deaths
    assert sorted(caplog.messages) == sorted(f"{name} {i}" for i in (0, 2, 3, 5, 6, 8) for name in ("out", "err"))


TRACER = """
import ctypes, sys, time
PTRACE_SEIZE = 0x4206
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), 0, 0) == 0, ctypes.get_errno()
print("seized", flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("who", ["supervisor", pytest.param("somebody", marks=pytest.mark.system)])
def test_a_worker_that_does_not_end_when_it_is_killed_hangs_nobody(who: str, tmp_path: Path) -> None:
    """Its thread is traced, by its own wish or another's, and nobody waits for it. A dead disk does the same."""

    def traced(chunk: Any, context: Any) -> int:
        if chunk.id == 1 and context.attempt == 1:
            if who == "supervisor":
                ctypes.CDLL(None).ptrace(0, 0, 0, 0)  # PTRACE_TRACEME
            else:
                ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)  # PR_SET_PTRACER, to anybody
                (tmp_path / "thread").write_text(str(threading.get_native_id()))
            time.sleep(3600)
        return int(chunk.id)

    settings: dict[str, Any] = {"workers": 2, "chunk_timeout_s": 0.5, "drain_s": 0.5}
    if who == "supervisor":
        found, deaths = run(traced, 4, **settings)
    else:
        runs: list[tuple[Any, list[Any]]] = []
        thread = threading.Thread(target=lambda: runs.append(run(traced, 4, **{**settings, "chunk_timeout_s": 5})))
        thread.start()
        wait_for(lambda: (tmp_path / "thread").exists() and (tmp_path / "thread").read_text())
        command = [sys.executable, "-c", TRACER, (tmp_path / "thread").read_text()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as tracer:
            try:
                assert tracer.stdout is not None
                assert tracer.stdout.readline() == "seized\n"
                thread.join(SOON_S)
            finally:
                tracer.kill()
        thread.join()
        ((found, deaths),) = runs
    assert [result.result for result in found.results] == [0, 1, 2, 3]
    assert deaths == [-signal.SIGKILL if who == "supervisor" else None]


@pytest.mark.parametrize(
    ("library", "slots"),  # with and without the interpreter's lock in its hand
    [
        (ctypes.PyDLL, 1),
        (ctypes.CDLL, 3),
        *(pytest.param(*how, marks=LONG) for how in ((ctypes.PyDLL, 3), (ctypes.CDLL, 1))),
    ],
)
def test_a_thread_that_c_code_ends_costs_its_own_chunk(library: type[ctypes.CDLL], slots: int) -> None:
    """Nobody holds the slot any more, or the lock for ever: it is told at once."""

    def ends(chunk: Any, context: Any) -> int:
        if chunk.id == 3:
            library(None).pthread_exit(None)
        return int(chunk.id)

    began = time.monotonic()
    found, _ = run(ends, 8, workers=1, slots=slots, max_attempts=2)
    assert given_up(found) == [(3, "crash", 2)]
    assert "one of its threads has ended" in found.failures[0].message
    assert time.monotonic() - began < SOON_S


def test_a_task_whose_outcome_is_known_holds_its_slot_for_seconds_at_most() -> None:
    """Here by a profiler that waits when the engine's own code has told it."""

    def hangs(chunk: Any, context: Any) -> int:
        def profile(frame: Any, event: str, arg: Any) -> None:
            if event == "return" and frame.f_code.co_name == "_run":
                time.sleep(3600)

        if chunk.id == 1:
            sys.setprofile(profile)
        return int(chunk.id)

    began = time.monotonic()
    found, deaths = run(hangs, 4, workers=1)
    assert [result.result for result in found.results] == [0, 1, 2, 3]
    assert deaths == [-signal.SIGKILL]
    assert time.monotonic() - began < SOON_S


@pytest.mark.system
def test_a_task_that_a_worker_has_lost_is_given_out_again() -> None:
    """Nobody runs it: the worker is replaced after seconds."""

    def drains(chunk: Any, context: Any) -> int:
        if chunk.id == 0:
            time.sleep(0.2)
            queue = next(t for t in threading.enumerate() if t.name == "mrengine-slot-0")._target.__self__._queue
            while not queue.empty():
                queue.get_nowait()
        return int(chunk.id)

    began = time.monotonic()
    found, _ = run(drains, 40, workers=1)
    assert [result.result for result in found.results] == list(range(40))
    assert time.monotonic() - began < SOON_S


def test_orphans_that_ended_take_no_room() -> None:
    """Where processes are few, zombies of them would leave none; what map_fn waits for itself keeps its exit code."""

    def leaves(chunk: Any, context: Any) -> tuple[int, int]:
        mine = subprocess.Popen(["sh", "-c", "exit 5"])
        subprocess.run(["sh", "-c", "for i in 1 2 3 4; do (true &) ; done"], check=True)
        time.sleep(0.1)
        zombies = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and state(int(pid)) == "Z"]
        return mine.wait(), sum(_parent(pid) == os.getpid() for pid in zombies)

    found, _ = run(leaves, 30, workers=1)
    assert {result.result[0] for result in found.results} == {5}
    assert max(result.result[1] for result in found.results) < 30


@pytest.fixture
def few_processes(tmp_path: Path) -> Iterator[Path]:
    """The file of a cgroup's processes, of which there may be 60."""
    roots = [Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")]
    group = next((root for root in roots if (root / "cgroup.procs").exists()), roots[0]) / f"mre-{os.getpid()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("60")
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no cgroup can be made here: {error}")
    yield group / "cgroup.procs"
    wait_for(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


LEAVES_ORPHANS = """
import os, subprocess, sys
open(sys.argv[1], "w").write(str(os.getpid()))
from mrengine import MapReduceRunner
def leaves(chunk, context):
    for _ in range(3):
        subprocess.run(["sh", "-c", "(true &) ; true"], check=True)
run = MapReduceRunner(workers=2, slots=int(sys.argv[2])).run([str(n) for n in range(120)], leaves)
print(len(run.results))
"""


@pytest.mark.parametrize("slots", [1, pytest.param(4, marks=pytest.mark.system)])
def test_orphans_leave_room_under_a_limit_of_processes(few_processes: Path, slots: int) -> None:
    """From the first chunk on: a container's pids.max."""
    command = [sys.executable, "-c", LEAVES_ORPHANS, str(few_processes), str(slots)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "120\n", done.stderr[-2000:]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_out_of_memory_the_kernel_takes_the_worker_first() -> None:
    """Before its supervisor and its host; a limit of somebody else's is kept."""

    def scores(chunk: Any, context: Any) -> list[int]:
        return [int(Path(f"/proc/{who}/oom_score_adj").read_text()) for who in ("self", os.getppid())]

    found, _ = run(scores, 1)
    worker, supervisor = found.results[0].result
    assert worker > supervisor == int(Path("/proc/self/oom_score_adj").read_text())


@pytest.mark.parametrize("limit", [resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_NPROC])
def test_a_limit_that_map_fn_sets_hangs_nobody(limit: int) -> None:
    """Every chunk has its outcome, or its worker is replaced."""

    def limits(chunk: Any, context: Any) -> int:
        if chunk.id == 3:
            resource.setrlimit(limit, (3, 3))
        return int(chunk.id)

    found, _ = run(limits, 12)
    assert len(found.results) + len(found.failures) == 12


def test_a_thread_that_cannot_be_started_once_charges_no_other_task() -> None:
    """The budget's own, under a limit that the first chunk sets and takes back."""

    def short_of_room(chunk: Any, context: Any) -> str:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        if chunk.id == 0:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), hard))
        try:
            return str(context.complete("hello", reuse=False).text)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    began = time.monotonic()
    found, deaths = run(short_of_room, 6, workers=1)
    assert [result.chunk_id for result in found.results] == [1, 2, 3, 4, 5]
    assert "can't start new thread" in found.failures[0].message
    assert not deaths
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("what", ["threads", "files"])
def test_what_a_chunk_has_used_up_fails_no_other(what: str) -> None:
    """It leaves a process in which no thread can be started, or no file opened: those after it run in another."""

    def uses_up(chunk: Any, context: Any) -> int:
        if chunk.id == 3 and what == "threads":
            threading.stack_size(1 << 44)
        elif chunk.id == 3:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        elif what == "threads":
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
        else:
            os.close(os.dup(0))
        return int(chunk.id)

    found, deaths = run(uses_up, 12, workers=1)
    assert [result.result for result in found.results] == list(range(12))
    assert deaths == [1]


GREEN = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
    "gevent without threads": "from gevent import monkey\nmonkey.patch_all(thread=False)\n",
    "gevent's sockets": "from gevent import monkey\nmonkey.patch_socket()\n",
    "eventlet": "import eventlet\neventlet.monkey_patch()\n",
    "eventlet's sockets": "import eventlet\neventlet.monkey_patch(all=False, socket=True)\n",
    "by hand": "import _thread\n_thread.start_new_thread = lambda *args: 0\n",
}


@pytest.mark.parametrize(
    "library",
    [name if name in ("gevent", "eventlet", "by hand") else pytest.param(name, marks=LONG) for name in GREEN],
)
def test_a_module_that_makes_greenlets_of_threads_is_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_packages: Callable[..., None], library: str
) -> None:
    """With the way out; it would start no worker, and chunk_timeout_s would pass."""
    if library != "by hand":  # never imported here: eventlet warns of each fork() of its process from then on
        require_packages(library.partition("'")[0].partition(" ")[0])
    (tmp_path / "green_app.py").write_text(GREEN[library])
    monkeypatch.syspath_prepend(tmp_path)

    def initialize() -> None:
        import green_app  # noqa: F401

    with pytest.raises(PoolBroken, match="patch in the program alone"):
        run(lambda chunk, context: 1, 2, initializer=initialize)
