"""What chunking costs, by kind of text, beside another version: ``python -m bench.chunking_cost --than ../other``.

``--than`` names the root of another version's tree (``git worktree add ../other COMMIT``). Each version runs in a
process of its own, both take turns, text by text, and do the same work. ``ratio``: CPU of this version over that of the
other, by the least of ``--runs`` of each text. ``passes``: over one plain ``encode_ordinary`` pass of tiktoken.
``same cuts``: whether both cut every text at the same places and say the same of the chunks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.chunking import ENCODING
from bench.chunking_cuts import ALL
from bench.chunking_texts import TEXTS
from bench.machine import ROOT, save
from mrengine.chunking.tokens import tokenizer

DEFAULT = (
    *(*TEXTS, "prose wrapped", "prose headed", "clauses", "plain headings", "markdown setext", "markdown lists"),
    *("code typescript", "csv quoted", "log java", "log access", "chat speakers", "yaml stream", "xml lines"),
    *("xml cda", "html", "diff commits", "sql statements", "sql dump", "hl7", "wild contract article"),
    *("wild contract dotted", "wild rfc", "wild man", "wild markdown", "wild rst", "wild html", "wild mysqldump"),
    *("wild code c", "wild de", "wild mixed notes", "clauses in lists"),
    *(f"wild contract {form}" for form in ("section", "bracket", "german", "french", "spanish", "russian", "chinese")),
)
# Runs in the tree that is measured, with its own mrengine. Lines in: a file, a limit, whether only to encode.
_MEASURE = """
import hashlib, json, sys, time
sys.path.insert(0, sys.argv[1])
import mrengine, tiktoken
from mrengine.chunking import safe_chunk
assert mrengine.__file__.startswith(sys.argv[1]), mrengine.__file__
list(safe_chunk("A word. " * 99, target_tokens=50, overlap_tokens=0))
encode = tiktoken.get_encoding("o200k_base").encode_ordinary
print(flush=True)
for line in sys.stdin:
    path, target, plain = json.loads(line)
    text = open(path, newline="").read()
    began = time.process_time()
    if plain:
        encode(text)
        print(json.dumps({"s": time.process_time() - began}), flush=True)
        continue
    chunks = list(safe_chunk(text, target_tokens=target, overlap_tokens=0))
    taken = time.process_time() - began
    more = lambda chunk: (getattr(chunk, "headings", ()), getattr(chunk, "table_header", ""))
    said = [(chunk.start, chunk.end, chunk.tokens, chunk.kind, *more(chunk)) for chunk in chunks]
    cuts = hashlib.sha256(repr(said).encode()).hexdigest()
    print(json.dumps({"s": taken, "chunks": len(chunks), "kind": chunks[0].kind, "cuts": cuts}), flush=True)
"""


@contextmanager
def _version(tree: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that measures the version in ``tree``."""
    tokenizer.load(ENCODING)
    folder = tokenizer.cache_folder()  # tiktoken itself loads the vocabulary from it, too
    variables = os.environ | ({"TIKTOKEN_CACHE_DIR": str(folder)} if folder else {})
    command = [sys.executable, "-c", _MEASURE, str(tree)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables) as process:
        _answer(process)
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the measuring process ended with {process.wait()}")
    return line


def _ask(process: subprocess.Popen[str], *what: object) -> dict[str, Any]:
    assert process.stdin is not None
    print(json.dumps(what), file=process.stdin, flush=True)
    answer: dict[str, Any] = json.loads(_answer(process))
    return answer


def make(name: str, size: int, seed: int) -> str:
    """A text of a kind."""
    if name in TEXTS:
        return TEXTS[name](size, seed)
    return ALL[name](random.Random(seed), size).text[:size]


def measure(
    name: str, target: int, paths: list[Path], runs: int, versions: list[subprocess.Popen[str]]
) -> dict[str, Any]:
    """The row of one kind of text and one limit: the sums of the least over the texts."""
    least = [0.0] * (len(versions) + 1)
    same, chunks, kinds = True, 0, []
    samples = []
    for path in paths:
        _ask(versions[0], str(path), target, True)
        times: list[list[float]] = [[] for _ in least]
        for _ in range(runs):
            answers = [_ask(version, str(path), target, False) for version in versions]
            plain = _ask(versions[0], str(path), target, True)
            for taken, answer in zip(times, (*answers, plain), strict=True):
                taken.append(answer["s"])
        same &= len({answer["cuts"] for answer in answers}) == 1
        chunks += answers[0]["chunks"]
        kinds = [answer["kind"] for answer in answers]
        least = [sum(pair) for pair in zip(least, map(min, times), strict=True)]
        samples.append(times)
    ours, plain_s = least[0], least[-1]
    row = {"text": name, "target": target, "kind": kinds[0], "chunks": chunks}
    row |= {"us a chunk": round(1e6 * ours / chunks, 1), "passes": round(ours / plain_s, 3)}
    if len(versions) > 1:
        row |= {"ratio": round(ours / least[1], 3), "kind there": kinds[1], "same cuts": same}
    return row | {"samples": samples}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="*", default=list(DEFAULT), help="names of texts, or how they begin")
    parser.add_argument("--targets", nargs="*", type=int, default=[512])
    parser.add_argument("--than", type=Path, help="the tree of another version")
    parser.add_argument("--size", type=int, default=500_000, help="characters of each text")
    parser.add_argument("--seeds", type=int, default=2, help="texts of each kind")
    parser.add_argument("--runs", type=int, default=4, help="of each text")
    parser.add_argument("--save", action="store_true", help="write the figures to bench/results")
    options = parser.parse_args()
    known = [*TEXTS, *ALL]
    names = [name for name in known if name in options.texts] or [
        name for name in known if any(name.startswith(given) for given in options.texts)
    ]
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trees = [ROOT.resolve(), *([options.than.resolve()] if options.than else [])]
        versions = [stack.enter_context(_version(tree)) for tree in trees]
        for name in names:
            paths = [folder / f"{seed}.txt" for seed in range(options.seeds)]
            for seed, path in enumerate(paths):
                path.write_text(make(name, options.size, seed), newline="")
            for target in options.targets:
                row = measure(name, target, paths, options.runs, versions)
                print("  ".join(f"{key} {value}" for key, value in row.items() if key != "samples"), flush=True)
                rows.append(row)
    if options.save:
        settings = {name: getattr(options, name) for name in ("size", "seeds", "runs")}
        print(f"written to {save('chunking_cost', rows, packages=('tiktoken', 'numpy', 'bpe-openai'), **settings)}")


if __name__ == "__main__":
    main()
