"""The contract between the engine and its backends, as far as a value can be wrong."""

from __future__ import annotations

import inspect

import pytest

from mrengine.backends.process.pool import ProcessPool
from mrengine.backends.sequential import SequentialBackend
from mrengine.engine import protocol as m
from mrengine.log.format import codec
from tests.backends.threads import ThreadBackend

KINDS = {name: value for name, value in vars(m).items() if name.isupper() and isinstance(value, int)}


def test_no_two_kinds_of_messages_are_one_number_and_outcomes_go_into_the_log_as_they_are() -> None:
    """A worker packs the record; nobody packs it again."""
    assert len(set(KINDS.values())) == len(KINDS)
    assert (m.RESULT, m.FAILURE) == (codec.RESULT, codec.FAILURE)


def test_every_outcome_is_a_kind_and_a_death_is_none() -> None:
    """DIED is made by the backend's half: it ends a worker, and says what became of its tasks."""
    assert set(KINDS.values()) >= m.OUTCOMES
    assert m.DIED not in m.OUTCOMES
    assert m.NOTE not in m.OUTCOMES


@pytest.mark.parametrize("backend", [ProcessPool, SequentialBackend, ThreadBackend])
def test_a_backend_has_all_of_the_contract_and_its_signatures(backend: type) -> None:
    """The engine knows no other names."""
    for name, method in vars(m.Backend).items():
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        wanted, has = (inspect.signature(one).parameters for one in (method, getattr(backend, name)))
        assert list(has)[: len(wanted)] == list(wanted), name
        assert all(one.default is not one.empty for one in list(has.values())[len(wanted) :]), name


def test_secrets_and_prompts_are_in_no_repr_of_a_configuration() -> None:
    """Blobs hold functions, models and their keys."""
    config = m.WorkerConfig("j", 0, "P1_user", False, b"map-blob", b"models-blob", b"init-blob", 60, 0, 30)
    assert "blob" not in repr(config).replace("_blob", "")
