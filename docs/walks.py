"""Follow a document, and a call, through the package, and write ``docs/walks.md``: ``python docs/walks.py``.

``--check``: measure, and say whether the page is true. Real jobs run in the process backend, and every function of
mrengine that returns, in whichever process, is looked at.
"""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PAGE = Path(__file__).with_name("walks.md")
HEAD = """# Walks

Measured by `python docs/walks.py`; do not edit it here.

Real jobs run in the process backend, and every function of mrengine that returns, in whichever process, is looked at.
A module *holds* the data if such a function has it in an argument, a local or its value: a document's text, its row,
its task or its result; a call's prompt, reservation or answer. One that also hands it to another module is on the
*road*. The others are only *asked*: they count tokens, pack a record, write a file, and the data goes on from where it
was. So are the rooms that only compute, `chunking/` and `log/format/`. A road of 40 modules fails the check.
"""
MOST = 39  # modules on a road
ROOT = Path(__file__).parent.parent
PACKAGE = str(ROOT / "mrengine") + os.sep
COMPUTE = ("chunking/", "log/format/")
DEPTH = 4  # how deep into a value is looked
DOCUMENTS, AT = 320, "311"  # above 255: the bytes of the number are rare
MAX_TOKENS, ROUNDING = "24671", 300  # the call's, by which its reservation is known; the prompt's come on top


@dataclass(frozen=True, slots=True)
class Data:
    """What the data is known by. ``texts`` stand in it; ``parts``: bytes of its packed forms; ``numbers``: of its
    chunks, or of its tokens. ``bare``: a number alone is the data, too, as that of a reservation is.
    """

    texts: Sequence[str]
    parts: Sequence[bytes] = ()
    numbers: Sequence[int] = ()
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Walk:
    """The modules that hold the data, in the order in which their first functions returned."""

    road: list[str]
    asked: list[str]


class Watch:
    """Notes the functions that hold the data, and their callers, in a file that all processes of a run append to."""

    def __init__(self, path: str, data: Data) -> None:
        self._path, self._data, self._numbers = path, data, set(data.numbers)
        # As pipes and the log pack a number: little-endian, and msgpack's uint16.
        packed = [form for n in data.numbers for form in (struct.pack("<I", n), struct.pack(">BH", 0xCD, n))]
        self._parts = [*(text.encode() for text in data.texts), *data.parts, *packed]
        self._noted: set[tuple[CodeType, CodeType | None]] = set()

    def start(self) -> None:
        """Watch this thread, those that begin later, and all forks."""
        threading.setprofile(self)
        sys.setprofile(self)

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        """Look at a function that returns: a profile function (``sys.setprofile``)."""
        code = frame.f_code
        if event != "return" or not code.co_filename.startswith(PACKAGE):
            return
        note = code, _caller(frame)
        if note not in self._noted and self._holds(frame, value):
            self._noted.add(note)
            with open(self._path, "a") as file:
                file.write(json.dumps([os.getpid(), *map(_name, note)]) + "\n")

    def _holds(self, frame: FrameType, value: Any) -> bool:
        held = [value, *(one for name, one in frame.f_locals.items() if name not in ("self", "cls"))]
        return any(self._is_data(one, DEPTH) for one in held)

    def _is_data(self, value: Any, depth: int) -> bool:
        kind = type(value)
        if kind in (int, float):
            return self._data.bare and value in self._numbers
        if kind is str:
            return any(text in value for text in self._data.texts)
        if kind in (bytes, bytearray, memoryview):
            return self._has_parts(value)
        if depth == 0:
            return False
        if isinstance(value, (list, tuple)):
            return any(one in self._numbers if type(one) is int else self._is_data(one, depth - 1) for one in value)
        if isinstance(value, dict):
            return any(self._is_data(one, depth - 1) for one in list(value.values()))
        fields = getattr(kind, "__dataclass_fields__", ()) if kind.__module__.startswith("mrengine.") else ()
        return any(self._is_data(getattr(value, name, None), depth - 1) for name in fields)

    def _has_parts(self, value: Any) -> bool:
        try:
            data = bytes(value)
        except ValueError:  # a memoryview that was released before the function returned
            return False
        return any(part in data for part in self._parts)


