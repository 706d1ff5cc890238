"""Which kind of text is which."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mrengine.chunking import detect as detection
from mrengine.chunking import safe_chunk
from mrengine.chunking.detect import _KINDS, detect
from mrengine.errors import ChunkingError
from mrengine.log.format import chunk_rows
from tests.chunking.texts import assert_promises

_TEXTS = {
    "prose": [
        "A plain sentence. Another one.\n\nAnd a paragraph - with a dash, and (brackets).\n",
        "[1] A. Author, A title of some length, 1999.\n[2] B. Author, Another title.\n",
        "今天我们讨论了一个重要的问题。他们认为需要更多的数据。\n明天再说。",
        "Dear Sir,\n\n* * *\n\nI write to you about the matter; it is urgent.\nYours\n",
        "word",
        "1. First, we do this.\nThen the text goes on for a while.\nAnd on it goes.\nAnd on.\n",
    ],
    "markdown": [
        "# Title\n\nSome text with a [link](https://example.org).\n\n- one\n- two\n",
        "Text.\n\n```python\nx = 1\n```\n\nMore text.\n\n## Section\n\nEnd.\n",
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n",
    ],
    "code": [
        "import os\n\n\ndef main():\n    # a comment\n    return os.getcwd()\n",
        "#include <stdio.h>\n\nint main(void) {\n    puts(\"hi\");\n    return 0;\n}\n",
        "export function add(a, b) {\n  const sum = a + b;\n  return sum;\n}\n",
        "#!/bin/sh\nset -e\nls | wc -l\n",
    ],
    "json": [
        json.dumps({"a": [1, 2]}),
        json.dumps([{"a": 1}], indent=2),
        '{"id": 1}\n{"id": 2}\n',
        "\ufeff[1, 2, 3]",
        "  [\n  true,\n  false\n]",
        '["one", "two"]\n["three", "four"]\n',
    ],
    "dicom": [
        "(0008, 0060) Modality                            CS: 'CT'\n(0010, 0010) Patient's Name            PN: 'A'\n",
        "Dataset.file_meta -------------------------------\n(0002,0010) Transfer Syntax UID  UI: Explicit\n",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in _TEXTS.items() for text in texts])
def test_the_kind_is_found_from_the_text(kind: str, text: str) -> None:
    """By its beginning alone."""
    assert detect(text) == kind


_MORE = {
    "markdown": [
        "Copyright 2020, [Some Company](https://www.example.org/).\nAll rights reserved.\n\nUse it as you wish.\n",
        "Logic that is specific for `client.complete`.\n\nIncludes:\n\n- A bridge from requests to answers\n",
        "Palettes\n\n+------+-------+\n| Name | Value |\n+======+=======+\n| HOT  | 1     |\n+------+-------+\n",
        "<!---\nThanks for your contribution!\n\nPlease read the guide first.\n-->\n\nWhat does it change?\n",
        "<!-- made by a tool -->\n|Operator|Note|\n|--------|----|\n" + "|ai.onnx:Abs||\n" * 60,
        "---\nname: Request for help\nabout: Guidance\n---\n\nPlease ask our forum first, and be kind to each other.\n",
        "## Library v2\n\n### Notice\n<pre>\n" + "Words of a licence\nwhich nobody reads.\n" * 90,
        ".. include:: ../../README.rst\n",
        "The extension\n=============\n\nIt exists for tests only.\n",
        "# The Library\n\nThanks for downloading it, we are so excited.\n",
        "Please see our [guide](https://example.org/guide) before you write.\n",
        "* [ ]  Run all tests\n* [x]  Tag it\n* [ ]  Announce it:\n" + "    first here\n    then there\n",
    ],
    "code": [
        '"""\n    A module\n    ~~~~~~~~\n\n    Of *styles*: `one`, **two**.\n"""\n\nfrom a import b\n\n\n'
        'class Style(b):\n    """\n    A style has a few words.\n    """\n' + '    Token.X:      "#d8dee9",\n' * 9,
        "/* Words of a licence of all.\n" * 30 + "*/\n#ifndef A_H\n#define A_H\nint f(int);\n#endif\n",
        "# options of a module\n\nfirst = 0\n\n# another one\n\nsecond = 1\n",
    ],
    "chat": [
        "user: What is it, and why?\nassistant: It is a word of the language.\nsystem: Be short with the user.\n" * 9,
        "Agent (10:05): How may I help you today?\nCustomer (10:06): It does not work at all.\n" * 9,
    ],
    "log": [
        ('{"level": "info"}\n2024-05-01 12:00:00,1 INFO payload:\n{\n' + '  "a": "b",\n' * 12 + "}\n") * 9,
        "info: App.Worker[0]\n      Some words of it\nfail: App.Worker[1]\n      Other words, too\n" * 9,
    ],
    "yaml": [
        "indexes:\n\n# GENERATED\n\n- kind: A\n  ancestor: yes\n  properties:\n  - name: date\n    direction: desc\n",
        "server:\n  plugins:\t\track\n  socket:\t\t127.0.0.1:3031\n  async:\t\t10\n",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in _MORE.items() for text in texts])
def test_the_kind_of_short_and_of_commented_texts(kind: str, text: str) -> None:
    """Few lines that tell much, or many that tell nothing."""
    assert detect(text) == kind


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("LICENSE.md", "Permission is hereby granted, free of charge.\n", "markdown"),
        ("words.py", "words of a comment\n", "code"),
        ("empty.yaml", "word\n", "yaml"),
        ("fonts.conf", '<?xml version="1.0"?>\n<a>\n<b>1</b>\n<b>2</b>\n<b>3</b>\n</a>\n', "xml"),
        ("some.conf", "/usr/local/lib\n", "code"),
        ("table.csv", "one\ntwo\n", "csv"),
        ("console.log", '{"a": 1}\n{"a": 2}\n', "json"),
        ("terminal.log", "Unpacking\nSetting up\n", "log"),
        ("notes.txt", "Words.\n", "prose"),
    ],
)
def test_a_suffix_decides_where_the_text_does_not(tmp_path: Path, name: str, text: str, kind: str) -> None:
    """Of a path, or of a document's id; a text that is surely something else is that."""
    path = tmp_path / name
    path.write_text(text)
    for target in (3, 6000, None):
        for document, said in ((path, "document"), (text, f"folder/{name}")):
            chunks = safe_chunk(document, target_tokens=target, overlap_tokens=0, document_id=said)
            assert {chunk.kind for chunk in chunks} == {kind}


