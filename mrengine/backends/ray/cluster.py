"""A connection to Ray: the program's own, to a running cluster, or to one that is started here and stopped again."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from contextlib import suppress
from typing import Any

from mrengine.errors import ConfigError, PoolBroken
from mrengine.private import FolderLock

__all__ = ["Cluster", "TemporaryFolder", "actor_class"]


def actor_class(kind: type, **options: Any) -> Any:
    """A class whose instances are actors of the cluster."""
    import ray

    remote: Any = ray.remote
    return remote(**options)(kind)


class Cluster:
    """The cluster at ``address``; None: at ``RAY_ADDRESS``, else a local one. ConfigError, PoolBroken."""

    def __init__(self, address: str | None) -> None:
        address = address or os.environ.get("RAY_ADDRESS")
        # Before Ray is imported, which reads these variables then: if they were set later, its daemons would ask for a
        # token that this process does not send. The names are kept, to remove them again.
        self._env = _with_token() if address in (None, "local") else []
        self._ray: Any = _ray()
        self._folder: TemporaryFolder | None = None
        self._own = not self._ray.is_initialized()
        if self._own:
            try:
                self._connect(address)
            except BaseException:
                self.close()
                raise
        self.temporary = str(self._ray.get_runtime_context().get_temp_dir())
        self.node = str(self._ray.get_runtime_context().get_node_id())

    def _connect(self, address: str | None) -> None:
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "configure_logging": False}
        _print_nothing()
        try:
            if address and address != "local":
                self._ray.init(address=address, **quiet)
            else:
                self._ray.init(address="local", include_dashboard=False, **self._place(), **quiet)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            where = f"the Ray cluster at {address}" if address else "a local Ray cluster"
            raise PoolBroken(f"{where} cannot be reached: {error}", cause=str(error)) from error

    def _place(self) -> dict[str, Any]:
        """Choose where a local cluster has its files, unless the user did: Ray would leave them in /tmp/ray."""
        if "RAY_USAGE_STATS_ENABLED" not in os.environ:
            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing about a job leaves the user's machines
            self._env.append("RAY_USAGE_STATS_ENABLED")
        if "RAY_TMPDIR" in os.environ:
            return {}
        self._folder = TemporaryFolder()
        return {"_temp_dir": self._folder.path}

    @property
    def cpus(self) -> float:
        """The number of cores of all nodes."""
        return float(self._ray.cluster_resources().get("CPU", 1.0))

    def close(self) -> None:
        """Disconnect, and end a local cluster. The program's own connection stays."""
        if self._own:
            self._own = False
            self._ray.shutdown()
            for name in self._env:
                os.environ.pop(name, None)
            if self._folder is not None:
                self._folder.remove()


_GUARDED: list[bool] = []  # not empty: Ray was imported under the token of this process, and keeps using it
_TOKEN = secrets.token_hex(32)  # one for the process: Ray remembers the first


def _with_token() -> list[str]:
    """Have a local cluster ask for a token of this process, unless the user or the program has set up its own way."""
    # Whoever reaches an unguarded cluster can run anything on it, and a token that Ray makes stays in the user's home.
    names = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _TOKEN}
    if any(name.startswith("RAY_AUTH_") for name in os.environ) or ("ray" in sys.modules and not _GUARDED):
        return []
    _GUARDED.append(True)
    os.environ.update(names)
    return list(names)


def _print_nothing() -> None:
    """Keep Ray from writing about dead workers to stdout, where a program's results may go."""
    # No option of Ray does this. The engine reports deaths itself.
    from ray._private import worker

    worker._worker_logs_enabled = False


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        message = f"backend='ray' needs Ray: pip install 'mrengine[ray]' ({error})"
        raise ConfigError(message, setting="backend") from error
    return ray


PREFIX = "mr-ray-"
LONGEST = 26  # bytes of the parent's path: Ray adds 65 to the folder's, and an AF_UNIX address has at most 107


class TemporaryFolder:
    """A local cluster's folder, under TMPDIR. A new one removes those of programs that were killed. OSError."""

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        if len(os.fsencode(parent)) > LONGEST:
            parent = "/tmp"  # noqa: S108  # mkdtemp makes a folder of its own in it
        _sweep(parent)
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        self._lock: FolderLock | None = None
        # The lock proves that the program lives. Where the file system has no locks, nobody sweeps the folder either.
        with suppress(OSError):
            self._lock = FolderLock.take(self.path)

    def remove(self) -> None:
        """Remove the folder; idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _sweep(parent: str) -> None:
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            with suppress(OSError):
                mine = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                lock = FolderLock.take(entry.path) if mine else None
                if lock is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    lock.release()
