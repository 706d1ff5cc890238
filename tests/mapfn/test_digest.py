"""The digest of a map function: equal in every process, another after every edit that matters."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from mrengine.errors import ConfigError
from mrengine.mapfn.digest import digest, name_of, parts

ROOT = Path(__file__).resolve().parents[2]


def load(name: str, source: str, filename: str = "somewhere.py") -> types.ModuleType:
    """A module of the user's own, from its text."""
    module = types.ModuleType(name)
    module.__file__ = filename
    sys.modules[name] = module
    exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)
    return module


def version(source: str, **others: str) -> str:
    """The digest of ``map_fn`` in a module of this text, beside other modules of the user's own."""
    for name, text in others.items():
        load(name, text)
    try:
        return digest(load("user_map", source).map_fn)
    finally:
        for name in ("user_map", *others):
            sys.modules.pop(name, None)


BASE = "def map_fn(chunk, context):\n    return {use}\n"

EDITS: dict[str, tuple[str, str]] = {
    "a constant": (BASE.format(use="1"), BASE.format(use="2")),
    "int for bool": (BASE.format(use="1"), BASE.format(use="True")),
    "int for float": (BASE.format(use="0"), BASE.format(use="0.0")),
    "the sign of a zero": (BASE.format(use="0.0"), BASE.format(use="-0.0")),
    "an operator": (BASE.format(use="chunk + 1"), BASE.format(use="chunk - 1")),
    "an attribute": (BASE.format(use="chunk.text"), BASE.format(use="chunk.kind")),
    "a built-in": (BASE.format(use="len(chunk)"), BASE.format(use="sum(chunk)")),
    "a prompt": ("PROMPT = 'a'\n" + BASE.format(use="PROMPT"), "PROMPT = 'b'\n" + BASE.format(use="PROMPT")),
    "a prompt in a nested function": (
        "PROMPT = 'a'\n" + BASE.format(use="[PROMPT for _ in chunk]"),
        "PROMPT = 'b'\n" + BASE.format(use="[PROMPT for _ in chunk]"),
    ),
    "a value in a container": (
        "P = {'x': [1, {'y'}]}\n" + BASE.format(use="P"),
        "P = {'x': [1, {'z'}]}\n" + BASE.format(use="P"),
    ),
    "the order of a dict": ("P = {1: 2, 3: 4}\n" + BASE.format(use="P"), "P = {3: 4, 1: 2}\n" + BASE.format(use="P")),
    "tuple for list": ("P = [1]\n" + BASE.format(use="P"), "P = (1,)\n" + BASE.format(use="P")),
    "a default": (
        BASE.replace("context", "context=1").format(use="1"),
        BASE.replace("context", "context=2").format(use="1"),
    ),
    "a keyword default": (
        "def map_fn(chunk, *, a=1): return a",
        "def map_fn(chunk, *, a=2): return a",
    ),
    "a closure value": (
        "def make(p):\n    def map_fn(chunk): return p\n    return map_fn\nmap_fn = make('a')",
        "def make(p):\n    def map_fn(chunk): return p\n    return map_fn\nmap_fn = make('b')",
    ),
    "a helper": (
        "def helper(x): return x + 1\n" + BASE.format(use="helper(1)"),
        "def helper(x): return x + 2\n" + BASE.format(use="helper(1)"),
    ),
    "a helper's prompt": (
        "P = 'a'\ndef helper(x): return P\n" + BASE.format(use="helper(1)"),
        "P = 'b'\ndef helper(x): return P\n" + BASE.format(use="helper(1)"),
    ),
    "a method": (
        "class A:\n    def f(self): return 1\n" + BASE.format(use="A().f()"),
        "class A:\n    def f(self): return 2\n" + BASE.format(use="A().f()"),
    ),
    "a class attribute": (
        "class A:\n    p = 'a'\n" + BASE.format(use="A.p"),
        "class A:\n    p = 'b'\n" + BASE.format(use="A.p"),
    ),
    "a base class": (
        "class B:\n    p = 1\nclass A(B): pass\n" + BASE.format(use="A.p"),
        "class B:\n    p = 2\nclass A(B): pass\n" + BASE.format(use="A.p"),
    ),
    "a property": (
        "class A:\n    @property\n    def f(self): return 1\n" + BASE.format(use="A().f"),
        "class A:\n    @property\n    def f(self): return 2\n" + BASE.format(use="A().f"),
    ),
    "an instance": (
        "class A:\n    def __init__(self, p): self.p = p\na = A('x')\n" + BASE.format(use="a.p"),
        "class A:\n    def __init__(self, p): self.p = p\na = A('y')\n" + BASE.format(use="a.p"),
    ),
    "a slotted instance": (
        "class A:\n    __slots__ = ('p',)\na = A(); a.p = 1\n" + BASE.format(use="a.p"),
        "class A:\n    __slots__ = ('p',)\na = A(); a.p = 2\n" + BASE.format(use="a.p"),
    ),
    "a dataclass field": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    p: int\n" + BASE.format(use="A(1)"),
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    q: int\n" + BASE.format(use="A(1)"),
    ),
    "a dataclass default": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    p: int = 1\n" + BASE.format(use="A(1)"),
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    p: int = 2\n" + BASE.format(use="A(1)"),
    ),
    "a default factory": (
        "from dataclasses import dataclass, field\n@dataclass\nclass A:\n p: list = field(default_factory=lambda:[1])\n"
        + BASE.format(use="A()"),
        "from dataclasses import dataclass, field\n@dataclass\nclass A:\n p: list = field(default_factory=lambda:[2])\n"
        + BASE.format(use="A()"),
    ),
    "an enum's value": (
        "import enum\nclass E(enum.Enum):\n    A = 1\n" + BASE.format(use="E.A"),
        "import enum\nclass E(enum.Enum):\n    A = 2\n" + BASE.format(use="E.A"),
    ),
    "an enum's method": (
        "import enum\nclass E(enum.Enum):\n    A = 1\n    def f(self): return 1\n" + BASE.format(use="E.A.f()"),
        "import enum\nclass E(enum.Enum):\n    A = 1\n    def f(self): return 2\n" + BASE.format(use="E.A.f()"),
    ),
    "a named tuple's default": (
        "from typing import NamedTuple\nclass A(NamedTuple):\n    p: int = 1\n" + BASE.format(use="A()"),
        "from typing import NamedTuple\nclass A(NamedTuple):\n    p: int = 2\n" + BASE.format(use="A()"),
    ),
    "an abstract class": (
        "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): return 1\n" + BASE.format(use="A"),
        "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): return 2\n" + BASE.format(use="A"),
    ),
    "a typed dict": (
        "from typing import TypedDict\nclass A(TypedDict):\n    p: int\n" + BASE.format(use="A"),
        "from typing import TypedDict\nclass A(TypedDict):\n    p: str\n" + BASE.format(use="A"),
    ),
    "a protocol": (
        "from typing import Protocol\nclass A(Protocol):\n    def f(self): return 1\n" + BASE.format(use="A"),
        "from typing import Protocol\nclass A(Protocol):\n    def f(self): return 2\n" + BASE.format(use="A"),
    ),
    "a generic class": (
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass A(Generic[T]):\n    p = 1\n"
        + BASE.format(use="A"),
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass A(Generic[T]):\n    p = 2\n"
        + BASE.format(use="A"),
    ),
    "an exception of one's own": (
        "class E(Exception):\n    code = 1\ndef map_fn(c):\n    raise E",
        "class E(Exception):\n    code = 2\ndef map_fn(c):\n    raise E",
    ),
    "a slotted frozen dataclass": (
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass A:\n    p: int = 1\na = A(1)\n"
        + BASE.format(use="a"),
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass A:\n    p: int = 1\na = A(2)\n"
        + BASE.format(use="a"),
    ),
    "an optional field of a pydantic model": (
        "from pydantic import BaseModel\nclass A(BaseModel):\n    p: int | None = None\n" + BASE.format(use="A"),
        "from pydantic import BaseModel\nclass A(BaseModel):\n    p: int | None = 5\n" + BASE.format(use="A"),
    ),
    "a pydantic instance": (
        "from pydantic import BaseModel\nclass A(BaseModel):\n    p: int\na = A(p=1)\n" + BASE.format(use="a"),
        "from pydantic import BaseModel\nclass A(BaseModel):\n    p: int\na = A(p=2)\n" + BASE.format(use="a"),
    ),
    "a dict of functions": (
        "def f(): return 1\nT = {'f': f}\n" + BASE.format(use="T"),
        "def f(): return 2\nT = {'f': f}\n" + BASE.format(use="T"),
    ),
    "a lambda": ("f = lambda x: x + 1\n" + BASE.format(use="f"), "f = lambda x: x + 2\n" + BASE.format(use="f")),
    "a generator inside": (BASE.format(use="sum(x + 1 for x in chunk)"), BASE.format(use="sum(x + 2 for x in chunk)")),
    "an annotated alias": (
        "from typing import Annotated, Optional\nT = Optional[Annotated[int, 'a']]\n" + BASE.format(use="T"),
        "from typing import Annotated, Optional\nT = Optional[Annotated[int, 'b']]\n" + BASE.format(use="T"),
    ),
    "a pydantic field": (
        "from pydantic import BaseModel\nclass A(BaseModel):\n    p: int\n" + BASE.format(use="A"),
        "from pydantic import BaseModel\nclass A(BaseModel):\n    p: str\n" + BASE.format(use="A"),
    ),
    "a pydantic validator": (
        "from pydantic import BaseModel, field_validator\nclass A(BaseModel):\n    p: int\n    @field_validator('p')\n"
        "    @classmethod\n    def v(cls, x): return x + 1\n" + BASE.format(use="A"),
        "from pydantic import BaseModel, field_validator\nclass A(BaseModel):\n    p: int\n    @field_validator('p')\n"
        "    @classmethod\n    def v(cls, x): return x + 2\n" + BASE.format(use="A"),
    ),
    "a regular expression": (
        "import re\nR = re.compile('a')\n" + BASE.format(use="R.sub('', chunk)"),
        "import re\nR = re.compile('b')\n" + BASE.format(use="R.sub('', chunk)"),
    ),
    "a regular expression's flags": (
        "import re\nR = re.compile('a')\n" + BASE.format(use="R.sub('', chunk)"),
        "import re\nR = re.compile('a', re.I)\n" + BASE.format(use="R.sub('', chunk)"),
    ),
    "a partial": (
        "from functools import partial\ndef f(p, chunk): return p\nmap_fn = partial(f, 'a')",
        "from functools import partial\ndef f(p, chunk): return p\nmap_fn = partial(f, 'b')",
    ),
    "a decorator": (
        "def d(f):\n    def g(*a): return f(*a)\n    return g\n@d\n" + BASE.format(use="1"),
        "def d(f):\n    def g(*a): return f(*a), 1\n    return g\n@d\n" + BASE.format(use="1"),
    ),
    "a decorated function": (
        "import functools\ndef d(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a)\n    return g\n@d\n"
        + BASE.format(use="1"),
        "import functools\ndef d(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a)\n    return g\n@d\n"
        + BASE.format(use="2"),
    ),
    "a cached function": (
        "import functools\n@functools.lru_cache\ndef h(): return 1\n" + BASE.format(use="h()"),
        "import functools\n@functools.lru_cache\ndef h(): return 2\n" + BASE.format(use="h()"),
    ),
    "an exception handler": (
        "def map_fn(chunk):\n    try: return f(chunk)\n    except ValueError: return 1",
        "def map_fn(chunk):\n    try: return f(chunk)\n    except KeyError: return 1",
    ),
    "a callable object": (
        "class A:\n    def __call__(self, chunk): return 1\nmap_fn = A()",
        "class A:\n    def __call__(self, chunk): return 2\nmap_fn = A()",
    ),
    "a bound method": (
        "class A:\n    def __init__(self, p): self.p = p\n    def f(self, chunk): return self.p\nmap_fn = A(1).f",
        "class A:\n    def __init__(self, p): self.p = p\n    def f(self, chunk): return self.p\nmap_fn = A(2).f",
    ),
    "an array": (
        "import numpy\nW = numpy.array([1, 2])\n" + BASE.format(use="W"),
        "import numpy\nW = numpy.array([1, 3])\n" + BASE.format(use="W"),
    ),
    "a path": (
        "from pathlib import Path\nP = Path('a')\n" + BASE.format(use="P"),
        "from pathlib import Path\nP = Path('b')\n" + BASE.format(use="P"),
    ),
    "a client's address": (
        "import openai\nC = openai.OpenAI(api_key='k', base_url='http://a')\n" + BASE.format(use="C"),
        "import openai\nC = openai.OpenAI(api_key='k', base_url='http://b')\n" + BASE.format(use="C"),
    ),
    "the value of an installed class": (
        "import string\nP = string.Template('a')\n" + BASE.format(use="P"),
        "import string\nP = string.Template('b')\n" + BASE.format(use="P"),
    ),
    "a time zone": (
        "import datetime as d\nZ = d.timezone(d.timedelta(hours=1))\n" + BASE.format(use="Z"),
        "import datetime as d\nZ = d.timezone(d.timedelta(hours=2))\n" + BASE.format(use="Z"),
    ),
    "a namespace": (
        "import types\nN = types.SimpleNamespace(p=[1])\n" + BASE.format(use="N"),
        "import types\nN = types.SimpleNamespace(p=[2])\n" + BASE.format(use="N"),
    ),
    "an item getter": (
        "import operator\nG = operator.itemgetter('a')\n" + BASE.format(use="G"),
        "import operator\nG = operator.itemgetter('b')\n" + BASE.format(use="G"),
    ),
    "an exception's message": (
        "E = ValueError('a')\ndef map_fn(c):\n    raise E",
        "E = ValueError('b')\ndef map_fn(c):\n    raise E",
    ),
    "a function chosen by type": (
        "import functools\n@functools.singledispatch\ndef h(x): return 1\n@h.register\ndef _(x: int): return 2\n"
        + BASE.format(use="h(1)"),
        "import functools\n@functools.singledispatch\ndef h(x): return 1\n@h.register\ndef _(x: int): return 3\n"
        + BASE.format(use="h(1)"),
    ),
    "a type adapter": (
        "import pydantic\nA = pydantic.TypeAdapter(list[int])\n" + BASE.format(use="A"),
        "import pydantic\nA = pydantic.TypeAdapter(list[str])\n" + BASE.format(use="A"),
    ),
    "what a new type is made of": (
        "from typing import NewType\nT = NewType('T', int)\n" + BASE.format(use="T"),
        "from typing import NewType\nT = NewType('T', str)\n" + BASE.format(use="T"),
    ),
    "a generic alias": ("T = list[int]\n" + BASE.format(use="T"), "T = list[str]\n" + BASE.format(use="T")),
}


