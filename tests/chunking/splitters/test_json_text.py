"""JSON is cut between elements, never inside one that fits."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.chunking_nested import BUNDLES
from mrengine.chunking import safe_chunk
from tests.chunking.texts import assert_promises, recount

_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=12),
        st.sampled_from(['"', "\\", '\\"', "{", "]", "a, b"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=5), inner, max_size=5)),
    max_leaves=60,
)


def _spans(text: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """All objects, and all strings, of a JSON text, by reading it character by character."""
    objects, strings, opened, begin, position = [], [], [], -1, 0
    while position < len(text):
        char = text[position]
        if begin >= 0 and char == "\\":
            position += 1
        elif char == '"':
            if begin >= 0:
                strings.append((begin, position + 1))
            begin = position if begin < 0 else -1
        elif begin < 0 and char in "[{":
            opened.append(position)
        elif begin < 0 and char in "]}" and opened:
            if text[opened[-1]] == "{":
                objects.append((opened[-1], position + 1))
            opened.pop()
        position += 1
    return objects, strings


def _torn(text: str, target: int, overlap: int = 0) -> list[str]:
    """Objects and strings that fit into a chunk and were cut all the same."""
    chunks = list(safe_chunk(text, target_tokens=target, overlap_tokens=overlap, splitter="json"))
    assert_promises(text, chunks, target)
    cuts = [chunk.end for chunk in chunks[:-1]]
    objects, strings = _spans(text)
    spans = ((a, b) for a, b in objects + strings if any(a < cut < b for cut in cuts))
    return [text[a:b] for a, b in spans if recount(text[a:b]) <= target]


@settings(max_examples=150, deadline=None)
@given(st.lists(_values, max_size=8), st.sampled_from([None, 1, 2, "\t"]), st.booleans(), st.integers(30, 120))
def test_no_object_and_no_string_that_fits_is_torn(value: Any, indent: Any, ascii_only: bool, target: int) -> None:
    """Pretty-printed and minified, escaped or not, nested as it may be."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, separators=separators)
    assert _torn(text, target) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(_values, min_size=3, max_size=12), st.integers(40, 120), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_records_of_json_lines_that_fit_are_not_torn(records: list[Any], target: int, end: str) -> None:
    """A line is a record; an overlap of whole elements does not tear what fits without it."""
    lines = [json.dumps(record) for record in records]
    text = "".join(line + end for line in lines)
    assert _torn(text, target, overlap=target // 4) == []
    cuts = [chunk.end for chunk in safe_chunk(text, target_tokens=target, overlap_tokens=0, splitter="json")]
    begin = 0
    for line in lines:
        assert recount(line) > target or not any(begin < cut < begin + len(line) for cut in cuts)
        begin += len(line) + len(end)


@pytest.mark.parametrize("indent", [1, 4, "\t"])
def test_an_object_that_fits_without_the_blanks_around_it_is_not_torn(indent: Any) -> None:
    """Where its indentation and what closes behind it are too much; its own last token may be one with a comma's."""
    records = [[[[{"id": number, "note": "word " * (number % 40)}]]] for number in range(200)]
    text = json.dumps(records, indent=indent)
    target = 50
    chunks = list(safe_chunk(text, target_tokens=target, overlap_tokens=0, splitter="json"))
    assert_promises(text, chunks, target)
    cuts = [chunk.end for chunk in chunks]
    torn = [text[a:b] for a, b in _spans(text)[0] if any(a < cut < b for cut in cuts)]
    assert [part for part in torn if recount(part) <= target] == []


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize(
    "record", ["one word: and, more://[", "some words, and more.", {"key": ["word", 17], "other": "x;"}]
)
def test_a_first_record_that_fits_to_its_last_token_is_not_torn(record: Any, encoding: str) -> None:
    """It begins where the document does; its last token may be one with the newline."""
    line = json.dumps(record)
    for text in (f"{line}\n" + "1234567\n" * 20, f'{line}\n""\n' * 9):
        target = recount(line, encoding)
        chunks = safe_chunk(text, target_tokens=target, overlap_tokens=0, splitter="json", encoding=encoding)
        assert next(chunks).text.startswith(line)


def test_a_last_value_that_fits_without_the_bracket_behind_it_is_not_torn() -> None:
    """That bracket is not the string's own."""
    text = json.dumps([{"some key of a few words": "word " * (number % 40 + 20)} for number in range(200)], indent=4)
    cuts = [chunk.end for chunk in safe_chunk(text, target_tokens=50, overlap_tokens=0, splitter="json")]
    torn = [text[a:b] for a, b in _spans(text)[1] if any(a < cut < b for cut in cuts)]
    assert [part for part in torn if recount(part) <= 50] == []


def test_an_array_is_kept_whole_where_that_costs_little() -> None:
    """One of a tenth of a chunk, always; of large ones, not if the chunk would stay empty for it."""
    small = json.dumps([list(range(10, 16)) for _ in range(300)], separators=(",", ":"))
    for chunk in safe_chunk(small, target_tokens=150, overlap_tokens=0, splitter="json"):
        assert chunk.text.count("[") - chunk.text.count("]") in ((1, 0, -1) if chunk.start == 0 else (0, -1))
    large = json.dumps([list(range(10, 70)) for _ in range(300)], separators=(",", ":"))
    chunks = list(safe_chunk(large, target_tokens=200, overlap_tokens=0, splitter="json"))
    assert_promises(large, chunks, 200)
    fill = [chunk.tokens / 200 for chunk in chunks[:-1]]
    assert sum(fill) / len(fill) > 0.85
    assert all(chunk.text.endswith(("],", ",")) for chunk in chunks[:-1])


def test_json_lines_are_cut_at_lines() -> None:
    """And only there, where every record fits."""
    text = "".join(json.dumps({"id": number, "note": "word " * (number % 30)}) + "\n" for number in range(500))
    chunks = list(safe_chunk(text, target_tokens=200, overlap_tokens=0))
    assert {chunk.kind for chunk in chunks} == {"json"}
    for chunk in chunks:
        for line in chunk.text.splitlines():
            json.loads(line)


def test_a_record_larger_than_a_chunk_is_cut_at_its_own_elements() -> None:
    """Deeper levels are used only where nothing outer fits."""
    inner = [{"k": number} for number in range(300)]
    text = json.dumps([{"small": 1}, {"large": inner}, {"small": 2}])
    for chunk in list(safe_chunk(text, target_tokens=100, overlap_tokens=0))[:-1]:
        assert chunk.text.rstrip().endswith((",", ":"))


def test_a_long_string_is_cut_like_prose_and_only_inside_itself() -> None:
    """A string that does not fit is text; its neighbours stay whole."""
    text = json.dumps({"before": "whole", "long": "All is well here. " * 400, "after": "whole, too"})
    chunks = list(safe_chunk(text, target_tokens=150, overlap_tokens=0))
    assert_promises(text, chunks, 150)
    for chunk in chunks[1:-1]:
        assert chunk.text.endswith(".")


@pytest.mark.parametrize("escape", ["\\u663e", "\\ud83d\\ude00", "\\n", "\\\\", '\\"'])
def test_an_escape_sequence_is_not_torn(escape: str) -> None:
    """Where a string without a blank is too long for a chunk, it is cut between its escapes."""
    text = '{"a":"' + escape * 600 + '"}'
    for target in range(40, 60):
        chunks = list(safe_chunk(text, target_tokens=target, overlap_tokens=0, splitter="json"))
        assert_promises(text, chunks, target)
        assert len(chunks) > 3
        for chunk in chunks[1:-1]:
            assert chunk.text.removesuffix('"}').replace(escape, "") == ""


def test_structure_is_the_same_whatever_blocks_the_text_comes_in() -> None:
    """Depth, open strings and backslashes go on from block to block."""
    chance = random.Random(4)
    records = [
        {"s": '\\"' * chance.randrange(9), "t": "[{,:}]" * chance.randrange(9), "n": [number]} for number in range(9000)
    ]
    text = json.dumps(records, separators=(",", ":"))
    assert len(text) > 400_000
    objects, strings = _spans(text)
    inside = {offset for a, b in objects + strings if b - a < 200 for offset in range(a + 1, b)}
    assert not inside & {chunk.end for chunk in safe_chunk(text, target_tokens=700, overlap_tokens=0)}


@pytest.mark.parametrize("text", ['{"a": "open ' + "x, " * 900, "}]" * 900 + "[{", '{"a" "b" ' * 500, '["' * 700])
def test_broken_json_is_cut_all_the_same(text: str) -> None:
    """Whatever is wrong with it, the promises hold."""
    assert_promises(text, list(safe_chunk(text, target_tokens=60, overlap_tokens=9, splitter="json")), 60)


@pytest.mark.parametrize("name", ["json fhir", "json fhir indented"])
def test_objects_cost_no_more_fill_than_was_saved(name: str) -> None:
    """Bundles of resources of some hundred to two thousand tokens, in a few large chunks."""
    fills: list[float] = []
    for seed in range(3):
        text = BUNDLES[name](random.Random(seed), 150_000).text
        chunks = list(safe_chunk(text, target_tokens=6000, overlap_tokens=0, splitter="json"))
        fills += [chunk.tokens / 6000 for chunk in chunks[:-1]]
    assert sum(fills) / len(fills) >= 0.94
