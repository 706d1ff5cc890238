"""The map function of a cited summary: a model names claims with quotes, and code looks each quote up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrengine.errors import InvalidAnswer, TruncatedAnswer
from mrengine.prompt_template import PromptMap
from mrengine.providers.call.structured import in_words
from mrengine.summaries.evidence import differs_from_quote
from mrengine.summaries.quotes import QuoteFinder, page_of

__all__ = ["CLAIMS", "ClaimMap"]

_BRACE = re.compile(r"\{(?=\s*\")")
_VERSION = 2  # of the code that treats answers; raised, it makes stored results of this map function invalid
_MOST = 200  # claims of one chunk; a model that writes more is in a loop
_WIDEST = 4_000  # characters of one claim, or of one quote
_TEXT = {"type": "string", "description": "One statement that the text makes, in one sentence."}
_QUOTE = {
    "type": "string",
    "description": "The passage that the statement rests on, copied from the text character by character.",
}
CLAIMS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "claims": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": _TEXT, "quote": _QUOTE},
                "required": ["text", "quote"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["claims"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class ClaimMap:
    """``{"claims": [{text, quote, start, end, page, verified}, …]}`` for a chunk; offsets are those of the document."""

    prompt: PromptMap

    def __call__(self, chunk: Any, context: Any) -> dict[str, Any]:
        """Ask the model, and look its quotes up."""
        finder = QuoteFinder(chunk.text)
        claims: dict[tuple[Any, ...], dict[str, Any]] = {}
        for answer in self._answers(chunk, context)["claims"][:_MOST]:
            claim = _checked(answer["text"][:_WIDEST], answer["quote"][:_WIDEST], finder, chunk)
            if claim["text"]:
                claims.setdefault((claim["text"], claim["quote"], claim["start"]), claim)
        return {"claims": list(claims.values())}

    def _answers(self, chunk: Any, context: Any) -> Any:
        """The model's claims; of a list that does not end, however often it is continued, the complete ones."""
        try:
            return self.prompt(chunk, context)
        except (TruncatedAnswer, InvalidAnswer):
            # Without the provider's own schema the answer may end anywhere, and be taken as far as it goes.
            plain = context.complete(
                self.prompt.fill(chunk.fenced) + in_words(CLAIMS),
                system=self.prompt.system,
                max_tokens=self.prompt.answer_tokens(chunk.tokens),
                on_truncation="allow",
            )
            return {"claims": _whole_ones(plain.text)}

    @property
    def map_version(self) -> str:
        """The prompt's version, and that of the code that treats its answers."""
        return f"claims-{_VERSION}-{self.prompt.map_version}"

    @property
    def preloads(self) -> tuple[str, ...]:
        """See PromptMap."""
        return self.prompt.preloads


def _whole_ones(text: str) -> list[dict[str, str]]:
    """The complete claims of a list that was cut off."""
    claims: list[dict[str, str]] = []
    decode = json.JSONDecoder().raw_decode
    for brace in _BRACE.finditer(text):
        try:
            value, _ = decode(text, brace.start())
        except (ValueError, RecursionError):
            continue  # the last one, which was cut off, or no claim
        if isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("text", "quote")):
            claims.append({"text": value["text"], "quote": value["quote"]})
    return claims


def _checked(text: str, quote: str, finder: QuoteFinder, chunk: Any) -> dict[str, Any]:
    """A claim with its quote looked up. If its text says more than the quote, as far as code can tell, the quote
    replaces it.
    """
    text = " ".join(text.split())
    # Of several places one in the chunk's own part is better: its overlap is the part of the chunk before.
    place = finder.find(quote, prefer_from=chunk.overlap)
    if place is None:
        return {"text": text, "quote": quote, "start": None, "end": None, "page": None, "verified": False}
    start, end = place
    quote = chunk.text[start:end]
    if not text or differs_from_quote(text, quote, chunk.text):
        text = " ".join(quote.split())
    base = chunk.start - chunk.overlap
    page = page_of(chunk, base + start)
    return {"text": text, "quote": quote, "start": base + start, "end": base + end, "page": page, "verified": True}
