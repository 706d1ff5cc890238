"""Hosts that start in a folder whose files have the names of modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.system.hosts.stage import Stage

HOSTILE = """
import os
with open(os.path.join(os.path.dirname(__file__), "met"), "a") as file:
    file.write(f"{__name__} in {os.getpid()}\\n")
raise SystemExit("a file of the user's was taken for " + __name__)
"""


NAMES = (
    *("msgpack", "cloudpickle", "psutil", "regex", "openai", "numpy", "json", "struct", "select", "selectors"),
    *("queue", "random", "secrets", "tempfile", "types", "token", "code"),
)


def test_a_folder_of_hostile_modules(stage: Stage, tmp_path: Path) -> None:
    """The supervisor and its children take none of them: where they look first is where mrengine is."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    # The host has what it needs from its own site-packages, then its folder comes to the front, as under -c.
    text = """
    import mrengine.runner
    sys.path.insert(0, "")
    report(play(), folder=os.getcwd())
    """
    told = stage.run(sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-c", stage.text(text))
    stage.check(told)
    stage.check_calls()
    assert not (tmp_path / "met").exists(), (tmp_path / "met").read_text()


def test_a_module_beside_the_program_is_the_map_functions_own(stage: Stage, tmp_path: Path) -> None:
    """map_fn imports what lies beside the host, in the host's folder, with the host's environment; only workers do."""
    (tmp_path / "beside.py").write_text(
        "import os\nwith open('imported', 'a') as file: file.write(f'{os.getpid()} ')\nVALUE = os.environ['OWN']\n"
    )
    text = """
    def ask_beside(chunk, context):
        import beside
        return [*ask(chunk, context), beside.VALUE, os.getcwd()]
    os.environ["OWN"] = "set by the program"
    report(play(ask_beside))
    """
    told = stage.script(text)
    stage.check(told)
    stage.check_calls()
    assert {tuple(result[4:]) for result in told["results"]} == {("set by the program", os.path.realpath(tmp_path))}
    importers = {int(pid) for pid in (tmp_path / "imported").read_text().split()}
    # The host reads it for the version of the function; the supervisor runs no user code.
    assert importers - {told["host"]} == {result[1] for result in told["results"]}


def test_a_module_of_map_fn_is_imported_by_the_workers_alone(stage: Stage, tmp_path: Path) -> None:
    """A function of an importable module travels by name; the supervisor never imports user code."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "work.py").write_text(
        Stage.text("with open('imported', 'a') as file: file.write(f'{os.getpid()} ')\n")
    )
    told = stage.script("import shop.work\nreport(play(shop.work.ask))")
    stage.check(told)
    stage.check_calls()
    importers = {int(pid) for pid in (tmp_path / "imported").read_text().split()}
    assert importers == {told["host"], *(result[1] for result in told["results"])}


def test_a_plugin_that_was_loaded_from_its_file(stage: Stage, tmp_path: Path) -> None:
    """No path leads to it, or one to another file of its name: it travels by value, with the modules beside it."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "plugin.py").write_text("from helper import prefix\n" + Stage.text(PLUGIN))
    (tmp_path / "plugins" / "helper.py").write_text("def prefix():\n    return 'Q '\n")
    (tmp_path / "plugin.py").write_text("raise SystemExit('another one')")
    text = """
    import importlib.util
    for name in ("helper", "plugin"):
        spec = importlib.util.spec_from_file_location(name, f"plugins/{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    report(play(sys.modules["plugin"].ask_by_plugin))
    """
    stage.check(stage.script(text))
    stage.check_calls()


PLUGIN = """
import multiprocessing
def lineage_of(text):
    return [text]
def ask_by_plugin(chunk, context):
    with multiprocessing.Pool(1) as pool:
        [[text]] = pool.map(lineage_of, [prefix() + chunk.text])
    return [context.complete(text).text, *lineage()]
"""
