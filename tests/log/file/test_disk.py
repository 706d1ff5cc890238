"""What the log asks of files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mrengine.log.file.disk import OsFiles


class Stingy(OsFiles):
    """A disk that takes ``most`` bytes at a time."""

    def __init__(self, most: int) -> None:
        self._most = most

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        return os.pwrite(fd, bytes(data[: self._most]), offset)


def test_writes_that_are_cut_short_go_on_and_one_of_nothing_is_an_error(tmp_path: Path) -> None:
    """A loop over writes of nothing would never end."""
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    try:
        Stingy(3).write_all(fd, b"0123456789", 2)
        assert os.pread(fd, 20, 0) == b"\0\0" + b"0123456789"
        with pytest.raises(OSError) as caught:
            Stingy(0).write_all(fd, b"0123456789", 0)
        assert caught.value.errno == errno.EIO
    finally:
        os.close(fd)
