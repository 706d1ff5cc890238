"""The place of a supervisor's socket: whose it is, a lock says, and nobody else's is swept away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrengine.backends.process.private_folder import LONGEST, SocketPlace

ROOT = Path(__file__).parents[2]
HOLDS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from mrengine.backends.process.private_folder import SocketPlace
place = SocketPlace()
place.choose("/" + "d" * 100)
print(place.private, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def too_long(temp: Path) -> str:
    return os.fspath(temp / ("d" * LONGEST))


def test_the_jobs_own_folder_is_taken_where_its_path_is_short(temp: Path) -> None:
    """What a killed supervisor left there is removed, nothing private is made, and nothing stays."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(temp / "socket"))
    place = SocketPlace()
    place.choose(os.fspath(temp))
    assert (place.address, place.private) == (os.fspath(temp / "socket"), "")
    assert list(temp.iterdir()) == []
    (temp / "socket").touch()
    place.vacate()
    place.close()
    assert list(temp.iterdir()) == []


def test_a_file_of_that_name_is_nobodys_to_remove(temp: Path) -> None:
    """A private folder is made instead."""
    (temp / "socket").write_text("mine")
    place = SocketPlace()
    place.choose(os.fspath(temp))
    assert place.private
    place.close()
    assert (temp / "socket").read_text() == "mine"


def test_a_living_supervisors_folder_is_not_swept_and_a_dead_ones_is(temp: Path) -> None:
    """Whatever its pid is here: the kernel's lock tells."""
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        mine = SocketPlace()
        mine.choose(too_long(temp))
        assert {path.name for path in temp.iterdir()} == {theirs.name, Path(mine.private).name}
        mine.close()
        assert theirs.is_dir()
        other.kill()
    later = SocketPlace()
    later.choose(too_long(temp))
    assert [path.name for path in temp.iterdir()] == [Path(later.private).name]
    later.close()
    assert list(temp.iterdir()) == []


def test_a_private_folder_that_was_removed_is_made_again_and_held(temp: Path) -> None:
    """Under its name, which workers know."""
    place = SocketPlace()
    place.choose(too_long(temp))
    os.rmdir(place.private)
    place.restore()
    other = SocketPlace()
    other.choose(too_long(temp))
    assert os.path.isdir(place.private)
    place.close()
    other.close()


def test_without_any_place_it_is_said_what_is_needed(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two, either helps."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(OSError, match=r"the job's folder has \d+ bytes.*a shorter state_dir=.*TMPDIR"):
        SocketPlace().choose(too_long(temp))
