"""A disk that forgets or is full: builds ``disk.c``, and plays the power cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

__all__ = ["Disk", "compiler"]

SOURCE = Path(__file__).with_name("disk.c")


@lru_cache
def compiler() -> str | None:
    """The C compiler, without which the disk's faults cannot be played."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class Disk:
    """The disk under one folder, for the programs that get ``environment``."""

    def __init__(self, state: Path, control: Path) -> None:
        self._state, self._control = state.resolve(), control.resolve()
        (self._control / "kept").mkdir(parents=True)
        command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def _library(self) -> Path:
        return self._control / "disk.so"

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "DISK_STATE": str(self._state), "DISK_CONTROL": str(self._control)}

    def lie(self) -> None:
        """From now on a sync does nothing, and says that it has."""
        (self._control / "drop").touch()

    def fill(self) -> None:
        """No write succeeds any more."""
        (self._control / "full").touch()

    def mend(self) -> None:
        """A disk with room, which syncs."""
        (self._control / "drop").unlink(missing_ok=True)
        (self._control / "full").unlink(missing_ok=True)

    def cut_power(self) -> None:
        """Leave of each file what was synced last; call it when no process writes any more.

        Names are all kept, as by a file system that journals them; of a file that was never synced, only the name.
        """
        for folder, _, names in os.walk(self._state):
            for name in names:
                path = Path(folder) / name
                if path.is_symlink() or not path.is_file():
                    continue
                kept = self._control / "kept" / str(path.stat().st_ino)
                with path.open("r+b") as file:
                    file.truncate(0)
                    file.write(kept.read_bytes() if kept.exists() else b"")
