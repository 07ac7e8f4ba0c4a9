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


class ScaleRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a scale must show before the next one; see the head of `scales.yaml`.

    Attributes:
        name: The scale, for example "3.5M".
        next: The scale that a GO leads to.
        capabilities: What the subject itself must have.
        required: Ids of the required checks.
        canaries: Ids of the scale's own canaries.
        targets: Rates to reach.
        conditions: Requirements that no check measures yet.
    """

    name: str
    next: str | None = None
    aliases: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    required: tuple[str, ...]
    canaries: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    conditions: tuple[str, ...] = ()


class Category(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the decision matrix; see `decision.yaml`."""

    weight: float
    levels: tuple[str, str, str, str]
    fails: frozenset[str] = frozenset()
    warns: frozenset[str] = frozenset()
    smooth_warns: int = 0
    log_check: str = ""
    rates: tuple[float, ...] = ()


class Matrix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision matrix: categories, and the totals from which GO and CAUTION are given."""

    version: int
    source: str
    go: float
    caution: float
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
