"""Lines of the package, and of what serves the abilities it had at a commit: ``python docs/size.py`` (needs git).

``LATER`` names what came with abilities that the package did not have then; what is not named there counts as old.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMIT = "87e2012"
LATER = {
    "kinds of text": r"chunking/(fitted|sample)|sources/filetypes"
    r"|chunking/splitters/(?!__init__|prose|markdown\.|code\.|json|dicom|custom|lines)",
    "edited documents": r"chunking/guid|host/(edited|job_diff)|log/view/lost_documents",
    "sources": r"sources/(?!read|spool|__init__|filetypes|formats/dicom_file)",
    "outputs, tables": r"outputs/|html_views|log/(view/results|format/document_facts|view/chunk_facts)",
    "summaries, search": r"summaries/|selection|mcp_server|providers/http/streams"
    r"|worker/shown_answer|host/stored_chunks",
    "typed results": r"log/format/instances",
    "batches": r"(host|worker|log/\w+|providers|testing)/(\w*batch|round_batches)",
    "prompt caches, shared answers": r"(log/shared_answers|worker/owners|budget/warm|providers/call/prefixes"
    r"|testing/prompt_cache)",
    "prices, estimates, pilots": r"providers/(models/catalog|call/counting)|host/(estimate|pilot|sampling)",
    "shown errors and thoughts": r"providers/call/(shown_prose|thoughts)",
    "report, profiling, telemetry": r"(report|profiling|telemetry)/|host/stage_times|progress/watching",
    "streams": r"host/(row_stream|chunk_limits|document_stream|intake|prepared)",
    "Ray, Redis": r"backends/ray/|budget/redis",
    "commands for these": r"cli/(answer|mcp|report|summary|model)_commands|cli/(terms|job_views)",
    "odd servers, test contexts": r"testing/(odd|context)",
}

# Lines of old modules that were joined to new ones, and of new ones that were joined to old: they count as they would
# alone. By the module that they were.
JOINED = {
    "chunking/text_blocks": ("sources/opening.py", 77),
    "host/documents": ("host/intake.py", 93),
    "providers/call/usages": ("providers/call/counting.py", 38),
    "progress/log_lines": ("progress/watching.py", 25),
    "host/stage_times": ("host/run_summary.py", 42),
    "host/stored_chunks": ("host/stored.py", 38),
    "worker/owners": ("worker/stored_answers.py", 40),
    "worker/shown_answer": ("providers/call/answers.py", 36),
}


def main() -> None:
    """Print both tables."""
    then, now, later = Counter[str](), Counter[str](), Counter[str]()
    for path, lines in _then():
        then[_room(path)] += lines
    for path, lines in _now():
        ability = _ability(path)
        if ability is None:
            now[_room(path)] += lines
        else:
            later[ability] += lines
    for module, (place, lines) in JOINED.items():
        ability, moved = (_ability(place), lines) if _ability(module) is None else (_ability(module), -lines)
        now[_room(place)] += moved
        later[str(ability)] -= moved
    print(f"{'':<32}{COMMIT:>10}{'today':>10}")
    for room in sorted({*then, *now}):
        print(f"{room:<32}{then[room]:>10,}{now[room]:>10,}")
    print(f"{'all, without new abilities':<32}{then.total():>10,}{now.total():>10,}\n")
    for ability in LATER:
        print(f"{ability:<42}{later[ability]:>10,}")
    print(f"{'new abilities':<42}{later.total():>10,}")


def _ability(path: str) -> str | None:
    return next((name for name, pattern in LATER.items() if re.match(pattern, path)), None)


def _room(path: str) -> str:
    return path.partition("/")[0] if "/" in path else "(modules of their own)"


def _now() -> list[tuple[str, int]]:
    package = ROOT / "mrengine"
    return [(path.relative_to(package).as_posix(), path.read_text().count("\n")) for path in package.rglob("*.py")]


def _then() -> list[tuple[str, int]]:
    names = _git("ls-tree", "-r", "--name-only", COMMIT, "mrengine/").split()
    return [
        (name.removeprefix("mrengine/"), _git("show", f"{COMMIT}:{name}").count("\n"))
        for name in names
        if name.endswith(".py")
    ]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