def test_python_source_is_code() -> None:
    """Comments with a hash are no headings."""
    for name in ("decoder", "encoder", "scanner"):
        path = Path(json.__file__).with_name(name + ".py")
        assert detect(path.read_text()) == "code"


@pytest.mark.parametrize("kind", [*_KINDS])
def test_a_named_splitter_takes_any_text(kind: str) -> None:
    """A wrong name costs good places to cut, nothing else."""
    for text in (text for texts in _TEXTS.values() for text in texts):
        long = text * 60
        chunks = list(safe_chunk(long, target_tokens=70, overlap_tokens=20, splitter=kind))
        assert_promises(long, chunks, 70)
        assert {chunk.kind for chunk in chunks} == {kind}


def test_a_callable_gives_the_preferred_cuts() -> None:
    """The last preferred offset within the limit is taken; limit and tiling hold where there is none."""
    text = "".join(f"== {number} ==\n" + "some words here. " * (number % 40) for number in range(80))
    offsets = [place for place in range(len(text)) if text.startswith("== ", place)]
    chunks = list(safe_chunk(text, target_tokens=400, overlap_tokens=0, splitter=lambda whole: offsets))
    assert_promises(text, chunks, 400)
    assert {chunk.start for chunk in chunks} <= set(offsets)
    assert {chunk.kind for chunk in chunks} == {"custom"}
    assert_promises(
        text, list(safe_chunk(text, target_tokens=30, overlap_tokens=5, splitter=lambda whole: offsets)), 30
    )


@pytest.mark.parametrize("answer", [None, "12", [1.5], [-1], [10_000], ["a"]])
def test_a_callable_that_returns_no_offsets_is_a_chunking_error(answer: object) -> None:
    """It says what came back, not what the text was."""
    with pytest.raises(ChunkingError, match="splitter"):
        list(safe_chunk("word " * 100, target_tokens=20, overlap_tokens=0, splitter=lambda text: answer))


@pytest.mark.parametrize("answer", [str.splitlines, str.split, lambda text: text, lambda text: [(0, 5), (5, 9)]])
def test_a_callable_that_returns_pieces_is_reported_what_to_return(answer: Any) -> None:
    """Of strings or spans: offsets, not pieces; the text is not shown."""
    with pytest.raises(ChunkingError, match="return offsets, not pieces") as caught:
        list(safe_chunk("secret words " * 100, target_tokens=20, overlap_tokens=0, splitter=answer))
    assert "secret" not in str(caught.value)


