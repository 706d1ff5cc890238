"""Decides how much of a provider's prose may be shown: nothing that repeats the request, and no key.

A message is taken apart into words. A word that also stands in the request is replaced, unless every refusal may have
it. So are its neighbours, with the same exception, because providers cut and mask what they repeat.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import pairwise

__all__ = ["LONGEST", "shown", "unechoed"]

LONGEST = 240  # characters: the line of an error holds more than this
HOLE = "…"
_TOKEN = re.compile(r"[^\W_]+|[\W_]", re.UNICODE)
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[nrtbf\"'\\/])")
_KEY = re.compile(
    r"(?:Bearer\s+|Basic\s+)\S+"
    r"|\b(?:sk|pk|gsk|key|xai|hf|r8|pplx|csk|tgp|nvapi|org|proj|AIza|ya29|AKIA|ASIA|eyJ|ghp|glpat)[-_.A-Za-z0-9]*[-_.A-Za-z0-9*•…]{6,}"
    r"|\S*(?:\*{2,}|•{2,})\S*"
    r"|\b(?=[A-Za-z0-9_]*\d)(?=[A-Za-z0-9_]*[A-Za-z])[A-Za-z0-9_]{24,}\b",
)
_KEY_TOLD = re.compile(r"((?:key|token)(?: (?:was|is|provided|given|supplied))*:\s*)(\S+)", re.IGNORECASE)
_SECRET = 6  # a word of so many characters that stands in a key is a part of it
_ECHO = 4  # so many words in a row that also stand in the request are a repetition

# The words that refusals are made of: they reveal nothing of a text, even if it has them too.
_HARMLESS = """
    a an and are as at be been but by can cannot could did do does doesn't don't for from had has have however if in
    into is isn't it its may more most must no not of on only or please should so such than that the their them then
    there these they this those to too try up upon use used using was we were what when where which while will with
    within without would you your again also all any because before after about above below between both each either
    abort aborted access account action active add address algorithm allowed allow already an answer api append apply
    argument array assistant attempt attention audio auth authentication authorization available bad balance base bad
    batch beta billing blocked body bool boolean budget bytes call cancelled capacity chars characters chat check choice
    choose client code collection completion completions concurrent config configuration connection contact contains
    content contents context control conversation cost count country create credentials credit credits current currently
    daily data day days decode default define defined delete deployment deprecated detail details developer different
    disabled document documentation documents double due duplicate each email empty enable enabled end endpoint engine
    enough ensure enum error errors exceed exceeded exceeding exceeds exist exists expected expired extra failed failure
    fetch field fields file files filter filtered filtering finish first float following forbidden format found free
    function generate generated generation got greater guidelines has header headers help here hour hours http https id
    image images inappropriate include incorrect index info input inputs insufficient int integer internal invalid issue
    issues item json keep key keys kind language large larger last later latest length less level limit limited limits
    line list load loaded loading long longer lower make management manage many mapping max maximum memory message
    messages method min minimum minute minutes missing mode model models moderation modify month more name names need
    network new next none null number object objects off one operation option optional options organization output over
    overloaded page parameter parameters parse part parts pass path payment permission permitted plan policies policy
    position possible present processing project prompt prompts properties property provide provided provider purchase
    quota range rate read reached reason received reduce refused region register rejected related remove request
    requested requests required requires reset resource response responses restricted result resulted retry role roles
    run safety schema second seconds section see select send sensitive sent server service session set settings short
    shorter should size small smaller some something source specified specify spending start state status stop stream
    streaming string structured subscription support supported supports system tag temperature text tier time timeout
    times token tokens too tool tools top total triggering true false truncated type types unable unavailable undefined
    unexpected unit unknown unsupported update upgrade usage user users valid validate validation value values version
    via view violates violation visit wait want window wrong year yet zero you've your"""
_COMMON = frozenset(_HARMLESS.split())


def shown(message: str, texts: Iterable[str], hidden: Collection[str]) -> str:
    """A provider's message as an error may show it. ``texts``: the request's; ``hidden``: values of its headers."""
    message = _unescaped(message)[:2000]
    message = _KEY.sub(HOLE, _KEY_TOLD.sub(lambda m: m[1] + HOLE, message))
    secrets = {word for text in hidden for word in text.split()}
    requested = _words_of(texts)
    tokens = _TOKEN.findall(message)
    bad = [_reveals(token, requested, secrets) for token in tokens]
    _spread(tokens, bad)
    kept = "".join(HOLE if hide else token for token, hide in zip(tokens, bad, strict=True))
    kept = re.sub(rf"{HOLE}(?:[\s\W_]*{HOLE})+", HOLE, kept)
    kept = " ".join(kept.split()).strip(" .:")
    return kept if len(kept) <= LONGEST else kept[: LONGEST - 1].rstrip() + HOLE


def unechoed(message: str, texts: Iterable[str]) -> str:
    """A message without its longer repetitions of the request: what is left are the provider's own words."""
    words = re.findall(r"\S+", _unescaped(message))
    if len(words) < _ECHO:
        return message
    joined = " ".join(" ".join(text.split()).casefold() for text in texts)
    echo = [False] * len(words)
    for at in range(len(words) - _ECHO + 1):
        if " ".join(words[at : at + _ECHO]).casefold().strip("\"'`“”.,:;…") in joined:
            echo[at : at + _ECHO] = [True] * _ECHO
    return " ".join(word for word, hide in zip(words, echo, strict=True) if not hide)


def _unescaped(message: str) -> str:
    def character(match: re.Match[str]) -> str:
        escape = match[0]
        if escape[1] == "u":
            return chr(int(escape[2:], 16))  # noqa: FURB166  # no prefix that int knows
        return " " if escape[1] in "nrtbf" else escape[1]

    return _ESCAPE.sub(character, message)


def _words_of(texts: Iterable[str]) -> set[str]:
    words: set[str] = set()
    for text in texts:
        for word in re.findall(r"[^\W_]+", text):
            words.add(word.casefold())
            if not word.isascii():  # some scripts have no spaces between words: their pairs of characters count
                words.update(word[at : at + 2] for at in range(len(word) - 1))
    return words


def _reveals(token: str, requested: set[str], secrets: set[str]) -> bool:
    word = token.casefold()
    if len(token) >= _SECRET and any(token in secret for secret in secrets):
        return True
    if word in _COMMON:
        return False
    if not token.isascii():
        return word in requested or any(token[at : at + 2] in requested for at in range(len(token) - 1))
    return word in requested and (not token.isdigit() or len(token) >= 3)


def _spread(tokens: list[str], bad: list[bool]) -> None:
    """Mark the neighbours of a repeated word as repeated, too, unless every refusal may have them."""
    words = [at for at, token in enumerate(tokens) if token[0].isalnum()]
    for order in (words, words[::-1]):
        for before, at in pairwise(order):
            if bad[before] and not bad[at] and tokens[at].casefold() not in _COMMON and not tokens[at].isdigit():
                bad[at] = True