@pytest.mark.parametrize(("before", "after"), EDITS.values(), ids=EDITS)
def test_every_edit_that_matters_changes_the_digest(before: str, after: str) -> None:
    """And the same text again does not."""
    assert version(before) == version(before)
    assert version(before) != version(after)


@pytest.mark.parametrize(
    "importing",
    [
        "import prompts\ndef map_fn(chunk): return prompts.P\n",
        "from prompts import P\ndef map_fn(chunk): return P\n",
        "def map_fn(chunk):\n    import prompts\n    return prompts.P\n",
        "def map_fn(chunk):\n    from prompts import P\n    return P\n",
        "import prompts as p\nclass A:\n    def f(self): return p.P\ndef map_fn(chunk): return A().f()\n",
        "import prompts\ndef make():\n    q = prompts\n    def f(c): return q.P\n    return f\nmap_fn = make()",
    ],
)
def test_a_value_in_another_module_of_the_users_own_counts(importing: str) -> None:
    """However it is imported; what the function does not take from that module does not count."""
    before = version(importing, prompts="P = 'a'\nQ = 1")
    assert before == version(importing, prompts="P = 'a'\nQ = 2")
    assert before != version(importing, prompts="P = 'b'\nQ = 1")


def test_an_installed_package_counts_by_name_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade is an edit."""
    from mrengine.mapfn import module_origin

    source = "import msgpack\ndef map_fn(chunk): return msgpack.packb(chunk)\n"
    before = version(source)
    monkeypatch.setattr(module_origin, "_version", lambda top: "99.9")
    module_origin.label.cache_clear()
    try:
        assert version(source) != before
    finally:
        module_origin.label.cache_clear()


def test_file_names_line_numbers_comments_and_annotations_do_not_count() -> None:
    """Moving a function is no edit."""
    here = load("user_map", "def map_fn(chunk):\n    return [chunk for _ in 'ab']\n", "/a/x.py").map_fn
    there = load(
        "user_map", "# a\n\n\ndef map_fn(chunk: str) -> list:\n    # b\n    return [chunk for _ in 'ab']\n", "/b/y.py"
    )
    assert digest(here) == digest(there.map_fn)
    body = "def map_fn(chunk):\n    class A:\n        p = 1\n    return A.p\n"
    assert version(body) == version("\n\n" + body)


THIRD_PARTY = {
    "attr": (
        "import attr\n@attr.s(auto_attribs=True)\nclass A:\n    p: int = 1\n" + BASE.format(use="A()"),
        "import attr\n@attr.s(auto_attribs=True)\nclass A:\n    p: int = 2\n" + BASE.format(use="A()"),
    ),
    "tenacity": (
        "import tenacity as t\n@t.retry(stop=t.stop_after_attempt(2))\ndef h(): return 1\n" + BASE.format(use="h()"),
        "import tenacity as t\n@t.retry(stop=t.stop_after_attempt(3))\ndef h(): return 1\n" + BASE.format(use="h()"),
    ),
    "pandas": (
        "import pandas\nF = pandas.DataFrame({'a': [1, 2]})\n" + BASE.format(use="F"),
        "import pandas\nF = pandas.DataFrame({'a': [1, 3]})\n" + BASE.format(use="F"),
    ),
}


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_values_of_popular_packages_count(package: str) -> None:
    """A data frame, a class of attrs, a retrying function; none of them is a dependency."""
    pytest.importorskip(package)
    before, after = THIRD_PARTY[package]
    assert version(before) == version(before) != version(after)


def test_what_was_counted_by_calling_a_function_does_not_count() -> None:
    """A digest that a call changes would refuse the next resume."""
    pytest.importorskip("tenacity")
    module = load("user_map", THIRD_PARTY["tenacity"][0])
    before = digest(module.map_fn)
    module.h()
    assert digest(module.map_fn) == before


def test_a_function_that_calls_itself_and_values_that_hold_themselves_end() -> None:
    """Every object is entered once."""
    source = "L = []\nL.append(L)\ndef a(n): return map_fn(n)\ndef map_fn(n): return L if n else a(n)\n"
    assert version(source) == version(source)


SAMPLE = """
import re, enum, json, logging, threading, os, string, types, weakref, zoneinfo
from concurrent.futures import ThreadPoolExecutor
import openai
from dataclasses import dataclass, field
from functools import partial
WORDS = {"alpha", "beta", "gamma", "delta", ("x", "y"), frozenset({"p", "q"})}
LOOKUP = {"a": {"b", "c"}, "d": frozenset("efgh")}
LOG = logging.getLogger(__name__)
LOCK = threading.Lock()
CLIENT = openai.OpenAI(api_key="k")
HELD = [ThreadPoolExecutor(2), threading.Semaphore(3), os.environ, weakref.WeakValueDictionary()]
MORE = types.SimpleNamespace(zone=zoneinfo.ZoneInfo("UTC"), page=string.Template("$a"), tags={"r", "s", "t"})
R = re.compile("a|b")
class Colour(enum.Enum):
    RED = "r"
