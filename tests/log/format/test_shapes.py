"""What has the shape of a record that was checked would pass the same check."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.errors import LogError
from mrengine.log.format import task_records
from mrengine.log.format.packing import pack, unpack
from mrengine.log.format.shapes import LEARN_EVERY, MOST_BYTES, Shapes, fixed_bits
from tests.log.sample import result

text = st.text(st.characters(exclude_categories=()), max_size=50)
scalar = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | text | st.binary(max_size=40)
value = st.recursive(scalar, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(text, inner, max_size=3))


def types_of(found: Any) -> Any:
    """The types of a value and of all in it; keys of a dict may have become the same one."""
    return [list, *map(types_of, found)] if isinstance(found, list) else type(found)


@settings(deadline=None)
@given(value, st.randoms(use_true_random=False))
def test_other_bits_than_the_fixed_ones_change_no_type(found: Any, chance: Any) -> None:
    payload = pack(found)
    fixed = fixed_bits(payload)
    if fixed is None:  # 40 bytes of text and 20 values at one level need none of the tags that are not looked at
        pytest.fail("a value of a usual kind has no shape")
    size = len(payload)
    changed = int.from_bytes(payload, "little") & fixed | chance.getrandbits(8 * size) & ~fixed
    other = changed.to_bytes(size, "little")
    assert types_of(unpack(other)) == types_of(found)
    shapes = Shapes()
    assert not shapes.match(payload)
    shapes.learn(payload)
    assert shapes.match(payload) is shapes.match(other) is (size <= MOST_BYTES)


def test_kinds_of_values_that_are_rare_have_no_shape() -> None:
    """A text of more than 255 bytes, for one."""
    for found in ("x" * 300, b"x" * 300, [{str(n): n for n in range(20)}], [0] * 70_000):
        assert fixed_bits(pack(found)) is None


def test_one_bit_of_a_tag_is_another_shape() -> None:
    """Each flip of a fixed bit is seen, so it is checked in full; of those that pass, none is taken for the learned."""
    good, shapes = result(3, value=["a", {"b": 1.5}, None, True, "é"]), Shapes()
    shapes.learn(good)
    fixed = fixed_bits(good)
    assert fixed is not None
    flips = [bit for bit in range(8 * len(good)) if fixed >> bit & 1]
    assert len(flips) > 100
    refused = 0
    for bit in flips:
        other = (int.from_bytes(good, "little") ^ 1 << bit).to_bytes(len(good), "little")
        assert not shapes.match(other)
        try:
            task_records.unpack_result(other)
        except LogError:
            refused += 1
    assert refused > 50


def test_a_shape_is_learned_from_one_in_many() -> None:
    """Records of one length and many shapes cost no more than their checks."""
    shapes, payloads = Shapes(), [pack([n, "é" * (n % 2)]) for n in range(128)]
    first, odd = payloads[0], pack([None])
    shapes.learn(first)
    assert shapes.match(first)
    assert all(shapes.match(payload) is (len(payload) == len(first)) for payload in payloads)
    for _ in range(LEARN_EVERY - 1):
        shapes.learn(odd)
        assert not shapes.match(odd)
    shapes.learn(odd)
    assert shapes.match(odd)


def test_a_result_that_was_checked_by_its_shape_is_read_like_any_other() -> None:
    """And what is wrong with one is found, however many right ones came before."""
    for chunk in range(200):
        payload = result(chunk, value=f"text {chunk:03}")
        task_records.check_outcome(7, payload)
        record = task_records.unpack_result(payload)
        assert (record.chunk_id, record.result, record.document_id) == (chunk, f"text {chunk:03}", "doc")
    assert task_records.RESULT_SHAPES.match(result(7, value="another!"))
    wrong = payload.replace(b"\xa3doc", b"\xc4\x02oc")  # a document's id of bytes
    assert len(wrong) == len(payload)
    for read in (task_records.unpack_result, lambda data: task_records.check_outcome(7, data)):
        with pytest.raises(LogError):
            read(wrong)
