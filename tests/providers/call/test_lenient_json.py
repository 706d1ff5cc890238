"""JSON as models write it: what stands around it, and the slips that are mended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.providers.call.lenient_json import json_in

MEANT: dict[str, Any] = {"code": "A", "n": [1, 2]}
AS_WRITTEN = {
    "as it is": '{"code": "A", "n": [1, 2]}',
    "a BOM": '\ufeff{"code": "A", "n": [1, 2]}',
    "prose around": 'Sure! Here is the JSON you wanted:\n{"code": "A", "n": [1, 2]}\nAnything else?',
    "a list in the prose": 'As said in [1] and {2}: {"code": "A", "n": [1, 2]}, see [3].',
    "a fence": '```json\n{"code": "A", "n": [1, 2]}\n```',
    "a fence on one line": '```json {"code": "A", "n": [1, 2]} ```',
    "a fence without a name, in prose": 'Here:\n```\n{"code": "A", "n": [1, 2]}\n```\nDone.',
    "a fence that never ends": '```json\n{"code": "A", "n": [1, 2]}',
    "thoughts": '<think>is it {"code": 1}?</think>{"code": "A", "n": [1, 2]}',
    "a lone </think>": 'It may be {"code": "B"}.\n</think>\n\n{"code": "A", "n": [1, 2]}',
    "a </think> before it": '</think>{"code": "A", "n": [1, 2]}',
    "trailing commas": '{"code": "A", "n": [1, 2,], }',
    "comments": '{"code": "A", // the code\n "n": [1, 2] /* both */}',
    "a comment after a comma": '{"code": "A", "n": [1, 2], // that is all\n}',
    "all at once": 'Yes:\n```json\n{"code": "A", "n": [1, 2,],} ```',
}


@pytest.mark.parametrize("text", AS_WRITTEN.values(), ids=AS_WRITTEN)
def test_what_was_meant_is_found(text: str) -> None:
    """The first candidate is it."""
    assert json.loads(json_in(text)[0]) == MEANT


def test_strings_are_left_alone_but_for_raw_breaks() -> None:
    """Commas, comments and fences inside of them are text."""
    text = '{"a": "x,] // no", "b": "```", "c": "line\nbreak\ttab", "d": "\\"q\\",}", "e": True, "f": None}'
    assert json.loads(json_in(text)[0]) == {
        "a": "x,] // no", "b": "```", "c": "line\nbreak\ttab", "d": '"q",}', "e": True, "f": None,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "none", '{"a": "cut', '{"a": [1, 2', '{"a": NaN}', "[" * 100_000, "{" * 9999])
def test_what_is_no_json_is_none(text: str) -> None:
    """What is cut off is not made whole, and nothing takes for ever."""
    assert json_in(text) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.booleans())
def test_valid_json_means_itself(value: Any, escaped: bool) -> None:
    """Mending and looking around never change what was right."""
    text = json.dumps(value, ensure_ascii=escaped)
    assert json_in(text)[0] == text.strip()
    assert json_in(f"```json\n{text}\n```")[0] == text or "```" in text