class _Three:
    """An int for everything that counts, and without an order."""

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "answer", [[80, 20, 20, 40], (20, 40, 80), {20, 40, 80}, iter([20, 40, 80]), {20: "a", 40: "b", 80: "c"}]
)
def test_offsets_of_any_shape_are_the_same_cuts(answer: object) -> None:
    """Any order, twice, from a generator: a preferred cut is a preferred cut."""
    text = "word " * 20
    chunks = list(safe_chunk(text, target_tokens=5, overlap_tokens=0, splitter=lambda whole: answer))
    assert_promises(text, chunks, 5)
    assert {20, 40, 80} <= {chunk.start for chunk in chunks}


def test_what_has_an_index_is_an_offset() -> None:
    """Of numpy or one's own make."""
    chunks = list(safe_chunk("one two three", target_tokens=1, overlap_tokens=0, splitter=lambda text: [_Three()]))
    assert chunks[0].end == 3


@pytest.mark.parametrize("make", [str, list, iter], ids=["str", "list", "iterator"])
def test_a_callable_is_asked_whatever_holds_the_text(make: Callable[[str], object]) -> None:
    """A short str, too: what it raises passes unchanged, and is not hidden until a document is long enough."""

    def broken(text: str) -> list[int]:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        list(safe_chunk(make("short"), splitter=broken))


def test_a_text_in_one_chunk_is_of_the_kind_of_its_beginning() -> None:
    """As it is where the text comes in pieces, of which the first alone is looked at."""
    text = "import os\n\n\ndef f():\n    return os\n" * 4000 + "Plain words of some length, as in a letter.\n" * 9000
    whole = next(safe_chunk(text, target_tokens=len(text)))
    assert next(safe_chunk(iter([text]), target_tokens=len(text))) == whole


@pytest.mark.parametrize("mark", ["```", "~~~", "   ```"])
def test_code_in_fences_of_any_make_leaves_markdown_markdown(mark: str) -> None:
    """Tildes and indentation, too."""
    block = f"{mark}python\nimport os\nimport sys\n\ndef f():\n    return os.name\n{mark}\n\n"
    assert detect(("## A heading\n\nSome words about [it](http://a.b).\n\n" + block) * 20) == "markdown"


_WORDS = """the patient in at 12 3.5 has a return for if Select from GO Index diff print import let note Dr name INSERT
    into you I def class 2024-01-01 12:03 12/3 Jan ERROR info WARN http Subject From To wrote key value end begin über
    async await TITLE var function public MSH PID Note end"""
_CODE_WORDS = (
    "MSH|^~ FHS commit Index: diff -- --- * # #! $x a=b x=1 (a) (b [c] {d} <p> </p> key: Name: Go GO ; 1732780800 "
    "2024-01-01T12:00:00Z http://a.b @a rem REM dnl // .. self.x f(x): f(x) case, if: else: \\d Äpfel ² é — “q” von: "
    "\u2028 \x0b \x0c \x85 `a` ](b **c** @@ --> /*"
)


def test_a_text_of_one_line_is_known_at_a_glance_for_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the whole search finds it; words of all kinds, in any order."""
    random, of_line = Random(20), detection._of_line
    found: dict[str, int] = {}
    monkeypatch.setattr(detection, "_of_line", lambda _text: "")
    words = [*_WORDS.split(), *_CODE_WORDS.split(" ")]
    marks = [*[" "] * 12, ", ", ". ", " (", ") ", "-", "/", "'", " - ", " + ", ":", "% ", ": ", "; ", " = ", "=", "\t"]
    for _ in range(4000):
        text = "".join(random.choice(words) + random.choice(marks) for _ in range(random.choice([1, 2, 3, 8, 40])))
        text = text.strip() + random.choice(["", ".", ". ", " ", "?\n", "\n", ";", ":"])
        kind = of_line(text)
        found[kind] = found.get(kind, 0) + 1
        assert not kind or kind == detect(text), text
    assert min(found[kind] for kind in ("prose", "yaml", "")) > 50


def test_every_kind_has_a_number_in_logs_and_in_their_description() -> None:
    """A kind without one is "other" in every job, and nothing else would show it."""
    assert {*_KINDS, "custom"} == set(chunk_rows.KINDS)
    page = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text()
    assert [
        kind for number, kind in enumerate(chunk_rows.KINDS) if f"{number} {kind}" not in page.replace("\n", " ")
    ] == []
