"""Chunkers side by side on the same texts, in one process: ``python -m bench.chunking``.

``ratio`` is CPU time over one plain ``encode_ordinary`` pass of tiktoken over the same text, the least of
``--repeats`` texts, each new to the tool (some remember counts). ``cuts in … that fit`` are cuts inside what would have
fitted into a chunk. A peer that is not installed is said to be missing:
``pip install chonkie semchunk langchain-text-splitters semantic-text-splitter llama-index-core``.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

from bench.chunking_texts import TEXTS
from bench.machine import save
from mrengine.chunking import safe_chunk
from mrengine.chunking.tokens import tokenizer

ENCODING = "o200k_base"
PACKAGES = (
    *("tiktoken", "numpy", "bpe-openai", "chonkie", "semchunk"),
    *("langchain-text-splitters", "semantic-text-splitter", "llama-index-core"),
)
Cut = Callable[[str], list[str]]


def ours(target: int) -> Cut:
    return lambda text: [chunk.text for chunk in safe_chunk(text, target_tokens=target, overlap_tokens=0)]


def chonkie(target: int) -> Cut:
    from chonkie import RecursiveChunker

    chunker = RecursiveChunker(tokenizer=tokenizer.load(ENCODING), chunk_size=target)
    return lambda text: [chunk.text for chunk in chunker.chunk(text)]


def semchunk(target: int) -> Cut:
    from semchunk import chunkerify

    chunker: Any = chunkerify(tokenizer.load(ENCODING), target)
    return lambda text: list(chunker(text))


def langchain(target: int) -> Cut:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter.from_tiktoken_encoder(
        encoding_name=ENCODING, chunk_size=target, chunk_overlap=0, disallowed_special=()
    )
    return splitter.split_text


def semantic(target: int) -> Cut:
    from semantic_text_splitter import TextSplitter

    splitter = TextSplitter.from_tiktoken_model("gpt-4o", target)
    return lambda text: list(splitter.chunks(text))


def llama(target: int) -> Cut:
    from llama_index.core.node_parser import SentenceSplitter

    encode = tokenizer.load(ENCODING).encode_ordinary
    return SentenceSplitter(chunk_size=target, chunk_overlap=0, tokenizer=encode).split_text


TOOLS: dict[str, Callable[[int], Cut]] = {
    "mrengine": ours,
    "chonkie": chonkie,
    "semchunk": semchunk,
    "langchain": langchain,
    "semantic-text-splitter": semantic,
    "llama-index": llama,
}


def measure(name: str, texts: list[str], target: int, tools: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each tool that is installed. Every text is new to it: some remember what they counted before."""
    encode = tokenizer.load(ENCODING).encode_ordinary
    for tool in tools:
        row = {"text": name, "target": target, "tool": tool}
        try:
            TOOLS[tool](target)(texts[0])  # imports and caches warm
        except ImportError as error:
            yield {**row, "missing": error.name}
            continue
        try:
            ratios, pieces = [], []
            for text in texts[1:]:
                cut = TOOLS[tool](target)
                plain_s, _ = _timed(encode, text)
                taken_s, pieces = _timed(cut, text)
                ratios.append(taken_s / min(plain_s, _timed(encode, text)[0]))
        except Exception as error:  # noqa: BLE001 - a peer's own failure is a result
            yield {**row, "raised": type(error).__name__}
            continue
        quality = judge(name, texts[-1], pieces, target, encode)
        yield {
            **row,
            "ratio": round(min(ratios), 3),
            "median": round(statistics.median(ratios), 3),
            **quality,
            "samples": ratios,
        }


def judge(name: str, text: str, pieces: list[str], target: int, encode: Callable[[str], list[int]]) -> dict[str, Any]:
    """The quality of the chunks: limits kept, text lost, fill, and units torn."""
    counts = [len(encode(piece)) for piece in pieces]
    fill = sum(counts[:-1]) / max(1, len(counts) - 1) / target
    row = {"chunks": len(pieces), "over": sum(count > target for count in counts), "fill": round(fill, 3)}
    row["lossless"] = "".join(pieces) == text
    cuts = list(_cuts(text, pieces))
    row["torn words"] = sum(text[cut - 1 : cut + 1].isalnum() and text[cut - 1 : cut + 1].isascii() for cut in cuts)
    for what, spans in _wholes(name, text).items():
        torn = ((a, b, cut) for a, b in spans if (cut := _cut_in(cuts, a, b)) is not None and b - a < 12 * target)
        row[f"cuts in {what} that fit"] = len({cut for a, b, cut in torn if len(encode(text[a:b])) <= target})
    return row


def _cuts(text: str, pieces: list[str]) -> Iterator[int]:
    """Where the pieces end in the text; a tool that drops blanks is followed as well as it can be."""
    position = 0
    for piece in pieces[:-1]:
        found = text.find(piece, position)
        position = (found if found >= 0 else position) + len(piece)
        yield position


def _cut_in(cuts: list[int], a: int, b: int) -> int | None:
    index = bisect_right(cuts, a)
    return cuts[index] if index < len(cuts) and cuts[index] < b else None


def _wholes(name: str, text: str) -> dict[str, list[tuple[int, int]]]:
    """The spans of a text that should stay whole."""
    if name == "markdown":
        return {"fences": [match.span() for match in re.finditer(r"(?ms)^```\w+\n.*?^```\n", text)]}
    if not name.startswith("json"):
        return {}
    objects, strings, opened = [], [], []
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}]', text):
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}":
            objects.append((opened.pop(), match.end()))
        else:
            strings.append(match.span())
    return {"objects": objects, "strings": strings}


def _timed(work: Callable[[str], Any], text: str) -> tuple[float, Any]:
    began = time.process_time()
    done = work(text)
    return time.process_time() - began, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="*", default=list(TEXTS), choices=list(TEXTS))
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--targets", nargs="*", type=int, default=[6000, 512])
    parser.add_argument("--size", type=int, default=1_000_000, help="characters of each text")
    parser.add_argument("--repeats", type=int, default=3, help="texts of each kind")
    options = parser.parse_args()
    folder = tokenizer.cache_folder()
    tokenizer.load(ENCODING)
    if folder:
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(folder))  # peers load the vocabulary by themselves
    rows = []
    for name in options.texts:
        texts = [TEXTS[name](options.size, seed) for seed in range(options.repeats + 1)]
        for target in options.targets:
            for row in measure(name, texts, target, options.tools):
                print("  ".join(f"{key} {value}" for key, value in row.items() if key != "samples"), flush=True)
                rows.append(row)
    path = save("chunking", rows, packages=PACKAGES, size=options.size, repeats=options.repeats, encoding=ENCODING)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
