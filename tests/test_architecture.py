"""The two houses stay apart: who may import what, and how large a file may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "numpy", "matplotlib")
PLUGIN = "pytest_groundthink/plugin.py"
INSTANT = (
    "gt",
    "gt.registry",
    "gt.user_models",
    "gt.measurement",
    "gt.checkpoint",
    "gt.planning",
    "gt.subject",
    "gt.sabotage",
    "gt.compiler",
    "gt.models.config",
    "gt.data.config",
    "gt.training.config",
    "gt.pretrained",
    "gt.data.conversations",
    "gt.data.conversations.render",
)
"""Modules that list models, check requests and generate text: they answer at once, so they load no torch."""


def sources(*folders: str) -> list[str]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), filename=name)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Top-level packages that import statements among the nodes name."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What a module runs when it is imported: all but function bodies and what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from (part for other in child.orelse for part in (other, *run_at_import(other)))
            continue
        yield child
        yield from run_at_import(child)


def loaded_after(statements: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after these statements."""
    code = f"{statements}\nimport sys\nprint('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.strip().splitlines()[-1].split()[1:])


def test_the_rules_see_what_they_forbid() -> None:
    module = ast.parse(
        "import torch.nn\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import numpy\n"
        "def function():\n    from matplotlib import pyplot\n"
        "try:\n    import yaml\nexcept ImportError:\n    pass\n"
    )
    assert imported(run_at_import(module)) == {"torch", "typing", "yaml"}
    assert imported(ast.walk(module)) == {"torch", "typing", "numpy", "matplotlib", "yaml"}
    assert loaded_after("import numpy") == {"numpy"}


@pytest.mark.parametrize("name", sources("gt"))
def test_what_measures_knows_nothing_of_pytest(name: str) -> None:
    assert not imported(ast.walk(tree(name))) & {"pytest", "_pytest", "pytest_groundthink", "suites"}


@pytest.mark.parametrize("name", sources("pytest_groundthink"))
def test_what_judges_imports_nothing_heavy(name: str) -> None:
    assert not imported(run_at_import(tree(name))) & {*HEAVY, "suites"}


def test_the_plugin_imports_nothing_but_pytest_and_the_standard_library() -> None:
    known = {"pytest", "pytest_groundthink", *sys.stdlib_module_names}
    for name in (PLUGIN, "pytest_groundthink/__init__.py", "pytest_groundthink/options.py"):
        assert imported(run_at_import(tree(name))) <= known


def test_all_that_judges_loads_without_torch() -> None:
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in sources("pytest_groundthink")
    ]
    assert loaded_after("\n".join(f"import {module}" for module in modules)) == set()


@pytest.mark.parametrize("module", INSTANT)
def test_what_plans_loads_without_torch(module: str) -> None:
    assert loaded_after(f"import {module}") == set()


def test_building_processes_load_no_torch() -> None:
    assert loaded_after("import gt.data.dataset, gt.data.shard_writer") == {"numpy"}


@pytest.mark.parametrize("name", sources("gt", "pytest_groundthink", "suites", "benchmarks", "docs"))
def test_files_can_be_read_in_one_sitting(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 400
