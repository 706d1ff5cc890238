"""Edited documents: with the earlier cuts as a guide, only what an edit touched is another chunk."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrengine.chunking.chunker import Chunker
from mrengine.chunking.guide import Guide, OldChunk, guide
from mrengine.records import Chunk

RNG = random.Random(5)
WORDS = ["".join(RNG.choice("abcdeghilmnoprstuü") for _ in range(RNG.randint(2, 9))) for _ in range(2000)]


def prose(size: int, rng: random.Random = RNG) -> str:
    found, length = [], 0
    while length < size:
        sentences = (" ".join(rng.choices(WORDS, k=rng.randint(5, 25))).capitalize() + "." for _ in range(5))
        found.append(" ".join(sentences))
        length += len(found[-1]) + 2
    return "\n\n".join(found)


def rows(chunks: Sequence[Chunk], text: str) -> list[OldChunk]:
    def at(offset: int) -> int:
        return len(text[:offset].encode("utf-8", "surrogatepass"))

    return [
        OldChunk(
            at(one.start - one.overlap),
            at(one.start),
            at(one.end),
            blake2b(one.text.encode("utf-8", "surrogatepass"), digest_size=16).digest(),
        )
        for one in chunks
    ]


def rows_of(chunks: Sequence[Chunk], text: str) -> list[OldChunk]:
    """The same for a long text: each byte is counted once."""
    ends, known = {0: 0}, 0
    offsets = sorted({at for one in chunks for at in (one.start - one.overlap, one.start, one.end)})
    for before, at in zip([0, *offsets], offsets, strict=False):
        known += len(text[before:at].encode("utf-8", "surrogatepass"))
        ends[at] = known
    return [
        OldChunk(
            ends[one.start - one.overlap],
            ends[one.start],
            ends[one.end],
            blake2b(one.text.encode("utf-8", "surrogatepass"), digest_size=16).digest(),
        )
        for one in chunks
    ]


def of(chunker: Chunker, old: str, new: str) -> tuple[list[Chunk], list[Chunk], Guide]:
    before = list(chunker.chunk(old))
    encoded = [text.encode("utf-8", "surrogatepass") for text in (old, new)]
    found = guide(*encoded, rows(before, old))
    return before, list(chunker.chunk(new, guide=found)), found


def promises(chunks: Sequence[Chunk], text: str, target: int) -> None:
    assert "".join(one.text[one.overlap :] for one in chunks) == text
    assert all(one.tokens <= target for one in chunks)
    assert all(text[one.start - one.overlap : one.end] == one.text for one in chunks)
    assert [one.id for one in chunks] == list(range(len(chunks)))


OLD = prose(250_000)
MOVED = (9, 11), (2, 5), (0, 2), (5, 9), (11, 16)  # of 100,000 characters each
NEW: dict[str, tuple[int, str]] = {
    "an insertion": (1, OLD[:83_333] + prose(14_000) + OLD[83_333:]),
    "a deletion": (1, OLD[:120_000] + OLD[125_000:]),
    "a changed beginning": (1, "Another title, and a word on it.\n\n" + OLD),
    "another beginning": (1, prose(3_000) + OLD[3_000:]),
    "a changed end": (1, OLD[:-2_000] + prose(300)),
    "a word": (1, OLD[:101_000] + "word " + OLD[101_000:]),
    "six edits": (6, "and so on, ".join(OLD[n * 40_000 : (n + 1) * 40_000] for n in range(7))),
    "a moved block": (3, OLD[60_000:180_000] + OLD[:60_000] + OLD[180_000:]),
    "a copied block": (2, OLD + OLD[50_000:150_000]),
}


@pytest.mark.parametrize("target", [512, 2000, 6000])
@pytest.mark.parametrize("name", NEW)
def test_only_what_was_touched_is_another_chunk(target: int, name: str) -> None:
    """At most the changed tokens and two chunks for each edit, at the fill that a free cut has."""
    edits, new = NEW[name]
    chunker = Chunker(target_tokens=target, overlap_tokens=min(350, target // 4))
    before, after, _ = of(chunker, OLD, new)
    promises(after, new, target)
    known = {one.text for one in before}
    asked = sum(one.tokens for one in after if one.text not in known)
    free = list(chunker.chunk(new))
    changed = max(0, sum(one.tokens for one in free) - sum(one.tokens for one in before))
    changed = {"another beginning": 2_000, "a copied block": 0}.get(name, changed)
    overlap = min(350, target // 4)  # that of a third chunk may reach into the edit
    assert asked <= changed + (2 * target + overlap) * edits
    assert len(after) <= len(free) + edits


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("target", [512, 2000, 6000])
def test_a_text_of_megabytes_is_asked_again_where_it_was_touched(target: int) -> None:
    """The same bound for a text of 1.5 MB: 28 kB inserted, 5 kB deleted, many edits, moved blocks."""
    old, rng = prose(1_500_000, random.Random(2)), random.Random(3)
    many = sorted(rng.sample(range(10_000, 1_490_000), 25))
    pieces = [old[a:b] for a, b in zip([0, *many], [*many, len(old)], strict=True)]
    edited: dict[str, tuple[int, str]] = {
        "28 kB inserted": (1, old[:700_001] + prose(28_000, rng) + old[700_001:]),
        "5 kB deleted": (1, old[:600_000] + old[605_000:]),
        "25 edits": (25, " and so on ".join(pieces)),
        "two blocks moved": (6, "".join(old[a * 100_000 : b * 100_000] for a, b in MOVED)),
        "another beginning": (1, prose(3_000, rng) + old[3_000:]),
    }
    chunker, overlap = Chunker(target_tokens=target, overlap_tokens=min(350, target // 4)), min(350, target // 4)
    before = list(chunker.chunk(old))
    known, tokens = {one.text for one in before}, sum(one.tokens for one in before)
    told = rows_of(before, old)
    for name, (edits, new) in edited.items():
        after = list(chunker.chunk(new, guide=guide(old.encode(), new.encode(), told)))
        promises(after, new, target)
        free = list(chunker.chunk(new))
        changed = max(0, sum(one.tokens for one in free) - tokens) if name != "another beginning" else 2_000
        asked = sum(one.tokens for one in after if one.text not in known)
        was = sum(one.tokens for one in free if one.text not in known)
        print(f"target {target}, {name}: {was} -> {asked}; {len(free)} -> {len(after)} chunks; changed {changed}")
        assert asked <= changed + (2 * target + overlap) * edits
        assert len(after) <= len(free) * 1.01 + edits


def test_the_same_text_is_cut_as_it_was() -> None:
    """And a text that has nothing in common, as without a guide."""
    chunker = Chunker(target_tokens=512, overlap_tokens=100)
    before, after, found = of(chunker, OLD[:60_000], OLD[:60_000])
    assert [one.text for one in before] == [one.text for one in after]
    assert len(found.kept) == len(before)
    other = prose(30_000, random.Random(9))
    assert [one.text for one in of(chunker, OLD[:60_000], other)[1]] == [one.text for one in chunker.chunk(other)]


@pytest.mark.parametrize("kind", ["json", "log", "markdown", "repeated"])
def test_whole_objects_stay_whole(kind: str) -> None:
    """Records, lines and sections of all kinds; and a text in which every line is the same."""
    rng = random.Random(3)
    entries = {
        "json": [json.dumps({"id": n, "text": " ".join(rng.choices(WORDS, k=30))}) + "\n" for n in range(400)],
        "log": [f"2026-11-27T10:{n % 60:02} INFO {' '.join(rng.choices(WORDS, k=12))}\n" for n in range(900)],
        "markdown": [f"## Part {n}\n\n{prose(900, rng)}\n\n" for n in range(80)],
        "repeated": ["the same line as ever\n"] * 4000,
    }[kind]
    old, new = "".join(entries), "".join([*entries[:40], *entries[45:70], entries[3], *entries[70:]])
    chunker = Chunker(target_tokens=600, overlap_tokens=0)
    _, after, _ = of(chunker, old, new)
    promises(after, new, 600)
    if kind in ("json", "log"):
        assert all(one.text.endswith("\n") for one in after)
    free = list(chunker.chunk(new))
    assert len(after) <= len(free) + 3


def chinese(rng: random.Random) -> list[str]:
    han = [chr(code) for code in range(0x4E00, 0x4E00 + 1500)]
    return ["".join(rng.choices(han, k=rng.randint(20, 120))) + "\u3002\n\n" for _ in range(400)]


def python(rng: random.Random) -> list[str]:
    return [f"def {rng.choice(WORDS)}_{n}(a):\n" + f"    a += {n}\n" * 12 + "    return a\n\n\n" for n in range(400)]


def table(rng: random.Random) -> list[str]:
    return [f'{n},{rng.choice(WORDS)},"{" ".join(rng.choices(WORDS, k=15))}",{rng.random():.4f}\n' for n in range(1000)]


@pytest.mark.parametrize("kind", [chinese, python, table])
@pytest.mark.parametrize("target", [512, 2000])
def test_other_kinds_of_text_are_asked_again_where_they_were_touched(kind: Any, target: int) -> None:
    """Entries inserted and removed, and a changed beginning. What was inserted is cut with its overlaps."""
    rng, overlap = random.Random(8), min(350, target // 4)
    entries = kind(rng)
    third = len(entries) // 3
    extra = kind(random.Random(9))[:20]
    new = [*entries[:third], *extra, *entries[third : 2 * third], *entries[2 * third + 10 :]]
    edited = {"inside": (2, "".join(new), extra), "beginning": (1, "".join([*extra, *entries[5:]]), extra)}
    chunker = Chunker(target_tokens=target, overlap_tokens=overlap)
    for edits, text, put in edited.values():
        before, after, _ = of(chunker, "".join(entries), text)
        promises(after, text, target)
        known = {one.text for one in before}
        changed = sum(one.tokens for one in Chunker(target_tokens=6000, overlap_tokens=0).chunk("".join(put)))
        asked = sum(one.tokens for one in after if one.text not in known)
        assert asked <= changed * target / (target - overlap) + (2 * target + overlap) * edits
        assert len(after) <= len(list(chunker.chunk(text))) + edits


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_is_edited_the_promises_hold(data: Any) -> None:
    """Limit and tiling, for any edits of any text; surrogates and characters of four bytes, too."""
    old = "".join(data.draw(st.lists(st.sampled_from(["ä ", "word ", "🙂", "\ud800", "\n", "end.\n\n"]), max_size=300)))
    new = old
    for _ in range(data.draw(st.integers(0, 4))):
        low = data.draw(st.integers(0, len(new)))
        high = data.draw(st.integers(low, len(new)))
        new = new[:low] + data.draw(st.sampled_from(["", "x", "🙂🙂", "some words. "])) + new[high:]
    chunker = Chunker(target_tokens=30, overlap_tokens=5)
    promises(of(chunker, old, new)[1], new, 30)
