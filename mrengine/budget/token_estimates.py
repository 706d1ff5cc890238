"""Owns how many tokens are reserved for a call, before anybody has counted them: estimates, and what they teach."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["FIRST_RATIO", "TokenEstimator", "estimate_tokens", "upper_bound"]

# Other tokenizers than ours give more tokens for the same text; a prompt of 681 by o200k was 1,018 by its server.
FIRST_RATIO = 1.3
BYTES_A_TOKEN = 4  # of instructions in plain language
BYTES_A_TOKEN_UNSEEN = 3  # of a text of which nothing is known
FRAME_TOKENS = 16  # what a provider adds around each message: roles and separators
LEARN = 0.2  # the weight of the newest answer
FORGET = 0.05  # how fast a long answer is forgotten
SMALL = 32  # a max_tokens this many times smaller than the input is not worth finding out how the provider counts it
ENOUGH = 8  # answers, before less than max_tokens is reserved


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


class TokenEstimator:
    """The provider's count of input tokens over ours, for each model, learned from the usage in its answers.

    ``exact``: models whose tokenizer is the one we count with; they start at 1. What is reserved is the mean plus the
    mean deviation, so that most calls are covered; the rest is settled by what was really used.

    For the output ``max_tokens`` is reserved, until enough answers have shown how long they get: a call that reserves
    1,024 tokens and uses 20 waits for a second at 60,000 a minute, and keeps others waiting while it runs. A provider
    that turns a call away although the bucket had enough counts otherwise: for its model ``max_tokens`` is reserved
    from then on (``strict``). If it does so again, it gives nothing back, either (``keeps``).
    """

    def __init__(self, exact: Collection[str] = ()) -> None:
        self._exact = frozenset(exact)
        self._learned: dict[str, tuple[float, float]] = {}
        self._outputs: dict[tuple[str, int], tuple[int, float]] = {}
        self._strict: dict[str, bool] = {}  # models whose provider counts max_tokens: whether it keeps it, too

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

    def reserve_output(self, model: str, given: int, max_tokens: int) -> int:
        """Output tokens to reserve beside ``given`` input tokens.

        ``max_tokens``, or a little more than the longest of the latest answers.
        """
        answers, longest = self._outputs.get((model, max_tokens), (0, 0.0))
        if answers < ENOUGH or self.strict(model, given, max_tokens):
            return max_tokens
        return min(max_tokens, int(longest * 1.1) + 8)

    def learn_output(self, model: str, max_tokens: int, used: int) -> None:
        """The length of an answer of at most ``max_tokens``. Longer ones count at once, shorter ones slowly."""
        answers, longest = self._outputs.get((model, max_tokens), (0, 0.0))
        longest = used if used >= longest else longest + FORGET * (used - longest)
        self._outputs[model, max_tokens] = (answers + 1, longest)

    def be_strict(self, model: str, *, keeps: bool = False) -> None:
        """The provider counts ``max_tokens``; ``keeps``: and gives nothing of it back."""
        self._strict[model] = keeps or self._strict.get(model, False)

    def strict(self, model: str, given: float, max_tokens: float) -> bool:
        """Whether all of ``max_tokens`` is reserved: it is little, or the model's provider counts it."""
        return max_tokens * SMALL <= given or model in self._strict

    def keeps(self, model: str, given: float, max_tokens: float) -> bool:
        """Whether nothing of it comes back."""
        return max_tokens * SMALL <= given or self._strict.get(model, False)
