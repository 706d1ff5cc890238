"""State is its owner's alone: folders of others are refused, only files are opened, a lock says who uses a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mrengine import Job, MapReduceRunner
from mrengine.errors import ConfigError
from mrengine.jobs import list_jobs
from mrengine.log.file.folder import claimed
from mrengine.private import FolderLock, check_private, make_private, open_file


def ask(chunk: object, context: object) -> int:
    return 1


def a_job(state_dir: Path) -> Path:
    MapReduceRunner("job", strategy="sequential").run("a", ask)
    return state_dir / "jobs" / "job"


EVERY_WAY: dict[str, Callable[[], object]] = {
    "run": lambda: MapReduceRunner("job", strategy="sequential").run("a", ask),
    "resume": lambda: MapReduceRunner(strategy="sequential").resume("job", ask),
    "resume its own": lambda: MapReduceRunner(strategy="sequential").resume("job"),
    "status": lambda: Job("job").status(),
    "results": lambda: Job("job").results(),
    "list": lambda: [job.status() for job in list_jobs()],
}


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize("which", ["state", "jobs", "job"])
def test_a_folder_that_others_may_write_to_is_refused(which: str, way: str, state_dir: Path) -> None:
    """As ssh does, with the command that mends it."""
    job = a_job(state_dir)
    folder = {"state": state_dir, "jobs": job.parent, "job": job}[which]
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=rf"others may write to {folder} \(mode 0777\).*run: chmod go-w {folder}"):
        EVERY_WAY[way]()
    folder.chmod(0o755)
    EVERY_WAY["status"]()


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize("which", ["state", "jobs", "job"])
def test_a_folder_of_somebody_else_is_refused(which: str, way: str, state_dir: Path) -> None:
    """His log says where documents and keys go."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("only root gives folders away")
        pytest.skip("only root gives folders away")
    job = a_job(state_dir)
    folder = {"state": state_dir, "jobs": job.parent, "job": job}[which]
    os.chown(folder, 12345, -1)
    with pytest.raises(ConfigError, match=rf"{folder} belongs to user 12345.*chown -R 0 {folder}"):
        EVERY_WAY[way]()


def test_a_job_that_is_refused_hides_no_other(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """'mrengine jobs' names it, and goes on."""
    from mrengine.cli import main

    a_job(state_dir).chmod(0o777)
    MapReduceRunner("other", strategy="sequential").run("a", ask)
    with pytest.raises(SystemExit) as ended:
        main(["jobs"])
    assert ended.value.code in (0, None)
    told = capsys.readouterr()
    assert "other" in told.out
    assert "chmod go-w" in told.err


def test_a_state_folder_may_stand_in_one_like_tmp(tmp_path: Path) -> None:
    """There nobody can take another's folder away."""
    tmp_path.chmod(0o1777)
    run = MapReduceRunner("job", strategy="sequential", state_dir=tmp_path).run("a", ask)
    assert len(run.results) == 1
    assert stat.S_IMODE((tmp_path / "jobs").stat().st_mode) == 0o700


def test_a_state_folder_may_be_a_link(tmp_path: Path) -> None:
    """The user has put his state on another disk; what it leads to counts."""
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "state").symlink_to(tmp_path / "disk")
    runner = MapReduceRunner("job", strategy="sequential", state_dir=tmp_path / "state")
    assert len(runner.run("a", ask).results) == 1
    (tmp_path / "disk").chmod(0o777)
    with pytest.raises(ConfigError, match="others may write to"):
        runner.run("a", ask, job_id="job")


def test_a_state_folder_that_is_made_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """Under a umask of a shared group, too: it is not refused the next time."""
    before = os.umask(0o002)
    try:
        make_private(tmp_path / "a" / "state")
    finally:
        os.umask(before)
    check_private(tmp_path / "a" / "state")


def test_a_command_quotes_the_folder_that_it_names(tmp_path: Path) -> None:
    """It may be copied as it stands."""
    folder = tmp_path / "my jobs"
    folder.mkdir()
    folder.chmod(0o770)
    with pytest.raises(ConfigError, match=rf"chmod go-w '{folder}'"):
        check_private(folder)


@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC]
)
def test_only_files_are_opened(flags: int, tmp_path: Path) -> None:
    """A FIFO is not waited at, a link not followed, and each is called what it is."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    for name, what in (("fifo", "a FIFO"), ("link", "a symbolic link"), ("folder", "a folder")):
        with pytest.raises(OSError, match=f"it is {what}, and not a file: remove it"):
            open_file(tmp_path / name, flags)
    assert not (tmp_path / "file").exists()


def test_a_lock_on_a_folder_is_shared_or_alone(tmp_path: Path) -> None:
    """Whoever is alone may remove it."""
    one, two = FolderLock.take(tmp_path, shared=True), FolderLock.take(tmp_path, shared=True)
    assert one is not None
    assert two is not None
    assert FolderLock.take(tmp_path) is None
    assert not one.alone()
    two.release()
    one.release()
    three = FolderLock.take(tmp_path, shared=True)
    assert three is not None
    assert three.alone()
    assert FolderLock.take(tmp_path, shared=True) is None
    three.release()
    three.release()
    assert FolderLock.take(tmp_path) is not None


def test_a_folder_that_is_removed_while_it_is_claimed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a run that was refused a moment before."""
    really, times = FolderLock.take, iter(range(3))

    def gone(folder: Path, **how: bool) -> FolderLock | None:
        if next(times, None) is not None:
            os.rmdir(folder)
        return really(folder, **how)

    monkeypatch.setattr(FolderLock, "take", gone)
    claim = claimed(tmp_path / "jobs" / "job")
    assert claim is not None
    assert (tmp_path / "jobs" / "job").is_dir()
    assert FolderLock.take(tmp_path / "jobs" / "job") is None
    claim.release()
