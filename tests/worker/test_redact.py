"""What a message may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.worker.redact import RUN, describe, scrub, where


@given(st.text(min_size=RUN, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_no_run_of_a_text_is_left_in_a_message(secret: str, before: str, after: str) -> None:
    """Wherever it stands."""
    told = scrub(before + secret + after, [secret])
    assert all(secret[i : i + RUN] not in told for i in range(len(secret) - RUN + 1) if "…" not in secret)


def test_words_of_its_own_stay() -> None:
    """A message that shares no run with the texts is told as it is."""
    error = ValueError("invalid literal for int()")
    assert describe(error, ["the patient slept"]) == "ValueError: invalid literal for int()"


def test_a_key_of_the_environment_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever client repeats it; a variable whose name says nothing of the kind is no secret."""
    monkeypatch.setenv("GATEWAY_TOKEN", "canary-314159265")
    monkeypatch.setenv("LAB_NAME", "the-northern-lab")
    told = describe(ValueError("wrong key canary-314159265 at the-northern-lab"))
    assert told == "ValueError: wrong key … at the-northern-lab"


def test_where_names_frames_and_no_source() -> None:
    """File, line and function; nothing that stands in the line."""
    try:
        raise ValueError("x" * 50)
    except ValueError as error:
        told = where(error, own="/nowhere")
    assert "test_where_names_frames_and_no_source" in told
    assert "xxx" not in told
    assert "raise" not in told
