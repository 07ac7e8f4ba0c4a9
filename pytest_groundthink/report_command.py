"""`groundthink report` and `groundthink checks`: scorecards for people, and the reference of all checks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gt.resources import fixtures_dir
from pytest_groundthink.checks import load_checks


def report(
    *scorecards: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    checks: Path | None = None,
    allow_edited: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a scorecard as one HTML file, or as Markdown for a pull request; several become a dashboard.

    Args:
        scorecards: Scorecard files (`--scorecard` of a run), or folders of them.
        output: Where it goes: a name that ends in .html or .md. By default the first scorecard's name with .html.
        checks: Checks of your own, as `--gt-checks` of the run that wrote the scorecards.
        allow_edited: Take scorecards that were changed after they were written, or that have no hash, and say so.
    """
    from pytest_groundthink.decide_command import FLAGS, read_given
    from pytest_groundthink.report.make import require_report, write_report

    try:
        if not scorecards:
            raise ValueError("expected at least one scorecard, got none: name the file of --scorecard")
        path = output or scorecards[0].with_suffix(".html")
        require_report(path, "--output")
        book = load_checks(fixtures_dir() / "checks.yaml", checks)
        given = read_given(scorecards, allow_edited)
        notes = [f"{one.path}: {FLAGS[one.integrity]}; taken as it is" for one in given if one.integrity != "intact"]
        write_report([one.card for one in given], book, path, notes)
    except (ValueError, OSError) as error:
        print(f"groundthink report: {error}", file=sys.stderr)
        sys.exit(4)
    print(path)


def checks(
    *, output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None, own: Path | None = None
) -> None:
    """Describe every check as Markdown: what it measures, its thresholds with their sources, what to do when it fails.

    Args:
        output: Where it goes; it is printed if none is given.
        own: Checks of your own, as for `--gt-checks`.
    """
    from gt.sabotage import SABOTAGES
    from pytest_groundthink.report.reference import reference
    from pytest_groundthink.rules import load_scales

    try:
        scales = load_scales(fixtures_dir() / "scales.yaml")
        text = reference(load_checks(fixtures_dir() / "checks.yaml", own), scales, SABOTAGES)
        if output is not None:
            output.write_text(text, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"groundthink checks: {error}", file=sys.stderr)
        sys.exit(4)
    if output is None:
        print(text, end="")  # outside: a reader that has seen enough is no bad input
