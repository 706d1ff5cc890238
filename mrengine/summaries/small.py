"""The prompts of the embedded model of 135 million parameters: short, about prose alone."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from mrengine.providers.local import plain_prose
from mrengine.records import fence
from mrengine.reducers.tree import TreeReduce

__all__ = ["SmallPrompt", "small_functions"]

FAN_IN = 24  # so that one level is mostly enough: over its own summaries of summaries the model falls into loops


def small_functions(query: str | None) -> tuple[SmallPrompt, TreeReduce]:
    """The map and the reduce function."""
    about = f" about {' '.join(query.split())}" if query else ""  # not fenced: the model would take it for the text
    one = SmallPrompt(f"Summarize the following text{about} in one sentence.", 80, prose_only=True)
    all_ = SmallPrompt(f"Summarize the following text{about} in one paragraph.", 120)
    return one, TreeReduce(all_, fan_in=FAN_IN)


@dataclass(frozen=True, slots=True)
class SmallPrompt:
    """A map function by the embedded model. It shows the model prose alone, and keeps whole sentences of the answer."""

    instruction: str
    max_tokens: int
    prose_only: bool = False

    def __call__(self, chunk: Any, context: Any) -> str | None:
        """One answer; None for a chunk without prose."""
        text = plain_prose.prose(chunk.text) if self.prose_only else chunk.text
        if not text.strip():
            return None
        completion = context.complete(
            f"{self.instruction}\n\n{fence(text)}",
            max_tokens=self.max_tokens,
            temperature=0.0,
            on_truncation="allow",  # the whole sentences before the cut are good
        )
        return plain_prose.sentences(completion.text)

    @property
    def map_version(self) -> str:
        """A digest of the prompt, and the version of the code around it."""
        packed = repr((1, self.instruction, self.max_tokens, self.prose_only)).encode()
        return "small-" + blake2b(packed, digest_size=8).hexdigest()