def _caller(frame: FrameType) -> CodeType | None:
    """The function of mrengine that called this one, perhaps by functions of others."""
    back = frame.f_back
    while back is not None and not back.f_code.co_filename.startswith(PACKAGE):
        back = back.f_back
    return None if back is None else back.f_code


def _name(code: CodeType | None) -> str:
    return "" if code is None else f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_firstlineno}"


# Stands for a supervisor's interpreter: see MRENGINE_PYTHON.
WRAPPER = """#!{python} -I
import sys
sys.path.insert(0, {docs!r})
import walks
del sys.path[0]
boot, *sys.argv[1:] = sys.argv[3:]
walks.Watch({path!r}, walks.{data!r}).start()
exec(compile(boot, "<boot>", "exec"), {{"__name__": "__main__"}})
"""


def walk(run: Callable[[], object], data: Data, *, host: bool = True) -> Walk:
    """What the data meets in a run; ``host``: also in this process."""
    with tempfile.TemporaryDirectory() as folder:
        path, wrapper = os.path.join(folder, "notes"), Path(folder, "python")
        Path(path).touch()
        docs = str(Path(__file__).parent)
        wrapper.write_text(WRAPPER.format(python=sys.executable, docs=docs, path=path, data=data))
        wrapper.chmod(0o700)
        os.environ["MRENGINE_PYTHON"] = str(wrapper)
        Watch(path, data).start()
        try:
            run()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            del os.environ["MRENGINE_PYTHON"]
        notes = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return split([(code, caller) for pid, code, caller in notes if host or pid != os.getpid()])


def split(notes: Sequence[tuple[str, str]]) -> Walk:
    """The walk of these functions, each with its caller."""
    holders = {code for code, _ in notes}
    hands_on = {_module(caller) for code, caller in notes if caller in holders and _module(caller) != _module(code)}
    modules = list(dict.fromkeys(_module(code) for code, _ in notes))
    road = [one for one in modules if one in hands_on and not one.startswith(COMPUTE)]
    return Walk(road, [one for one in modules if one not in road])


def _module(name: str) -> str:
    return name.partition(":")[0]


# the jobs


def word() -> str:
    """A word that one document, or one prompt, has, and no other."""
    return "".join(("kestrel", "hawk"))


def _map(chunk: Any, context: Any) -> list[Any]:
    return [chunk.id, chunk.text]


def _ask(chunk: Any, context: Any) -> None:
    context.complete(f"Name the {word()}.", max_tokens=int(MAX_TOKENS))


def _reduce(results: Any) -> list[Any]:
    return [result.result for result in results if word() in str(result.result)]


def texts(form: str = "{0} number {1} is a bird of prey.") -> list[str]:
    """Documents, one of which has the word."""
    return [form.format(word() if n == int(AT) else "sparrow", n) for n in range(DOCUMENTS)]


def slowly(documents: Iterable[Any]) -> Iterator[Any]:
    """A source that has to be waited for."""
    for n, document in enumerate(documents):
        if n % 50 == 0:
            time.sleep(0.15)
        yield document


def files(documents: Iterable[str], folder: str) -> list[Path]:
    """The documents as files of a folder."""
    paths = []
    for n, text in enumerate(documents):
        paths.append(Path(folder, f"{n}.txt"))
        paths[-1].write_text(text)
    return paths


def _run(make: Callable[[str], Any], map_fn: Any = _map, **settings: Any) -> list[Any]:
    """Run a job over what ``make(folder)`` gives; the results with the word."""
    from mrengine import MapReduceRunner

    with tempfile.TemporaryDirectory() as state:
        runner = MapReduceRunner("walk", workers=2, slots=2, state_dir=state, **settings)
        found: list[Any] = runner.run(make(state), map_fn, _reduce).result
        return found


