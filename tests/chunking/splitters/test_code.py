"""Code is cut between functions and blocks, as long as chunks stay full."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import pytest

from mrengine.chunking import safe_chunk
from mrengine.chunking.splitters.code import Code
from tests.chunking.texts import assert_promises, recount


def _library() -> str:
    names = (
        "argparse",
        "ast",
        "calendar",
        "copy",
        "csv",
        "dis",
        "enum",
        "fractions",
        "functools",
        "heapq",
        "shutil",
        "textwrap",
    )
    return "".join((Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text("utf-8") for name in names)


def _function(name: str, lines: int) -> str:
    return f"def {name}(x):\n" + "".join(f"    x = step_{number}(x)\n\n" for number in range(lines)) + "    return x\n"


@pytest.mark.parametrize(("target", "least"), [(6000, 0.94), (512, 0.85)])
def test_library_code_is_cut_at_lines_and_chunks_are_full(target: int, least: float) -> None:
    """Real source files."""
    text = _library()
    chunks = list(safe_chunk(text, target_tokens=target, overlap_tokens=0))
    assert_promises(text, chunks, target)
    assert {chunk.kind for chunk in chunks} == {"code"}
    assert all(chunk.text.endswith("\n") for chunk in chunks)
    assert sum(chunk.tokens for chunk in chunks[:-1]) / (len(chunks) - 1) / target >= least


def test_functions_stay_whole_where_the_fill_affords_it() -> None:
    """Functions of a tenth of a chunk: each chunk begins with one."""
    text = "\n\n".join(_function(f"function_{number}", 40) for number in range(60))
    assert 200 < recount(_function("function_1", 40)) < 600
    chunks = list(safe_chunk(text, target_tokens=4000, overlap_tokens=0))
    assert_promises(text, chunks, 4000)
    for chunk in chunks:
        ast.parse(chunk.text)


def test_a_function_larger_than_a_chunk_is_cut_at_its_blank_lines() -> None:
    """It cannot be whole."""
    text = _function("large", 400)
    chunks = list(safe_chunk(text, target_tokens=300, overlap_tokens=0, splitter="code"))
    assert_promises(text, chunks, 300)
    assert all(chunk.text.endswith("\n\n") for chunk in chunks[:-1])


def test_the_outermost_block_is_preferred_and_closers_are_not() -> None:
    """Column 0 after a blank line is best; a brace or an ``else`` belongs to the block above."""
    text = "int f() {\n    a();\n\n    b();\n}\n\nint g() {\n    if (x) {\n        c();\n    }\n    else d();\n}\n"
    found = Code(100).boundaries(text, 0, len(text))
    assert [text[place:].split("\n", 1)[0].strip() for place, _, _ in found] == [
        "a();",
        "b();",
        "int g() {",
        "if (x) {",
        "c();",
    ]
    assert min(found, key=lambda boundary: boundary[1])[0] == text.index("int g")


def test_decorators_comments_and_doc_strings_stay_with_their_function() -> None:
    """No boundary lies between them and the function, nor between a doc string and what it tells of."""
    text = (
        'x = 1\n\n# about f\n@cached\ndef f():\n    """What it does.\n\n    More.\n    """\n    a = 1\n\n    return a\n'
    )
    found = Code(100).boundaries(text, 0, len(text))
    outer = [text[place:].split("\n", 1)[0].strip() for place, level, _ in found if level < 300]
    assert outer == ["# about f", "return a"]


def test_an_overlap_is_whole_lines() -> None:
    """It begins where a line begins."""
    text = _library()
    for chunk in list(safe_chunk(text, target_tokens=700, overlap_tokens=90))[1:]:
        begin = chunk.start - chunk.overlap
        assert text[begin - 1] == "\n"
        assert recount(chunk.text[: chunk.overlap]) <= 90


def test_a_class_behind_one_that_is_only_a_doc_string_is_a_unit() -> None:
    """What follows a doc string at its own depth belongs to it, what lies farther out does not."""
    text = "import a\n\n" + "".join(f'class C{n}(Base):\n    """Deprecated node."""\n\n' for n in range(9))
    code = Code(512)
    code.see(text, 0)
    begins = {text[offset : offset + 5] for offset, _, _ in code.boundaries(text, 0, len(text) - 1)}
    assert begins == {"class"}
    text = '\ndef f():\n    """Said."""\n    x = 1\n    y = 2\n'
    found = [text[offset:].split()[0] for offset, _, _ in code.boundaries(text, 0, len(text) - 1)]
    assert found == ["def", "y"]
