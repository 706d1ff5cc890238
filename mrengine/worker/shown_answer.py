"""Shows an answer while it is written: in pieces, each with its place in the whole answer."""

from __future__ import annotations

from collections.abc import Callable

from mrengine.providers.call.answers import MAX_REPEAT, MIN_REPEAT, is_continuation, joined
from mrengine.records import Request

__all__ = ["ShownAnswer"]


class ShownAnswer:
    """Passes the pieces of an answer on: ``tell(at, text)`` says that the answer reads ``text`` from character ``at``.

    A call that is made again begins at 0. A continuation begins where the answer was cut, without what it repeats.
    """

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        self._tell = tell
        self._before, self._at = "", 0
        self._held: str | None = None

    def begin(self, request: Request) -> None:
        """Note that a request is sent: the pieces that follow answer it."""
        # The last turn asks to go on; the one before it is the answer so far.
        self._before = request.turns[-2][1] if is_continuation(request) else ""
        self._at = len(self._before)
        self._held = "" if self._before else None

    def __call__(self, piece: str) -> None:
        """The next piece of the provider's answer."""
        # A continuation may repeat the end of what was shown. Its start is held back until joined() can tell.
        if self._held is not None:
            self._held += piece
            if len(self._held) < MIN_REPEAT or (self._may_repeat() and len(self._held) < MAX_REPEAT):
                return
            piece, self._held = joined(self._before, self._held)[len(self._before) :], None
        if piece:
            self._tell(self._at, piece)
            self._at += len(piece)

    def _may_repeat(self) -> bool:
        assert self._held is not None
        return self._held[:MIN_REPEAT] in self._before[-MAX_REPEAT:]
