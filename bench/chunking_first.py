"""The first megabyte of a process: ``python -m bench.chunking_first``.

``bench.chunking`` measures texts that are new to a process which has cut others. Here each is the first that a fresh
process cuts, after a call with one word: ``ratio`` is its CPU time over one plain ``encode_ordinary`` pass, the median
of ``--repeats`` processes. ``first_call_s`` is the CPU time of the call with one word, in seconds: the tokenizer's and
numpy's loading.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from bench.chunking_texts import TEXTS
from bench.machine import save
from mrengine.chunking import safe_chunk
from mrengine.chunking.tokens import tokenizer

PACKAGES = ("tiktoken", "numpy", "bpe-openai")


def child(name: str, size: int, target: int) -> dict[str, float]:
    """What this process, which must be a fresh one, takes."""
    text = TEXTS[name](size, 1)
    spent = [time.process_time()]

    def lap() -> float:
        spent.append(time.process_time())
        return spent[-1] - spent[-2]

    list(safe_chunk("hello", target_tokens=target, overlap_tokens=0))
    first_call_s = lap()
    encode = tokenizer.load().encode_ordinary
    plain_s = min((encode(text), lap())[1] for _ in range(2))
    list(safe_chunk(text, target_tokens=target, overlap_tokens=0))
    return {"ratio": lap() / plain_s, "first_call_s": first_call_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000, help="characters of each text")
    parser.add_argument("--target", type=int, default=6000)
    parser.add_argument("--repeats", type=int, default=5, help="processes for each kind of text")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.size, options.target)))
        return
    again = [sys.executable, "-m", "bench.chunking_first", "--size", str(options.size), "--target", str(options.target)]
    rows = []
    for name in TEXTS:
        told = [
            json.loads(subprocess.run([*again, "--child", name], check=True, capture_output=True).stdout)
            for _ in range(options.repeats)
        ]
        medians = {key: round(statistics.median(one[key] for one in told), 3) for key in told[0]}
        rows.append({"text": name, **medians, "samples": told})
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    settings = {"size": options.size, "target": options.target, "repeats": options.repeats}
    print(f"written to {save('chunking_first', rows, packages=PACKAGES, **settings)}")


if __name__ == "__main__":
    main()