def document_walk(make: Callable[[str], Any], **settings: Any) -> Walk:
    """The walk of the document with the word."""
    found = _run(make, **settings)  # once unwatched: which chunks are those of the document
    digests = [blake2b(text.encode(), digest_size=16).digest() for _, text in found]
    data = Data([word()], digests, [chunk for chunk, _ in found])
    return walk(lambda: _run(make, **settings), data)


def call_walk() -> Walk:
    """The walk of a call over HTTP, under a limit, into the log; what the host reads there is a document's walk."""
    from mrengine import ModelSpec, RateLimit
    from mrengine.testing import LLMServer

    limits = RateLimit(tpm=10_000_000)
    data = Data([word()], numbers=range(int(MAX_TOKENS), int(MAX_TOKENS) + ROUNDING), bare=True)
    with LLMServer(answer=word()) as server:
        model = ModelSpec("bird", base_url=server.url, limits=limits)
        return walk(lambda: _run(lambda _: "A bird of prey.", _ask, models=[model]), data, host=False)


MANY = 40 * "The falcon hunts from the air. "
TITLED = "# Birds\n\n## Of prey\n\n" + MANY + "\n\n{0} number {1} is a bird of prey.\n\n"
TABLE = "name,number,text\n" + 60 * "falcon,1,hunts from the air\n" + "{0},{1},is a bird of prey\n"


def walks() -> dict[str, Walk]:
    """All walks by name."""
    return {
        "a document": document_walk(lambda _: texts()),
        "a document, while it is read": document_walk(lambda _: slowly(texts())),
        "a document with titles": document_walk(lambda _: texts(TITLED), target_tokens=100),
        "a document with a header": document_walk(lambda _: texts(TABLE), target_tokens=100),
        "a file": document_walk(lambda folder: files(texts(), folder)),
        "a file with titles, while it is read": document_walk(
            lambda folder: slowly(files(texts(TITLED), folder)), target_tokens=100
        ),
        "a call": call_walk(),
    }


def page(found: dict[str, Walk]) -> str:
    """The page of these walks."""
    table = ["| | on the road | asked | of these, in rooms that compute |", "| --- | --- | --- | --- |"]
    lists = []
    for name, way in found.items():
        computing = sum(one.startswith(COMPUTE) for one in way.asked)
        table.append(f"| {name} | {len(way.road)} | {len(way.asked)} | {computing} |")
        lists += [f"\n## {name.capitalize()}", *_paragraph("The road", way.road), *_paragraph("Asked", way.asked)]
    return "\n".join([HEAD, *table, *lists, ""])


def _paragraph(title: str, modules: Sequence[str]) -> list[str]:
    return ["", *textwrap.wrap(f"{title}: {', '.join(f'`{one}`' for one in modules)}.", 120, break_on_hyphens=False)]


def faults(found: dict[str, Walk], written: str) -> list[str]:
    """What is wrong with these walks, or with the page that was written before."""
    # Not the same page: on a busy machine a document may be cut later than in another run, and meet what is met then.
    known = set(re.findall(r"`([\w/]+\.py)`", written))
    wrong = []
    for name, way in found.items():
        if not way.road:
            wrong.append(f"{name}: nothing was met; is this tree the mrengine that is imported?")
        if len(way.road) > MOST:
            wrong.append(f"{name}: {len(way.road)} modules on the road")
        wrong += [f"{name}: the page does not know {one}" for one in way.road if one not in known]
    return wrong


def main() -> None:
    """Write the page, or check it."""
    found = walks()
    if sys.argv[1:] == ["--check"]:
        sys.exit("\n".join(faults(found, PAGE.read_text())) or 0)
    PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
