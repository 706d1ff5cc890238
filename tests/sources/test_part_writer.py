"""What a thread digests and writes is what one thread alone would, and the thread leaves nothing behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b

import pytest

from mrengine.sources import part_writer
from mrengine.sources.part_writer import AHEAD, PartWriter

BATCH = 1000


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(part_writer, "BATCH_BYTES", BATCH)
    yield
    assert spooling() == []  # whatever happened, no thread is left


def spooling() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mrengine-spool"]


def digest_of(data: bytes | bytearray) -> bytes:
    return blake2b(data, digest_size=16).digest()


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_digested_and_written_in_their_order(seed: int) -> None:
    chance, written, threads = random.Random(seed), bytearray(), set()

    def write(data: bytes) -> None:
        written.extend(data)
        threads.add(threading.get_ident())

    writer = PartWriter(write)
    everything = bytearray()
    for _ in range(4):
        digest, document = blake2b(digest_size=16), bytearray()
        for _ in range(chance.randrange(200)):
            part = chance.randbytes(chance.choice([0, 1, 90, 900, 5000]))
            document += part
            writer.add(part, digest)
            if chance.random() < 0.05:
                writer.finish()
                assert written == everything + document
        writer.finish()
        everything += document
        assert digest.digest() == digest_of(document)
    assert written == everything
    assert len(threads) > 1
    assert not writer.is_behind


def test_a_short_document_has_no_thread() -> None:
    threads: list[int] = []
    writer = PartWriter(lambda _data: threads.append(threading.get_ident()))
    for _ in range(100):
        for size in (BATCH // 2, BATCH // 2 - 1):
            writer.add(bytes(size), blake2b())
        assert writer.is_behind
        assert spooling() == []
        writer.finish()
    assert threads == [threading.get_ident()] * 200


def test_the_caller_waits_for_a_slow_disk() -> None:
    """However much there is to write, only a few batches are kept in memory."""
    added = 0
    lags: list[int] = []

    def write(data: bytes) -> None:
        time.sleep(0.001)
        lags.append(added - len(lags) * len(data))

    writer = PartWriter(write)
    for _ in range(60):
        added += BATCH
        writer.add(bytes(BATCH), blake2b())
    writer.finish()
    assert len(lags) == 60
    assert 2 * BATCH < max(lags) <= (AHEAD + 2) * BATCH  # those that wait, one in each thread


def test_what_is_raised_in_the_thread_is_raised_where_the_caller_is() -> None:
    def write(_data: bytes) -> None:
        raise MemoryError("no room")

    writer = PartWriter(write)
    for _ in range(20):
        writer.add(bytes(BATCH), blake2b())
    with pytest.raises(MemoryError, match="no room"):
        writer.finish()
    assert writer.is_behind
    for _ in range(20):
        writer.add(bytes(BATCH), blake2b())
    writer.stop()  # in the middle of another exception


def test_where_no_thread_can_be_had_the_caller_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    written, digest = bytearray(), blake2b(digest_size=16)
    writer = PartWriter(written.extend)
    for number in range(50):
        writer.add(bytes([number]) * 300, digest)
    writer.finish()
    assert bytes(written) == b"".join(bytes([number]) * 300 for number in range(50))
    assert digest.digest() == digest_of(written)


def test_an_interrupt_ends_the_waiting_and_the_thread_ends_all_the_same() -> None:
    """Ctrl-C while the disk hangs."""
    go_on = threading.Event()
    written: list[bytes] = []

    def write(data: bytes) -> None:
        if not written:
            os.kill(os.getpid(), signal.SIGINT)
        written.append(data)
        assert go_on.wait(30)

    writer = PartWriter(write)

    def add() -> None:
        for _ in range(100):
            writer.add(bytes(BATCH), blake2b())

    with pytest.raises(KeyboardInterrupt):
        add()
    assert len(written) == 1
    go_on.set()
    writer.stop()
    assert len(written) <= AHEAD + 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_the_caller_forks_meanwhile_can_end() -> None:
    """User code that is asked for the next piece of a text may do so."""
    go_on = threading.Event()
    writer = PartWriter(lambda _data: go_on.wait(30))
    for _ in range(2):
        writer.add(bytes(BATCH), blake2b())
    assert spooling() != []
    child = os.fork()
    if not child:
        writer.stop()
        os._exit(7)
    deadline = time.monotonic() + 30
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    go_on.set()
    writer.finish()
    assert os.waitstatus_to_exitcode(ended[1]) == 7


GREEN = """
{before}
from mrengine.sources import part_writer
{after}
from hashlib import blake2b
import threading
part_writer.BATCH_BYTES = 1000
written, digest = bytearray(), blake2b()
writer = part_writer.PartWriter(written.extend)
for number in range(100):
    writer.add(bytes([number]) * 700, digest)
    if number == 50:
        writer.finish()
writer.finish()
assert written == b"".join(bytes([number]) * 700 for number in range(100))
assert digest.digest() == blake2b(written).digest()
assert threading.active_count() == 1
"""
PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all({})",
    "eventlet": "import eventlet; eventlet.monkey_patch({})",
}


@pytest.mark.parametrize("which", ["gevent", pytest.param("eventlet", marks=pytest.mark.system)])
@pytest.mark.parametrize("how", ["", "thread=False"])
@pytest.mark.parametrize("when", ["after", pytest.param("before", marks=pytest.mark.system)])
def test_green_threads_do_the_same(which: str, how: str, when: str, require_packages: Callable[..., None]) -> None:
    """Also where a server patches the modules of threads when this one has been imported."""
    require_packages(which)
    program = GREEN.format(**{"before": "", "after": "", when: PATCHES[which].format(how)})
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=60, check=False)
    assert done.returncode == 0
