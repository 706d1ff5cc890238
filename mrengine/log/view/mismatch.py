"""Compares a job with the one that its log describes, for messages and for ``on_mismatch``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mrengine.log.format.job_records import JobRecord

__all__ = ["Differences", "compare"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Differences:
    """``lines``: the differences, for people. ``extends``: documents were added, and nothing else changed."""

    lines: tuple[str, ...] = ()
    extends: bool = field(default=False)

    def __bool__(self) -> bool:
        return bool(self.lines)


def compare(
    stored: JobRecord,
    new: JobRecord,
    stored_documents: Iterable[tuple[str, bytes]] = (),
    new_documents: Iterable[tuple[str, bytes]] = (),
) -> Differences:
    """How the new job differs from the stored one. Documents, (id, digest) each, are only read if the totals differ."""
    others = [*_chunking(stored, new), *_models(stored, new), *_map(stored, new)]
    if stored.documents == new.documents:
        return Differences(tuple(others))
    lines, only_added = _documents(stored_documents, new_documents)
    return Differences((*lines, *others), only_added and not others)


def _documents(
    stored_documents: Iterable[tuple[str, bytes]], new_documents: Iterable[tuple[str, bytes]]
) -> tuple[list[str], bool]:
    stored, new = dict(stored_documents), dict(new_documents)  # only here, where something differs, all are in memory
    added = [name for name in new if name not in stored]
    removed = [name for name in stored if name not in new]
    changed = [name for name, digest in stored.items() if new.get(name, digest) != digest]
    lines = [*_named("added", added), *_named("removed", removed), *_named("changed", changed)]
    # Same ids, same digests, and yet another digest of all: that counts the order.
    return lines or ["the documents come in another order"], bool(added) and not removed and not changed


def _named(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        shown = ", ".join(repr(name) for name in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"{len(names)} document{'s' * (len(names) > 1)} {what}: {shown}{more}"


def _chunking(stored: JobRecord, new: JobRecord) -> Iterator[str]:
    for name in sorted({*stored.chunking, *new.chunking}):
        was, now = stored.chunking.get(name), new.chunking.get(name)
        if was != now:
            yield f"{name}: {was!r} then, {now!r} now"


def _models(stored: JobRecord, new: JobRecord) -> Iterator[str]:
    were, are = [name for name, _ in stored.models], [name for name, _ in new.models]
    if were != are:
        yield f"models: {', '.join(were) or 'none'} then, {', '.join(are) or 'none'} now"
    params: Mapping[str, str] = dict(new.models)
    for name, digest in stored.models:
        if params.get(name, digest) != digest:
            yield f"parameters of model {name}"
    if stored.all_models != new.all_models:
        yield f"every model on every chunk: {stored.all_models} then, {new.all_models} now"


def _map(stored: JobRecord, new: JobRecord) -> Iterator[str]:
    if stored.map_version == new.map_version:
        return
    changed = ", ".join(_changed_parts(stored, new))
    then, now = f"{stored.map_name} {stored.map_version}", f"{new.map_name} {new.map_version}"
    yield f"the map function: {then} then, {now} now" + (f" (changed: {changed})" if changed else "")
    if stored.python != new.python:
        yield f"Python: {stored.python} then, {new.python} now (name the function with map_version= to use both)"


def _changed_parts(stored: JobRecord, new: JobRecord) -> list[str]:
    """The parts of a function or prompt that have changed; none if the Python version differs."""
    if isinstance(stored.map_source, Mapping) and isinstance(new.map_source, Mapping):
        was, now = stored.map_source, new.map_source
    else:
        was, now = stored.settings.get("map_parts") or {}, new.settings.get("map_parts") or {}
    # Each minor version of Python has other bytecode: every part would be named.
    if not was or not now or stored.python != new.python:
        return []
    names = [name for name in dict.fromkeys((*was, *now)) if was.get(name) != now.get(name)]
    return names[:_SHOWN] + ["…"] * (len(names) > _SHOWN)
