"""Where a scorecard comes from: versions, commit, thresholds, command line, machine."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gt import __version__
from pytest_groundthink.checks import CheckBook
from pytest_groundthink.options import Settings
from pytest_groundthink.scorecard import Git, Provenance, ThresholdsUsed


def provenance(
    config: pytest.Config, settings: Settings, book: CheckBook, environment: Mapping[str, Any]
) -> Provenance:
    """The provenance of a run.

    Args:
        config: Pytest's configuration, for the command line.
        settings: Our options.
        book: The checks that judged.
        environment: What the subject said of its machine.
    """
    return Provenance(
        version=__version__,
        git=git(Path(__file__).resolve().parent.parent),
        environment={"python": platform.python_version(), "pytest": pytest.__version__, **environment},
        thresholds=ThresholdsUsed(profile=settings.profile, sha256=book.sha256),
        seed=settings.seed,
        command_line=("pytest", *(str(argument) for argument in config.invocation_params.args)),
    )


def git(folder: Path) -> Git | None:
    """The commit of the checkout whose root is `folder`; None where it is no such root or has no commit."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != folder:
        return None
    commit, changes = _git(folder, "rev-parse", "--verify", "HEAD"), _git(folder, "status", "--porcelain")
    return None if commit is None else Git(commit=commit, dirty=changes != "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # a fixed command line, and no shell
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