@dataclass(frozen=True)
class Facts:
    name: str
    tags: set = field(default_factory=set)
FACTS = Facts("n", frozenset({"k", "l", "m"}))
def helper(text):
    return [w for w in text if w in {"one", "two", "three"}]
def map_fn(chunk, context, opts={"s": {"u", "v"}}):
    with LOCK:
        LOG.info("x")
        CLIENT.chat(HELD, MORE)
    return helper(chunk.text), WORDS, LOOKUP, R, Colour.RED, FACTS, json.dumps(1), partial(int, base=2)
"""


def test_the_digest_is_equal_over_processes_and_hash_seeds(tmp_path: Path) -> None:
    """Fresh interpreters with other seeds, from source and from bytecode, under another path."""
    program = "import sample\nfrom mrengine.mapfn.digest import digest, parts\nprint(digest(sample.map_fn))"
    seen = set()
    for seed, folder in (("0", "a"), ("1", "a"), ("7", "b")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "sample.py").write_text(SAMPLE)
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(tmp_path / folder), str(ROOT)])}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        seen.add(done.stdout)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import socket\nclient = socket.socket()\nclient.close()\ndef map_fn(chunk): return client", "client"),
        ("import io\nclient = {'a': [io.StringIO()]}\ndef map_fn(chunk): return client", "client['a'][0]"),
        ("def g(): yield\ndef make(gen):\n    return lambda chunk: gen\nmap_fn = make(g())", "gen"),
        (
            "class A: pass\nthing = A(); thing.f = open('/dev/null'); thing.f.close()\ndef map_fn(c): return thing",
            "thing",
        ),
    ],
)
def test_what_cannot_be_digested_is_named(source: str, named: str) -> None:
    """The error says which variable, and asks for map_version."""
    with pytest.raises(ConfigError, match="map_version") as caught:
        version(source)
    assert named in str(caught.value)
    assert caught.value.setting == "map_version"


def test_a_function_has_a_name_and_a_digest() -> None:
    """The name is the module's and the function's, of a partial those of what it calls."""
    map_fn = load("user_map", "def map_fn(chunk): return 1").map_fn
    assert name_of(map_fn) == name_of(functools.partial(map_fn, 1)) == "user_map:map_fn"
    assert len(digest(map_fn)) == 32


def test_functions_of_mrengine_count_by_what_they_were_made_of() -> None:
    """A map function that a factory of an installed package returns differs by its closure."""

    def made(template: str) -> Any:
        from functools import partial

        return partial(print, template)

    assert digest(made("a")) != digest(made("b"))


def test_the_parts_of_a_function_tell_what_was_edited() -> None:
    """The name of the global, the closure's variable, the module's attribute, or its code; equal parts stay equal."""
    source = (
        "import shapes\nPROMPT = {prompt!r}\ndef helper(x): return x + {plus}\n"
        "def make(inner):\n    def map_fn(chunk): return PROMPT, helper(1), inner, shapes.SIDE, {code}\n"
        "    return map_fn\n"
        "map_fn = make({inner})\n"
    )
    before = {"prompt": "a", "plus": 1, "inner": 1, "code": 1}
    changed = {}
    for what, value in {**before, "prompt": "b", "plus": 2, "inner": 2, "code": 2}.items():
        load("shapes", "SIDE = 1")
        was = parts(load("user_map", source.format(**before)).map_fn)
        now = parts(load("user_map", source.format(**{**before, what: value})).map_fn)
        changed[what] = [name for name in was if was[name] != now[name]]
    assert changed == {"prompt": ["PROMPT"], "plus": ["helper"], "inner": ["inner"], "code": ["its code"]}
    was = parts(load("user_map", source.format(**before)).map_fn)
    load("shapes", "SIDE = 2")
    now = parts(load("user_map", source.format(**before)).map_fn)
    assert [name for name in was if was[name] != now[name]] == ["shapes"]
    assert parts(len) == {}
