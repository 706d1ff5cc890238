"""Decides how large the chunks of a job are, from the caller's settings, its models' windows, or its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrengine.errors import ChunkingError
from mrengine.log.format.job_records import JobRecord
from mrengine.mapfn.digest import digest
from mrengine.providers.models.model import Model
from mrengine.settings import Settings

__all__ = ["AUTO_TARGET", "Chunking", "chunking_of", "stored_chunking"]

ANSWER_ROOM = 1024 + 256  # tokens of a context window that are kept for the answer and the prompt around the chunk
PROMPT_ROOM = 768  # tokens of a window that are kept for the prompt of a summary
AUTO_TARGET = 6000
DEFAULT_OVERLAP = 350


@dataclass(slots=True)
class Chunking:
    """How documents are cut. ``fit``: the target is what one call has room for, and a longer document is cut into
    smaller parts (``chunking/fitted``).
    """

    target_tokens: int | None
    overlap_tokens: int
    encoding: str
    splitter: Any
    askable: tuple[Model, ...] = ()
    fit: bool = False
    room_tokens: int = AUTO_TARGET  # tokens of text that one call has room for, whatever chunks are cut to
    _made: Any = None

    def cut_tokens(self) -> int | None:
        """The target, or less where the servers of ``askable`` models report smaller windows; they are asked once."""
        # Not part of ``fields()``: a server that does not answer today would make it another job (JobMismatch).
        if not self.askable or self.target_tokens is None:
            return self.target_tokens
        from mrengine.providers.call.context_window import ask_windows

        windows = ask_windows(self.askable)
        declared = any(model.context_window is not None for model in self.askable)
        rooms = [self.room_tokens] if declared or not windows else []
        self.room_tokens = min([*rooms, *map(_room_beside_answer, windows)])
        self.target_tokens = self.room_tokens if self.fit else min([self.target_tokens, *map(_room, windows)])
        self.overlap_tokens = min(self.overlap_tokens, self.target_tokens // 4)
        self.askable = ()
        return self.target_tokens

    def chunker(self) -> Any:
        """The chunker, made at its first use: it loads the tokenizer."""
        if self._made is None and self.fit:
            from mrengine.chunking.fitted import FittedChunker

            room = self.cut_tokens()
            assert room is not None
            self._made = FittedChunker(
                room=room, overlap_tokens=self.overlap_tokens, encoding=self.encoding, splitter=self.splitter
            )
        elif self._made is None:
            from mrengine.chunking import Chunker

            self._made = Chunker(
                target_tokens=self.cut_tokens(),
                overlap_tokens=self.overlap_tokens,
                encoding=self.encoding,
                splitter=self.splitter,
            )
        return self._made

    def fields(self) -> dict[str, Any]:
        """The fields that the log keeps; a resumed run's are compared with them."""
        named = isinstance(self.splitter, str)
        return {
            "target_tokens": "fit" if self.fit else self.target_tokens,
            "overlap_tokens": self.overlap_tokens,
            "encoding": self.encoding,
            "splitter": self.splitter if named else digest(self.splitter),
        }


def chunking_of(settings: Settings, models: Sequence[Model]) -> Chunking:
    """The chunking that settings and models call for.

    Target "auto": what the smallest window holds beside its answer, at most 6,000 tokens; "fit": all that it holds
    beside an answer of half the length, 6,000 where no window is known. The default overlap is a quarter of the target
    at most.
    """
    target = settings.target_tokens
    fit = target == "fit"
    rooms = [_room_beside_answer(m.context_window, m.max_output) for m in models if m.context_window is not None]
    room = min(rooms, default=AUTO_TARGET)
    if fit:
        target = room
    elif target == "auto":
        windows = [model.context_window for model in models if model.context_window is not None]
        target = min([AUTO_TARGET, *map(_room, windows)])
    assert target is None or isinstance(target, int)
    overlap = settings.overlap_tokens
    if overlap is None:
        overlap = DEFAULT_OVERLAP if target is None else min(DEFAULT_OVERLAP, target // 4)
    askable = tuple(models) if settings.target_tokens in ("auto", "fit") else ()
    return Chunking(target, overlap, settings.encoding, settings.splitter, askable, fit, room)


def stored_chunking(job: JobRecord) -> Chunking | None:
    """How a job of the log was cut. None: by a function of the caller's, or its record cannot be read."""
    from mrengine.chunking.detect import check

    fields = job.chunking
    target, splitter = fields.get("target_tokens"), fields.get("splitter")
    cut = job.settings.get("cut_tokens", target)
    try:
        check(splitter)  # type: ignore[arg-type]
        overlap = int(fields["overlap_tokens"])
        limit = None if cut is None else int(cut)
    except (ChunkingError, KeyError, TypeError, ValueError):
        return None
    if limit is not None and cut != target:  # a server's window made it smaller, and the overlap with it
        overlap = min(overlap, limit // 4)
    room = job.settings.get("room_tokens")
    return Chunking(
        limit,
        overlap,
        str(fields.get("encoding")),
        splitter,
        fit=target == "fit",
        room_tokens=room if isinstance(room, int) else AUTO_TARGET,
    )


def _room(window: int) -> int:
    """Tokens of a chunk that a window has room for."""
    # Other tokenizers count up to a third more than ours.
    return max(64, int((window - ANSWER_ROOM) / 1.3))


def _room_beside_answer(window: int, max_output: int | None = None) -> int:
    """Tokens of a chunk beside an answer of half its length, or of the longest that the model gives, if shorter."""
    left = window - PROMPT_ROOM
    rooms = [left / 1.8] if max_output is None else [left / 1.8, (left - max_output) / 1.3]
    return max(64, int(max(rooms)))
