"""The example of a user's own repository in docs/: its workflow's commands are run as they stand there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pytest_groundthink import scorecard

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own-model"
# S4 looks at the model after a short training, which takes longer than all the rest.
QUICK = ("-k", "not S4", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")


def commands() -> list[str]:
    workflow = yaml.safe_load((EXAMPLE / ".github" / "workflows" / "judge.yml").read_text(encoding="utf-8"))
    return [step["run"] for step in workflow["jobs"]["judge"]["steps"] if "run" in step]


def run(folder: Path, command: str, *further: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command.split()
    if program == "pytest":
        argv = [sys.executable, "-m", "pytest", *arguments, *further]
    else:
        argv = [sys.executable, "-c", "from pytest_groundthink.cli import main; main()", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path, shared: Path) -> Path:
    """A copy of the example, away from the checkout."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__", "*.json")))


def test_the_workflows_commands_work(project: Path) -> None:
    install, shipped, own, report = commands()
    assert install == "pip install -r requirements.txt"
    assert (project / "requirements.txt").read_text(encoding="utf-8").startswith("pytest-groundthink")
    for command in (shipped, own):
        done = run(project, command, *QUICK)
        assert done.returncode == 0, done.stdout + done.stderr
    states, budget = scorecard.read(project / "state.json"), scorecard.read(project / "budget.json")
    assert [check.id for check in states.checks] == ["S0", "S1", "S2", "S3"]
    assert states.checks[3].threshold is not None
    assert states.checks[3].threshold.passes == {"max_difference": (0, 1e-6)}, "the shipped check was replaced"
    assert [(check.id, check.status, check.profiles) for check in budget.checks] == [
        ("BUDGET", "PASS", {"phone": "FAIL"})
    ]
    done = run(project, report)
    assert done.returncode == 0, done.stderr
    page = (project / "report.html").read_text(encoding="utf-8")
    assert "BUDGET state budget" in page
    assert os.fspath(project) not in page


def test_its_other_profile_fails(project: Path) -> None:
    done = run(project, "pytest checks --model small-gru --gt-checks checks.yaml --gt-profile phone", *QUICK)
    assert done.returncode == 1
    assert "state (KiB) 0.25, needs <= 0.125" in " ".join(done.stdout.split())
    assert "BUDGET" in done.stdout
