"""The faults: what strikes, when, and whether the program is started again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CASES", "Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """``strike``: what happens once ``at`` of the answers were bought.

    "host": SIGKILL of the process that was started; "all": of it and all that it started; "power": the same, and what
    was not synced is gone; "lie, power": syncs are dropped from then on, until a power cut ``later`` of the answers on;
    "full": no write succeeds until the program has ended; "storm": every request is refused for ``storm_s``; "":
    nothing. ``server``: how the provider misbehaves. ``rpm``: its limit, which the tool is told. ``again``: the program
    is started a second time, on a sound machine.
    """

    about: str
    strike: str = ""
    at: float = 0.5
    later: float = 0.2
    server: Mapping[str, Any] = field(default_factory=dict)
    rpm: int | None = None
    again: bool = False
    calls: int | None = None
    storm_s: float = 6.0

    @property
    def on_disk(self) -> bool:
        return "power" in self.strike or self.strike == "full"


CASES: dict[str, Case] = {
    "kill host": Case("SIGKILL of the program, then again", "host", again=True),
    "kill all": Case("SIGKILL of the program and all its processes, then again", "all", again=True),
    "power cut": Case("the machine loses power: what was not synced is gone, then again", "power", again=True),
    "dropped fsync": Case(
        "the disk says that it has synced and has not, then a power cut, then again", "lie, power", at=0.4, again=True
    ),
    "full disk": Case("no room for a while, then again", "full", at=0.4, again=True),
    "429 storm": Case("for six seconds every request is refused, with Retry-After: 1", "storm", at=0.2),
    "limit": Case(
        "240 requests a minute, SIGKILL of everything when most of them are used, at once again",
        "all",
        at=0.7,
        rpm=240,
        calls=320,
        again=True,
    ),
    "hang": Case("one call in twenty is never answered", server={"faults": {"hang": 0.05}, "seed": 3}),
    "not JSON": Case(
        "one answer in ten is an HTML page with status 200", server={"faults": {"non_json": 0.1}, "seed": 3}
    ),
}
