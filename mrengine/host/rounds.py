"""Plays the rounds of a run on its driver, yields what becomes durable, and replaces a supervisor that died."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path

from mrengine.errors import LogError, SupervisorDied
from mrengine.host.batches import BatchCoordinator
from mrengine.host.job_identity import Record, round_record
from mrengine.host.log_follower import LogFollower, Outcome
from mrengine.host.requests import RoundSpec, RunConfig, open_request, round_request
from mrengine.host.round_batches import LogPlace, has_work, in_batches
from mrengine.host.row_stream import AHEAD
from mrengine.host.waiting import SUPERVISORS
from mrengine.job.driver import Driver, Durable, Ended, Update
from mrengine.log.format.values import Plain
from mrengine.log.view.job_view import ResumeEngine
from mrengine.mapfn.describe import MapFunction

__all__ = ["RoundPlayer"]

log = logging.getLogger("mrengine")
WAIT_S = 0.5
DRAIN_WAIT_S, DRAIN_GRACE_S = 0.2, 2.0


class RoundPlayer:
    """The driver of one run: begun when it is needed, replaced where its supervisor dies, stopped, finished."""

    def __init__(
        self,
        config: RunConfig,
        job_id: str,
        folder: Path,
        mapping: MapFunction,
        *,
        until: float | None,
        tick: Callable[[], None],
    ) -> None:
        """``until``: when the run's time is over (``time.monotonic()``). ``tick()``: called at least every 0.5 s."""
        self._config, self._job_id, self._folder, self._mapping = config, job_id, folder, mapping
        self._until, self._tick = until, tick
        self._driver: Driver | None = None
        self._updates: deque[Update] = deque()  # received, and not dealt with yet
        self._durable = 0  # the newest durable offset that was received
        # Supervisors that died without progress between, and how far the run was at the last of these deaths.
        self._died, self._progress = 0, 0
        self._coordinator: BatchCoordinator | None = None
        self.playing = False
        self.stop_reason: str | None = None

    @property
    def has_driver(self) -> bool:
        """Whether a driver of this run has, or may have, the job."""
        return self._driver is not None

    def begin(self) -> Driver:
        """Have the runner's driver ask for the job's lock. JobBusy: the lock is known at once to be taken."""
        self._driver = self._config.session()
        self._driver.begin(open_request(self._config, self._job_id, self._folder, self._mapping))
        return self._driver

    def drop(self) -> None:
        """End the driver; its supervisor has died."""
        self._driver = None
        self._config.drop_session()

    def play(
        self,
        round_: RoundSpec,
        follower: LogFollower,
        *,
        since: int,
        wanted: bool,
        begun: Callable[[], None],
        batches: BatchCoordinator | None = None,
    ) -> Generator[Outcome, None, Ended]:
        """Play a round; yields its outcomes if they are ``wanted``, and returns how it ended.

        ``since``: where the run begins in the log. ``begun()`` is called when the round's own record is durable: what
        follows it is new. The state "died": too many supervisors died. With ``batches`` the round is played again
        whenever batches have brought something.
        """
        self._coordinator = batches
        # Where all tasks wait for batches of an earlier run, no worker is needed until one of them has ended.
        if batches is None or not self._waits(round_, follower):
            ended = yield from self._play(round_, follower, since=since, wanted=wanted, begun=begun)
        else:
            follower.view.catch_up(self._append(round_, round_.records).sync())
            begun()
            ended = Ended("parked", {})
        while batches is not None and ended.state in ("parked", "done") and self._pending(round_, follower):
            over = self._settled(batches, follower)
            if over is not None:
                return over
            if not self._waits(round_, follower):
                ended = yield from self._play(round_, follower, since=since, wanted=wanted, begun=None)
        return ended if ended.state != "parked" else Ended("done", {})

    def _pending(self, round_: RoundSpec, follower: LogFollower) -> bool:
        """Whether a task has neither a result nor a failure of this run."""
        assert self._coordinator is not None
        index = follower.view.index(round_.number)
        return index.total - index.done > in_batches(self._coordinator, follower, round_.number).failed

    def _waits(self, round_: RoundSpec, follower: LogFollower) -> bool:
        """Whether all tasks that are left wait for batches."""
        assert self._coordinator is not None
        batches = in_batches(self._coordinator, follower, round_.number)
        return bool(batches.held) and not has_work(follower, round_.number, batches)

    def _settled(self, batches: BatchCoordinator, follower: LogFollower) -> Ended | None:
        """Let the coordinator send and collect, by another supervisor where one dies."""
        while True:
            assert self._driver is not None
            place = LogPlace(self._driver, follower, self._wait_s, lambda: self.stop_reason)
            try:
                return batches.settle(place)
            except SupervisorDied:
                durable = self._another(follower)
                if durable is None:
                    return self._gave_up()
                for _ in follower.follow(durable):
                    pass

    def _play(
        self, round_: RoundSpec, follower: LogFollower, *, since: int, wanted: bool, begun: Callable[[], None] | None
    ) -> Generator[Outcome, None, Ended]:
        """Play once. ``begun``: None unless this is the first play of the round in this run."""
        self._start(round_, round_.records, since, follower, again=begun is None)
        is_begun = begun is None
        while True:
            # Cutting and updates take turns in this one thread; nothing is waited for right after a slice of cutting.
            fed = not self._updates and round_.is_open and self._feed(round_, follower)
            update = self._next((lambda: min(0.0, self._wait_s())) if fed else self._wait_s)
            if isinstance(update, Ended) and update.state == "died":
                durable = self._another(follower)
                if durable is None:
                    update = self._gave_up()
                else:
                    if is_begun:  # outcomes that the dead supervisor had logged, but not announced
                        yield from follower.follow(durable, outcomes=wanted)
                    else:  # the round's record may have died with it: nothing of this run is in the log
                        follower.view.catch_up(durable)
                    self._start(round_, _lacking(follower.view, round_), since, follower)
                    continue
            if isinstance(update, Durable):
                if begun is not None and not is_begun:
                    is_begun = True
                    follower.view.catch_up(update.offset)
                    begun()
                yield from follower.follow(update.offset, outcomes=wanted)
            elif isinstance(update, Ended):
                self.playing = False
                return update
            elif update is not None:
                follower.report(update)

    def _feed(self, round_: RoundSpec, follower: LogFollower) -> bool:
        """Cut some more and send the rows, unless the workers have enough to do; whether it cut."""
        rows, driver, epoch = round_.rows, self._driver, follower.view.epoch
        assert rows is not None
        assert driver is not None
        assert epoch is not None
        rows.seen(epoch)
        ahead = rows.count - follower.counts.done // epoch.models
        if self.stop_reason is not None or (ahead > AHEAD and not rows.is_urgent()):
            return False
        records = rows.next()
        if not records and not rows.ended:
            return True  # this slice compared documents with rows that the log has, and made none
        for record in records:
            driver.append(*record)
        if rows.ended:
            version = round_.mapping.version
            driver.append(*round_record(0, rows.count, version, self._config.settings, closes=True))
        driver.extend(last=rows.ended)
        return True

    def _append(self, round_: RoundSpec, records: Sequence[Record]) -> Driver:
        """Append what a round needs in the log, and its own record; returns the driver."""
        driver = self._driver
        assert driver is not None
        for record in records:
            driver.append(*record)
        total = round_.total if round_.rows is None else round_.rows.count
        extra: dict[str, Plain] = {"open": True} if round_.is_open else {}
        driver.append(*round_record(round_.number, total, round_.mapping.version, self._config.settings, **extra))
        return driver

    def _start(
        self, round_: RoundSpec, records: Sequence[Record], since: int, follower: LogFollower, *, again: bool = False
    ) -> None:
        self._updates.clear()
        driver = self._driver if again else self._append(round_, records)
        assert driver is not None
        batches = None if self._coordinator is None else in_batches(self._coordinator, follower, round_.number)
        driver.play(round_request(self._config, self._job_id, round_, since=since, batches=batches))
        self.playing = True
        if self.stop_reason is not None:  # it may have come before there was a round to stop
            driver.stop(self.stop_reason)

    def _next(self, wait_s: Callable[[], float]) -> Update | None:
        """The oldest update. The others stay in ``_updates``, where ``drain()`` finds them after an exception."""
        if not self._updates:
            assert self._driver is not None
            self._updates.extend(self._driver.receive(wait_s()))
        update = self._updates.popleft() if self._updates else None
        if isinstance(update, Durable):
            self._durable = update.offset
        return update

    def _wait_s(self) -> float:
        left_s = WAIT_S if self._until is None else self._until - time.monotonic()
        if left_s <= 0:
            self.stop("timeout")
        self._tick()
        return min(WAIT_S, left_s) if left_s > 0 else WAIT_S

    def _another(self, follower: LogFollower) -> int | None:
        """Replace a supervisor that died; returns the durable offset of its log. None: too many died."""
        # Counted anew after progress: a long run may lose many supervisors, but not several at one and the same place.
        if follower.counts.progress > self._progress:
            self._died, self._progress = 0, follower.counts.progress
        while True:
            self._died += 1
            self.drop()
            if self._died >= SUPERVISORS:
                return None
            log.warning("the supervisor of job %s died; another one goes on", self._job_id)
            with suppress(SupervisorDied):
                return self.begin().opened()

    def _gave_up(self) -> Ended:
        return Ended("died", {"message": f"{self._died} supervisors died in a row; the job can be resumed"})

    # the end

    def stop(self, reason: str) -> None:
        """Start nothing new, let what is in flight end. From any thread, and from signal handlers."""
        # The reason first: another thread may be starting a round, and looks for it once the round is under way.
        self.stop_reason = self.stop_reason or reason
        if self._driver is not None:
            self._driver.stop(self.stop_reason)

    def drain(self, follower: LogFollower) -> None:
        """After an exception: let what is in flight end, for ``drain_s``."""
        if self._driver is None or not self.playing:
            return
        self._config.progress.state("draining")
        self.stop("stopped")
        until = time.monotonic() + self._config.settings.drain_s + DRAIN_GRACE_S
        while time.monotonic() < until:
            for _ in follower.follow(self._durable):
                pass
            update = self._next(lambda: DRAIN_WAIT_S)
            if isinstance(update, Ended):
                return
            if update is not None:
                follower.report(update)

    def finish(self, close: bytes) -> None:
        """Have the log's writer add this CLOSE, if there is one, and free the job."""
        driver, self._driver = self._driver, None  # an exception below must not lead to a second CLOSE
        if driver is None:
            return
        try:
            driver.finish(close)
        except (SupervisorDied, LogError):
            self._config.drop_session()  # a run without its CLOSE counts as interrupted, unless all has its result


def _lacking(view: ResumeEngine, round_: RoundSpec) -> Sequence[Record]:
    """The records of a round that died with a supervisor before they were durable."""
    # A later round's records stand before its ROUND: where the log has that, it has them.
    logged = view.epoch.rounds.get(round_.number) if view.epoch is not None else None
    if round_.rows is not None and view.epoch is not None:
        round_.rows.seen(view.epoch)
        return round_.rows.unseen
    return () if logged is not None and logged.version == round_.mapping.version else round_.records
