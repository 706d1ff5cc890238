"""The benchmarks: ``python -m bench COMMAND``. Results go to bench/results, with machine, load and versions."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import components, load, pipeline, tables
from bench.faults import command as faults
from bench.page import command as page

CHUNKERS = ("mrengine", "chonkie", "semchunk", "langchain", "llama-index")
# What ``compare`` runs for each word: modules and their arguments.
COMPARE: dict[str, tuple[tuple[str, ...], ...]] = {
    "chunking": (
        ("bench.chunking",),
        ("bench.chunking_first",),
        ("bench.chunking_cost", "--save"),
        ("bench.chunking_cuts", "--save", "--variants", "2", "--tools", *CHUNKERS),
    ),
    "pool": (("bench.compare.pool",), ("bench.compare.crash",), ("bench.compare.processes",), ("bench.compare.steal",)),
    "calls": (("bench.compare.calls",),),
    "limits": (("bench.compare.limits",), ("bench.compare.budget",)),
    "resume": (("bench.compare.programs", "resume"),),
    "memory": (("bench.compare.programs", "memory"),),
    "startup": (("bench.compare.programs", "startup"),),
    "durable": (("bench.compare.durable",), ("bench.compare.log",)),
}


def programs() -> set[str]:
    """The modules of ``bench`` and ``bench.compare`` that can be run."""
    here = Path(__file__).parent
    paths = [*here.glob("*.py"), *here.glob("compare/*.py")]
    found = {path for path in paths if 'if __name__ == "__main__"' in path.read_text()} - {Path(__file__)}
    return {".".join(path.relative_to(here.parent).with_suffix("").parts) for path in found}


def words() -> dict[str, tuple[tuple[str, ...], ...]]:
    """What ``compare`` takes: those above, and a program that none of them runs under its own name."""
    rest = programs() - {module for commands in COMPARE.values() for module, *_ in commands}
    return COMPARE | {module.rpartition(".")[2]: ((module,),) for module in sorted(rest)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module, about in (
        ("pipeline", pipeline, "one source through the whole of mrengine: where the time goes"),
        ("load", load, "many calls at the same time, and their latencies"),
        ("components", components, "what each part costs by itself"),
        ("tables", tables, "calls in flight, sizes of documents, growth with n"),
        ("faults", faults, "what survives kills, bad disks and bad providers: this engine and its peers"),
        ("report", page, "write docs/performance.md and the table of README.md from bench/results"),
    ):
        module.add_options(commands.add_parser(name, help=about, description=module.__doc__))
    compare = commands.add_parser("compare", help="this engine and its peers in the same run")
    compare.add_argument(
        "what", nargs="*", choices=[*words(), []], metavar="WHAT", help=f"{', '.join(words())}; or all"
    )
    return parser


def _compare(wanted: Sequence[str]) -> int:
    known = words()
    commands = [command for what in wanted or known for command in known[what]]
    return sum(subprocess.run([sys.executable, "-m", *command], check=False).returncode != 0 for command in commands)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, or for ``compare`` the number of those that failed."""
    options = _parser().parse_args(arguments)
    if options.command == "compare":
        return _compare(options.what)
    modules = {
        "pipeline": pipeline,
        "load": load,
        "components": components,
        "tables": tables,
        "faults": faults,
        "report": page,
    }
    return modules[options.command].main(options)


if __name__ == "__main__":
    sys.exit(main())
