"""Owns how many tokens are reserved for a call, before anybody has counted them: estimates, and what they teach."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["FIRST_RATIO", "Ratios", "estimate_tokens", "upper_bound"]

# Other tokenizers than ours give more tokens for the same text; a prompt of 681 by o200k was 1,018 by its server.
FIRST_RATIO = 1.3
BYTES_A_TOKEN = 4  # of instructions in plain language
BYTES_A_TOKEN_UNSEEN = 3  # of a text of which nothing is known
FRAME_TOKENS = 16  # what a provider adds around each message: roles and separators
LEARN = 0.2  # the weight of the newest answer


def _bytes(text: str | None) -> int:
    return len(text.encode("utf-8", "surrogatepass")) if text else 0


def estimate_tokens(
    prompt: str, chunk_text: str | None = None, chunk_tokens: int | None = None, system: str | None = None
) -> int:
    """Tokens of a prompt by our own count, without a tokenizer: workers have none.

    A chunk's tokens were counted when it was cut; where the prompt contains its text, only the rest is estimated.
    """
    size = _bytes(prompt) + _bytes(system)
    if chunk_text and chunk_tokens is not None and chunk_text in prompt:
        rest = max(0, size - _bytes(chunk_text))
        return chunk_tokens + -(-rest // BYTES_A_TOKEN)
    return -(-size // BYTES_A_TOKEN_UNSEEN)


def upper_bound(prompt: str, system: str | None = None, *, extra_bytes: int = 0) -> int:
    """Input tokens that no tokenizer exceeds: one a UTF-8 byte, and the frame of two messages."""
    return _bytes(prompt) + _bytes(system) + extra_bytes + 2 * FRAME_TOKENS


class Ratios:
    """The provider's count of input tokens over ours, for each model, learned from the usage in its answers.

    ``exact``: models whose tokenizer is the one we count with; they start at 1. What is reserved is the mean plus the
    mean deviation, so that most calls are covered; the rest is settled by what was really used.
    """

    def __init__(self, exact: Collection[str] = ()) -> None:
        self._exact = frozenset(exact)
        self._learned: dict[str, tuple[float, float]] = {}

    def ratio(self, model: str) -> float:
        """The factor by which our count is raised."""
        if model in self._learned:
            return sum(self._learned[model])
        return 1.0 if model in self._exact else FIRST_RATIO

    def reserve(self, model: str, counted: int) -> int:
        """Input tokens to reserve, rounded up."""
        return -int(-counted * self.ratio(model) // 1)

    def learn(self, model: str, counted: int, used: int) -> None:
        """An answer's usage. Nothing is learned from answers that cost nothing."""
        if counted <= 0 or used <= 0:
            return
        sample = used / counted
        mean, deviation = self._learned.get(model, (sample, 0.0))
        deviation += LEARN * (abs(sample - mean) - deviation)
        self._learned[model] = (mean + LEARN * (sample - mean), deviation)
