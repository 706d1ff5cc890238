"""Estimates of how many tokens to reserve for a call, corrected by the usage that providers report."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["FIRST_RATIO", "TokenEstimator", "estimate_tokens", "upper_bound"]

# Other tokenizers count more tokens for the same text: a prompt of 681 o200k tokens was 1,018 to its server.
FIRST_RATIO = 1.3
BYTES_A_TOKEN = 4  # for instructions in plain language
BYTES_A_TOKEN_UNSEEN = 3  # for text we know nothing about
FRAME_TOKENS = 16  # what a provider adds around each message: roles and separators
LEARN = 0.2  # the weight of the newest answer in the moving average
FORGET = 0.05  # how fast the maximum decays after a long answer
# If max_tokens is this many times smaller than the input, all of it is reserved: it costs next to nothing.
SMALL = 32
ENOUGH = 8  # answers needed before less than max_tokens is reserved


def _bytes(text: str | None) -> int:
    return len(text.encode("utf-8", "surrogatepass")) if text else 0


def estimate_tokens(
    prompt: str, chunk_text: str | None = None, chunk_tokens: int | None = None, system: str | None = None
) -> int:
    """Estimate the tokens of a prompt without a tokenizer, which workers do not load.

    A chunk's tokens were counted when it was cut, so where the prompt contains its text only the rest is estimated.
    """
    size = _bytes(prompt) + _bytes(system)
    if chunk_text and chunk_tokens is not None and chunk_text in prompt:
        rest = max(0, size - _bytes(chunk_text))
        return chunk_tokens + -(-rest // BYTES_A_TOKEN)
    return -(-size // BYTES_A_TOKEN_UNSEEN)


def upper_bound(prompt: str, system: str | None = None, *, extra_bytes: int = 0) -> int:
    """An upper bound of input tokens for any tokenizer: one per UTF-8 byte, plus the framing of two messages."""
    return _bytes(prompt) + _bytes(system) + extra_bytes + 2 * FRAME_TOKENS


class TokenEstimator:
    """Learns, for each model, how the provider's token counts relate to ours.

    Input: the ratio of the provider's count to ours, a moving mean plus the mean deviation, so that most calls are
    covered; settlement corrects the rest. ``exact``: models that use the tokenizer we count with; they start at 1.

    Output: ``max_tokens`` is reserved until enough answers have shown how long they get. A provider that refuses a call
    although the bucket had enough evidently counts ``max_tokens``: from then on all of it is reserved for that model
    (``strict``). If that happens again, the provider does not return the unused part either (``keeps``).
    """

    # Why not always all of max_tokens: a call that reserves 1,024 tokens and uses 20 would wait a second at 60,000 a
    # minute, and make others wait while it runs.

    def __init__(self, exact: Collection[str] = ()) -> None:
        self._exact = frozenset(exact)
        self._learned: dict[str, tuple[float, float]] = {}
        self._outputs: dict[tuple[str, int], tuple[int, float]] = {}
        self._strict: dict[str, bool] = {}  # models whose provider counts max_tokens → whether it keeps the unused part

    def ratio(self, model: str) -> float:
        """The factor by which our count is raised."""
        if model in self._learned:
            return sum(self._learned[model])
        return 1.0 if model in self._exact else FIRST_RATIO

    def reserve(self, model: str, counted: int) -> int:
        """Input tokens to reserve, rounded up."""
        return -int(-counted * self.ratio(model) // 1)

    def learn(self, model: str, counted: int, used: int) -> None:
        """Take in the usage of an answer. Answers without usage teach nothing."""
        if counted <= 0 or used <= 0:
            return
        sample = used / counted
        mean, deviation = self._learned.get(model, (sample, 0.0))
        deviation += LEARN * (abs(sample - mean) - deviation)
        self._learned[model] = (mean + LEARN * (sample - mean), deviation)

    def reserve_output(self, model: str, input_tokens: int, max_tokens: int) -> int:
        """Output tokens to reserve: ``max_tokens``, or a little more than the longest of the latest answers."""
        answers, longest = self._outputs.get((model, max_tokens), (0, 0.0))
        if answers < ENOUGH or self.strict(model, input_tokens, max_tokens):
            return max_tokens
        return min(max_tokens, int(longest * 1.1) + 8)

    def learn_output(self, model: str, max_tokens: int, used: int) -> None:
        """Take in the length of an answer. The maximum follows longer answers at once and shorter ones slowly."""
        answers, longest = self._outputs.get((model, max_tokens), (0, 0.0))
        longest = used if used >= longest else longest + FORGET * (used - longest)
        self._outputs[model, max_tokens] = (answers + 1, longest)

    def be_strict(self, model: str, *, keeps: bool = False) -> None:
        """Record that the provider counts all of ``max_tokens``; ``keeps``: and returns no unused part of it."""
        self._strict[model] = keeps or self._strict.get(model, False)

    def strict(self, model: str, input_tokens: float, max_tokens: float) -> bool:
        """Whether all of ``max_tokens`` is reserved: it is small, or the provider counts it."""
        return max_tokens * SMALL <= input_tokens or model in self._strict

    def keeps(self, model: str, input_tokens: float, max_tokens: float) -> bool:
        """Whether the unused part of ``max_tokens`` is charged, too."""
        return max_tokens * SMALL <= input_tokens or self._strict.get(model, False)
