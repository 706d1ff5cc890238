"""What is learned of a document while it is read, beside its text. Owned by whoever reads it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

__all__ = ["Notes"]

log = logging.getLogger("mrengine")


@dataclass(slots=True)
class Notes:
    """``pages``: (number, offset of its first character) of each page, in order. ``warnings``: for the caller."""

    pages: list[tuple[int, int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def log(self) -> None:
        """Say it where nobody else does."""
        for line in self.warnings:
            log.warning("%s", line)
