"""Texts for the tests of the chunker: nasty ones, and hypothesis strategies that make nasty ones."""

from __future__ import annotations

import base64
import random

from hypothesis import strategies as st

from mrengine.chunking.tokens import tokenizer
from mrengine.records import Chunk

# What chunkers are known to stumble over, as pieces that hypothesis puts together.
PIECES = (
    *("a", "A", "The ", "word ", "word. ", "Dr. ", "don't", "'s", "12345", "3.14", "x1", "-", "/", "//", "\n/", "\n"),
    *("\r\n", "\n\n", "\r", " ", "  ", "\t", "\xa0", "\u3000", "\u2028", "\x1c", "\x85", "\0", "\ufeff"),
    *("<|endoftext|>", "<|fim_prefix|>", "\ud83d", "\ude00", "\ud83d\ude00", "😀", "👩‍👩‍👧‍👦", "🇩🇪"),
    *("é", "e\u0301", "\u0301", "한국어", "中文", "。", "，", "日本語です。", "“quoted”", "�", "ǅ", "ʰ", "ß", "İ", "٣"),
    *("```\n", "```python\n", "# Title\n", "- item\n", "def f():\n    return 1\n", "    indented\n", "½"),
    *(
        '{"a": "b"}',
        '{"',
        '"},{"',
        '"',
        "\\",
        '\\"',
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "(0010,0010) Patient's Name  PN: 'X'\n",
    ),
    *(
        '<a b="c">',
        "</a>",
        "<br/>",
        "<!--",
        "-->",
        "<![CDATA[",
        "<h1>t</h1>",
        "<tr><th>",
        "<script>",
        "<p>",
        "a: |\n",
        "---\n",
    ),
    *(
        "2024-01-01 12:00:00 x\n",
        "    at a.b(C)\n",
        'a,"b\n',
        "1,2,3\n",
        "MSH|^~\\&|\r",
        "OBX|1\r",
        "@@ -1 +1 @@\n",
        "--- a\n",
    ),
    *(
        "$$",
        "INSERT INTO t VALUES\n(1),\n",
        "COPY t FROM stdin;\n",
        "Alice: hi\n",
        "00:00:01,000 --> 00:00:02,000\n",
        "From: a\n",
    ),
)

nasty_text = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.text(max_size=8),
        st.builds(lambda piece, n: piece * n, st.sampled_from(PIECES), st.integers(1, 60)),
    ),
    max_size=40,
).map("".join)


def nasty_lengths(size: int = 1_000_000) -> dict[str, str]:
    """One text of ``size`` characters for each way to be nasty at length."""
    chance = random.Random(3)
    ideographs = "".join(chr(chance.randint(0x4E00, 0x9FA5)) for _ in range(2000))
    return {
        "one letter": "a" * size,
        "one capital": "A" * size,
        "base64": base64.b64encode(chance.randbytes(size * 3 // 4)).decode(),
        "newlines": "\n" * size,
        "spaces": " " * size,
        "tabs": "\t" * size,
        "emoji with joiners": "👨‍👩‍👧‍👦" * (size // 7),
        "lone surrogates": "\ud83d" * size,
        "surrogate pairs": "\ud83d\ude00" * (size // 2),
        "NULs": "\0" * size,
        "CRLF": "\r\n" * (size // 2),
        "deep JSON arrays": "[" * (size // 10) + "]" * (size // 10) + " " * (size * 8 // 10),
        "deep JSON objects": '{"a":' * (size // 10) + "1" + "}" * (size // 10),
        "special tokens": "<|endoftext|>" * (size // 13),
        "Chinese without a space": ideographs * (size // 2000),
        "combining marks": "a" + "\u0301" * size,
        "flags": "🇩🇪" * (size // 2),
        "digits": "1234567" * (size // 7),
        "quotes": '"' * size,
        "backslashes": "\\" * size,
        "backticks": "`" * size,
        "dots": "." * size,
        "quoted dots": ("." + '"' * 500) * (size // 501),
        "long indents": (" " * 1000 + "a\n") * (size // 1000),
    }


def recount(text: str, encoding: str = "o200k_base") -> int:
    """tiktoken's own count, in one call."""
    return len(tokenizer.load(encoding).encode_ordinary(text))


def assert_promises(document: str, chunks: list[Chunk], target: int, encoding: str = "o200k_base") -> None:
    """Tiling, limit and exactness, of all chunks of a document."""
    position = 0
    for number, chunk in enumerate(chunks):
        assert chunk.id == number
        assert chunk.start == position < chunk.end
        assert chunk.text == document[chunk.start - chunk.overlap : chunk.end]
        assert chunk.tokens == recount(chunk.text, encoding)
        assert chunk.tokens <= target
        position = chunk.end
    assert position == len(document)
