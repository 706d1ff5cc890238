"""Token counts add up over every cut that the rule calls safe."""

from __future__ import annotations

import random
import sys

import pytest
import regex

from mrengine.chunking.tokens import tokenizer
from mrengine.chunking.tokens.safe_cuts import safe_cuts
from tests.chunking.texts import PIECES

# Characters of every class that the encodings' expressions tell apart, more of those that the rule looks at.
_CLASSES = (
    "aZéßǅʰªªא中。、「あアー한1٣½²!'\"-/\\,.{[(<_~`+$€…“” \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2003\u2028\u3000\u0301\u200d"
    "😀\0\ufeff"
)


def _random_text(chance: random.Random) -> str:
    kinds = (
        lambda: chance.choice(PIECES),
        lambda: chance.choice(_CLASSES) * chance.choice((1, 1, 1, 2, 3)),
        lambda: chr(chance.choice((chance.randrange(0x80), chance.randrange(0x3000), chance.randrange(0x110000)))),
    )
    text = "".join(chance.choices(kinds, (2, 5, 1))[0]() for _ in range(chance.randrange(2, 24)))
    return "".join(char for char in text if not "\ud800" <= char < "\ue000")


def _disagreements(split: object, encoding: str, cuts_wanted: int, seed: int) -> list[tuple[str, int]]:
    """Cuts of random texts at which ``split(left) + split(right) != split(left + right)``."""
    chance, cuts, tried, wrong = random.Random(seed), safe_cuts(encoding), 0, []
    while tried < cuts_wanted:
        text = _random_text(chance)
        for begin in range(len(text)):
            cut = cuts.first(text, begin, len(text)) if chance.random() < 0.5 else cuts.last(text, begin, len(text))
            if cut is not None and 0 < cut < len(text):
                tried += 1
                if split(text[:cut]) + split(text[cut:]) != split(text):  # type: ignore[operator]
                    wrong.append((text, cut))
    return wrong


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_token_lists_add_up_at_safe_cuts(encoding: str) -> None:
    """Fuzzed: not one cut where the two sides encode to other tokens than the whole."""
    encode = tokenizer.load(encoding).encode_ordinary
    assert _disagreements(encode, encoding, 20_000, seed=random.randrange(10**9)) == []


def test_the_older_encodings_split_at_their_safe_cuts() -> None:
    """Their vocabularies are not at hand, but their expression is: pieces must end at the cuts."""
    from tiktoken_ext.openai_public import r50k_pat_str

    assert _disagreements(regex.compile(r50k_pat_str).findall, "r50k_base", 20_000, seed=random.randrange(10**9)) == []


def test_a_cut_in_a_run_of_blanks_is_judged_by_what_the_left_side_holds() -> None:
    """cl100k takes blanks at the end of a text as one piece: the newline before them is no safe cut for that side."""
    text = "end\n   next"
    assert safe_cuts("cl100k_base").last(text, 0, 4) == 4
    assert safe_cuts("cl100k_base").last(text, 1, 6) is None


def test_the_last_cut_is_found_however_far_back_it_lies() -> None:
    """Growing windows miss nothing."""
    cuts = safe_cuts("o200k_base")
    text = "a b" + "x" * 5000 + "y"
    assert cuts.last(text, 0, len(text)) == 1
    assert cuts.first(text, 2, len(text)) is None


if __name__ == "__main__":  # a long run: python -m tests.chunking.tokens.test_safe_cuts 1000000
    for name in ("o200k_base", "cl100k_base"):
        print(name, _disagreements(tokenizer.load(name).encode_ordinary, name, int(sys.argv[1]), seed=1)[:5])
