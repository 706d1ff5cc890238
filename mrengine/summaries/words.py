"""Word lists: words that name nothing, words that negate, and pairs of opposites."""

from __future__ import annotations

import regex

from mrengine.selection import words_of
from mrengine.summaries.quotes import numbers_in

__all__ = [
    "FUNCTION_WORDS",
    "SMALL",
    "content_words",
    "is_negated",
    "negations",
    "opposed",
    "stem",
    "stems",
    "without_negations",
]

_NEGATIONS = (
    "not no never without none neither nor cannot isn't wasn't doesn't didn't denies denied nicht kein keine keinen "
    "keiner ohne nie ne pas sans jamais aucun aucune sin nunca não nao sem non senza mai geen niet не нет без"
)
_NOT = frozenset(_NEGATIONS.split())
_NOT_UNSPACED = regex.compile(r"[不没沒無无非未否]|ない|なし|ません|ไม่")
_SMALL = "a an the of in on at to by for and or is was are were be been has have had it its this that with did does do"
SMALL = frozenset(_SMALL.split())
_OTHERS = (
    "however moreover overall additionally furthermore finally meanwhile therefore thus hence later yet still "
    "according while although though because since when where if so such these those there one other another both "
    "each all some many most several during under over into out about between among against through "
    "jedoch außerdem zudem insgesamt ferner schließlich daher dennoch dabei cependant toutefois enfin ainsi además "
    "sin embargo finalmente "
    "as from but he she they we you i his her their there then than also all not no had do did does will would can may "
    "der die das den dem des ein eine einen einem einer und oder in im am an auf aus bei mit nach von vor zu zum zur "
    "für ist sind war waren wird wurde hat haben es er sie sich als auch nicht dass le la les un une des du de et ou "
    "en dans sur par pour avec est sont était a ont il elle ils ce se que qui au aux el los las una y o del al con por "
    "para es son fue ha han lo su que se i gli di e da che è sono era non per het een van en op met te dat o os as um "
    "uma e do da em no na и в на с по из не что он она они это был была"
)
FUNCTION_WORDS = SMALL | frozenset(_OTHERS.split())
# Pairs of words that cannot both be true of one thing.
_OPPOSITES = (
    "positive negative increased decreased increase decrease rose fell rising falling higher lower high low more fewer "
    "more less gained lost improved worsened normal abnormal benign malignant present absent alive dead "
    "survived died accepted rejected approved rejected approved refused allowed forbidden legal illegal safe unsafe "
    "open closed opened closed won lost passed failed success failure profit loss before after left right upper lower "
    "always never minimum maximum started ended began ended male female man woman hot "
    "cold early late earlier later acute chronic mild severe stable unstable above below buy sell bought "
    "sold import export north south east west positiv negativ gestiegen gesunken stieg sank links rechts vor nach "
    "hoch niedrig höher niedriger gutartig bösartig mehr weniger positif négatif hausse baisse gauche droite avant "
    "après augmenté diminué positivo negativo aumentó disminuyó izquierda derecha antes después"
)
_OPPOSITES_UNSPACED = (
    "阳性 阴性 增加 减少 升高 降低 上升 下降 提高 降低 左侧 右侧 左 右 良性 恶性 男 女 陽性 陰性 増加 減少 上昇 低下"
)


def _pairs(words: str) -> dict[str, set[str]]:
    listed = words.split()
    opposites: dict[str, set[str]] = {word: set() for word in listed}
    for one, other in zip(listed[::2], listed[1::2], strict=True):
        opposites[one].add(other)
        opposites[other].add(one)
    return opposites


_OPPOSITE, _OPPOSITE_UNSPACED = _pairs(_OPPOSITES), _pairs(_OPPOSITES_UNSPACED)
_NUMBER = regex.compile(r"\p{N}+(?:[.,]\p{N}+)*")
_WORD = regex.compile(r"[\p{L}\p{M}']+")
_ENDING = regex.compile(r"(?:ing|ed|es|s|e)$")
_LEAST_STEM = 4
_STEM = 5


def content_words(text: str) -> set[str]:
    """The words of a text that name something: without "the", and without numbers, which are compared apart."""
    plain = _NUMBER.sub(" ", text)
    return {word for word in words_of(plain) if word not in FUNCTION_WORDS and not numbers_in(word)}


def stem(word: str) -> str:
    """An English word without its ending: "accepted" and "accept" become one."""
    return _ENDING.sub("", word) if len(word) > _LEAST_STEM and word.isascii() else word


def stems(text: str) -> set[str]:
    """The beginnings of a text's content words: in most languages words change at their ends."""
    return {word[:_STEM] for word in content_words(text)}


def negations(text: str) -> int:
    """How many words or characters of a text say "not"."""
    lower = text.lower().replace("’", "'")
    return sum(word in _NOT for word in _WORD.findall(lower)) + len(_NOT_UNSPACED.findall(lower))


def is_negated(word: str) -> bool:
    """Whether this word says "not"."""
    return word in _NOT


def without_negations(text: str) -> str:
    """A text without the characters for "not" of scripts without spaces."""
    return _NOT_UNSPACED.sub("", text)


def opposed(text: str, evidence: str) -> bool:
    """Whether a text has a word that its evidence lacks, while the evidence has its opposite."""
    own, theirs = _words(text), _words(evidence)
    if any(word not in theirs and _OPPOSITE[word] & theirs for word in own & _OPPOSITE.keys()):
        return True
    return any(
        one in text and one not in evidence and any(other in evidence and other not in text for other in others)
        for one, others in _OPPOSITE_UNSPACED.items()
    )


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
