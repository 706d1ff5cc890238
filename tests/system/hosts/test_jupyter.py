"""A notebook: cells in a real Jupyter kernel, driven by nbclient."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from tests.system.hosts.stage import Stage

# nbclient runs in a process of its own: it brings an event loop, threads and warnings.
CLIENT = """
import asyncio, json, os, signal, sys, threading
import nbformat
from nbclient import NotebookClient
from jupyter_client.manager import AsyncKernelManager

cells = json.load(sys.stdin)
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
client = NotebookClient(book, timeout=60, allow_errors=True, kernel_name="python3")
manager = AsyncKernelManager(kernel_name="python3")
manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
client.km = manager
client.execute()
bars = [output["data"]["text/html"] for cell in book.cells for output in cell["outputs"] if "data" in output]
told = ["".join(o.get("text") or o.get("ename", "") for o in cell["outputs"]) for cell in book.cells]
with open("outputs.json", "w") as file:
    json.dump([*told, bars], file)
"""
CELLS = [
    # 0: as a notebook has it, functions in a cell
    """
prefix = "Q "
def ask_here(chunk, context):
    return [context.complete(prefix + chunk.text).text, *lineage()]
report(play(ask_here))
""",
    # 1: a cell that is edited and run again is another function of the same job; answers are kept
    """
play(job_id="cell")
def ask(chunk, context):
    return [context.complete("Q " + chunk.text, max_tokens=9).text, *lineage(), "edited"]
run = play(ask, job_id="cell", on_mismatch="recompute")
print(len(run.results), run.summary.reused_calls)
""",
    # 2: the interrupt of the kernel is a KeyboardInterrupt in run()
    """
import signal, threading
job = runner("interrupted")
job.on("chunk:processed", lambda event: event.done == 10 and os.kill(os.getpid(), signal.SIGINT))
job.run([f"long {n}" for n in range(60)], ask)
""",
    # 3: the cell again
    """
run = runner("interrupted").run([f"long {n}" for n in range(60)], ask)
print(len(run.results), run.summary.resumed_chunks > 0)
""",
    # 4: what a map function prints stands below the cell
    """
def loud(chunk, context):
    print("printed", chunk.id)
    return chunk.id
play(loud, docs=["a", "b"], job_id="loud")
None
""",
    # 5: top-level await
    """
import asyncio
run = await asyncio.to_thread(play, ask, docs=["awaited 1", "awaited 2"])
print([result.result[0] for result in run.results])
""",
]


def test_a_notebook(stage: Stage, require_packages: Callable[..., None]) -> None:
    """Cells run jobs, though a loop runs in the kernel; an interrupt drains; nothing is paid twice."""
    require_packages("nbclient", "ipykernel")
    stage.env |= {"PYTHONWARNINGS": "default", "IPYTHONDIR": str(stage.folder / "ipython")}
    stage.env |= {"JUPYTER_RUNTIME_DIR": str(stage.folder / "runtime"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    client = stage.start([sys.executable, "-c", CLIENT], stdin=-1)
    _, err = client.communicate(json.dumps([stage.text(CELLS[0]), *CELLS[1:]]), timeout=100)
    assert client.returncode == 0, err
    outputs = json.loads((stage.folder / "outputs.json").read_text())
    stage.check(stage.report())
    assert outputs[:2] == ["", "8 8\n"]
    assert outputs[2] == "KeyboardInterrupt"
    assert outputs[3] == "60 True\n"
    assert sorted(outputs[4].split()) == ["0", "1", "printed", "printed"]
    assert outputs[5] == "['Q AWAITED 1', 'Q AWAITED 2']\n"
    assert outputs[-1]
    assert all(bar.startswith("<progress") for bar in outputs[-1])
    stage.check_calls(8 + 60 + 2 + 8)
