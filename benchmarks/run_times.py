"""How long a user waits: the plugin in a foreign project, the gates, and the main job, each from an empty cache.

    python benchmarks/run_times.py [--only plugin gates job] [--json times.json]

Figures belong to the machine and to what else it does: no test depends on them. POSIX only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "fixtures" / "checkpoints" / "gf-mh-3.5m"
GATES = ["-m", "gate", "--model", "GF-MH"]
JOB = ["-m", "graduation", "--model", "GF-MH", "--ckpt", str(CHECKPOINT), "--scorecard", "out.json"]

CONFTEST = """
import sys

def pytest_sessionfinish():
    loaded = sorted({"torch", "numpy", "yaml", "msgspec", "rich"} & set(sys.modules))
    print("LOADED", *loaded, file=sys.stderr)
"""


def main() -> None:
    """Time what was asked for, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["plugin", "gates", "job"], default=["plugin", "gates", "job"])
    parser.add_argument("--pairs", type=int, default=15, help="runs with and without the plugin (default: 15)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if "plugin" in chosen.only:
            figures["plugin"] = time_plugin(Path(folder) / "plugin", chosen.pairs)
        if "gates" in chosen.only:
            figures["gates"] = time_run(Path(folder) / "gates", GATES)
        if "job" in chosen.only:
            figures["job"] = time_run(Path(folder) / "job", JOB)
    Console().print(table(figures))
    if chosen.json is not None:
        machine = {"platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
        record = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "figures": figures}
        chosen.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def time_plugin(folder: Path, pairs: int) -> dict[str, Any]:
    """What the plugin adds to the run of a foreign project, and whether it loads anything heavy.

    Runs with and without it alternate, so that whatever slows the machine down slows both: each pair gives one
    difference, and their median is the figure. Processor time is steadier than wall time where others share the
    machine. No other plugin is loaded: some take longer than pytest itself and would drown what is measured.

    Args:
        folder: An empty folder for the foreign project.
        pairs: Number of pairs.
    """
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_it.py").write_text("def test_it():\n    pass\n", encoding="utf-8")
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    without, with_it = ["-q", "-p", "no:groundthink"], ["-q", "-p", "groundthink"]
    reference = pytest_run(folder, without, alone)[-1].stderr  # also fills the byte-code cache
    done = pytest_run(folder, with_it, alone)[-1]
    runs = [(pytest_run(folder, without, alone)[:2], pytest_run(folder, with_it, alone)[:2]) for _ in range(pairs)]
    figures: dict[str, Any] = {"pairs": pairs, "loaded": sorted(loaded(done.stderr) - loaded(reference))}
    for position, clock in enumerate(("wall", "cpu")):
        added = [(more[position] - plain[position]) * 1e3 for plain, more in runs]
        figures[clock] = {
            "added_ms": round(statistics.median(added), 1),
            "added_quartiles_ms": [round(quartile, 1) for quartile in quartiles(added)],
            "run_without_ms": round(statistics.median(plain[position] for plain, _ in runs) * 1e3, 1),
        }
    return figures


def time_run(folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Wall time of one pytest run with an empty cache, and how it ended.

    Args:
        folder: An empty folder to run in.
        arguments: Command line after `pytest`.

    Raises:
        RuntimeError: If the run did not get as far as judging.
    """
    folder.mkdir()
    seconds, cpu_seconds, done = pytest_run(folder, arguments)
    lines = done.stdout.strip().splitlines()
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest {' '.join(arguments)} ended with {done.returncode}: {(lines or [done.stderr])[-1]}")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "exit_status": done.returncode,
        "ended": lines[-1].strip("= "),
    }


def pytest_run(
    folder: Path, arguments: list[str], extra: Mapping[str, str] = MappingProxyType({})
) -> tuple[float, float, subprocess.CompletedProcess[str]]:
    """Run pytest in a folder with a cache of its own.

    Args:
        folder: Where to run it.
        arguments: Command line after `pytest`.
        extra: Environment variables to add.

    Returns:
        Wall and processor time in seconds, and what came of the run.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "GT_KERNELS")}
    environment = kept | {"GT_CACHE_DIR": str(folder / "cache"), **extra}
    started, used = time.perf_counter(), children_cpu()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return time.perf_counter() - started, children_cpu() - used, done


def children_cpu() -> float:
    """Processor time of all finished child processes, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loaded(stderr: str) -> set[str]:
    """The modules that the foreign project found loaded.

    Raises:
        RuntimeError: If it did not say.
    """
    for line in stderr.splitlines():
        if line.startswith("LOADED"):
            return set(line.split()[1:])
    raise RuntimeError(f"the foreign project's run failed: {stderr.strip()[-300:]}")


def quartiles(values: list[float]) -> tuple[float, float]:
    """First and third quartile; the value itself where there is only one."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def table(figures: dict[str, Any]) -> Table:
    """The figures for reading."""
    grid = Table("what", "time", "remarks")
    if plugin := figures.get("plugin"):
        for clock in ("wall", "cpu"):
            low, high = plugin[clock]["added_quartiles_ms"]
            grid.add_row(
                f"plugin in a foreign project's run, {clock} time",
                f"{plugin[clock]['added_ms']} ms",
                f"median of {plugin['pairs']} pairs, quartiles {low} to {high} ms; the run without it takes "
                f"{plugin[clock]['run_without_ms']} ms",
            )
        grid.add_row("what the plugin loads", "", ", ".join(plugin["loaded"]) or "no heavy module")
    for name, title in (("gates", "pytest -m gate --model GF-MH"), ("job", "the README's main job")):
        if run := figures.get(name):
            grid.add_row(
                title,
                f"{run['seconds']} s",
                f"{run['cpu_seconds']} s of processor time; exit status {run['exit_status']}; {run['ended']}",
            )
    return grid


if __name__ == "__main__":
    main()
