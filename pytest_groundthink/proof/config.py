"""What `groundthink prove` is asked to do. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gt.sabotage import SABOTAGES
from pytest_groundthink.checks import CheckBook

Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]


@dataclass(kw_only=True, slots=True)
class ProveConfig:
    """Settings of a proof.

    Attributes:
        faults: Faults to plant, by name; all if none is given.
        checks: Checks to ask, by id; all if none is given.
        controls: Trained healthy subjects; two scripted ones come beside them.
        steps: Steps of their training; with the second seed 0.6 times as many, with the third twice.
        seeds: Seeds of the scripted subjects.
        meant: Ask of a faulty subject the check that is meant for its fault alone, not every check.
        kept: Measure nothing: judge what earlier calls have kept.
        kept_in: Measure nothing: judge what was kept in this folder, by another source, Python or machine.
        rewrite: Measure and judge nothing: write the matrix in `out` again, without faults and checks that are no
            more, and with the names of those that it lacks.
        jobs: Processes.
        out: Folder for kill_matrix.json, .md and .png.
    """

    faults: Names = ()
    checks: Names = ()
    controls: int = 30
    steps: int = 200
    seeds: int = 1
    meant: Annotated[bool, Parameter(negative="")] = False
    kept: Annotated[bool, Parameter(negative="")] = False
    kept_in: Path | None = None
    rewrite: Annotated[bool, Parameter(negative="")] = False
    jobs: int = 1
    out: Annotated[Path, Parameter(name=("--out", "-o"))] = Path("docs/results")

    def check(self, book: CheckBook) -> None:
        """Refuse what makes no sense.

        Raises:
            ValueError: One line with what was got and what was expected.
        """
        for what, names, known in (
            ("fault", self.faults, SABOTAGES.keys()),
            ("check", self.checks, book.checks.keys()),
        ):
            for name in names:
                if name not in known:
                    raise ValueError(f"unknown {what} {name!r}: there are {', '.join(known)}")
        for what, value, least in (
            ("controls", self.controls, 1),
            ("steps", self.steps, 60),  # a shorter training leaves fewer lines in its log than L4 needs
            ("seeds", self.seeds, 1),
            ("jobs", self.jobs, 1),
        ):
            if value < least:
                raise ValueError(f"{what} is {value}: expected {least} or more")
