"""Fields and pages of a document, as DOCUMENTS records have them."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.errors import LogError
from mrengine.log.format.document_facts import unpack_facts
from mrengine.log.format.packing import pack


@pytest.mark.parametrize(
    "malformed", [{"a": 1}, {}, 7, [], [{}], [{}, [1]], [[1], []], [{}, ["a", "b"]], [{}, [float("inf"), 1]]]
)
def test_what_is_malformed_is_damage(malformed: Any) -> None:
    with pytest.raises(LogError):
        unpack_facts(pack(malformed))
