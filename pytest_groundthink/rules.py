"""Loads `fixtures/scales.yaml` and `fixtures/decision.yaml`: what a scale must show, and how evidence is weighed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pytest_groundthink.located import LocatedFile


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rate that the mean of the named checks must reach."""

    name: str
    mean_of: tuple[str, ...]
    at_least: float


class Improvement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The loss must lie below the lowest at the scale `over`, by a share of it or by nats, in so many runs."""

    over: str
    share: float
    nats: float
    runs: int


class LadderNeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ladder of `scales` scales with an R^2 above `r2`, whose smaller scales predict the loss at one `within`."""

    scales: int
    r2: float
    predicts: str
    within: float


class Outside(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A benchmark that is no check of this project and is needed where another check is good enough.

    Attributes:
        check: Id of the user's own check that brings its result.
        when: Check whose accuracy decides whether it is needed.
        at: Length at which that is looked at, as in the `accuracy` of its measurement.
        above: Accuracy above which it is needed.
    """

    check: str
    when: str
    at: str
    above: float


class ScaleRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a scale must show before the next one; see the head of `scales.yaml`.

    Attributes:
        name: The scale, for example "3.5M".
        next: The scale that a GO leads to.
        capabilities: What the subject itself must have.
        required: Ids of the required checks.
        canaries: Ids of the scale's own canaries.
        targets: Rates to reach.
        improvement: By how much the loss must lie below that of a smaller scale.
        ladder: What a ladder of scales must show.
        outside: Benchmarks that the user's own checks bring.
    """

    name: str
    next: str | None = None
    aliases: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    required: tuple[str, ...]
    canaries: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    improvement: Improvement | None = None
    ladder: LadderNeed | None = None
    outside: tuple[Outside, ...] = ()

    @property
    def asked(self) -> frozenset[str]:
        """Ids of all checks that the decision looks at."""
        return frozenset((*self.required, *(id_ for need in self.outside for id_ in (need.check, need.when))))


class Category(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the decision matrix; see `decision.yaml`.

    Attributes:
        applies_with: The row is left out where this check does not apply to the kind of model; empty: never.
    """

    weight: float
    levels: tuple[str, str, str, str]
    applies_with: str = ""
    fails: frozenset[str] = frozenset()
    warns: frozenset[str] = frozenset()
    smooth_warns: int = 0
    log_check: str = ""
    rates: tuple[float, ...] = ()
    check: str = ""
    metric: str = ""
    errors: tuple[float, ...] = ()
    scales: int = 0
    r2: tuple[float, ...] = ()
    held_out: tuple[float, ...] = ()
    tokens_within: float = 0.0


class Matrix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision matrix: categories, and the totals from which GO and CAUTION are given.

    Attributes:
        alone: Where a category is left out, the score that a GO needs of each of the others.
    """

    version: int
    source: str
    go: float
    caution: float
    alone: int
    stop_rate: float
    categories: dict[str, Category]


def load_scales(path: Path) -> dict[str, ScaleRule]:
    """Read what every scale requires.

    Raises:
        FixtureError: If the file cannot be used: one line with file, line and key.
    """
    file = LocatedFile(path)
    return {
        name: file.convert(("scales", name), {**entry, "name": name}, ScaleRule)
        for name, entry in file.section(("scales",)).items()
    }


def load_matrix(path: Path) -> Matrix:
    """Read the decision matrix.

    Raises:
        FixtureError: If the file cannot be used: one line with file, line and key.
    """
    file = LocatedFile(path)
    return file.convert((), file.section(()), Matrix)
