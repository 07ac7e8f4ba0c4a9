"""Which cells the matrix has, and what each came to; kept on disk one by one, so that a kill loses one at most."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from gt.measurement import Measurement
from gt.proof import Control, controls
from gt.registry import resolve
from gt.sabotage import SABOTAGES
from pytest_groundthink.checks import Check, CheckBook
from pytest_groundthink.proof.config import ProveConfig
from pytest_groundthink.vocabulary import EVIDENCE

LISTENED, READ = ("canary", "niah", "synthetic"), ("lrd",)
"""Kinds of checks that no model trained in a minute passes: they are proven with a scripted subject."""

COSTLY = ("D1-long", "L5", "NIAH-16K", "L1", "G3", "R1")
"""Checks that cost as much as all others together, in the order in which they are asked, after the others. L5 is among
them because a GPT2 must have been trained for it."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One check asked of one subject.

    Attributes:
        control: Name of the healthy subject.
        fault: Fault that was planted in it; empty for none.
        check: Id of the check.
        measurements: What was measured, without details.
        reason: Why nothing was.
        seconds: How long it took.
    """

    control: str
    fault: str
    check: str
    measurements: tuple[Measurement, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    @property
    def place(self) -> tuple[str, str, str]:
        """Which cell it is."""
        return self.control, self.fault, self.check


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One subject, and what to ask it."""

    control: Control
    fault: str
    checks: tuple[str, ...]


def plan(config: ProveConfig, book: CheckBook) -> list[Unit]:
    """All units of a proof, in the order of what a run that is stopped would least like to lack.

    First what the healthy subjects and the checks meant for a fault say, then what the other checks say of the faults;
    of each, what costs little before what costs much. The healthy are trained before a fault is planted in one of them,
    so that no process waits for the training of another.

    A fault is planted in the first control that a check can be asked of: so the check meant for it sees the same
    subject with and without it.
    """
    chosen = [check for id_, check in book.checks.items() if not config.checks or id_ in config.checks]
    faults = config.faults or tuple(SABOTAGES)
    healthy = _healthy(config)
    hosts = {kind: next(one for one in healthy if one.script == kind) for kind in ("listener", "reader", "")}
    meant: list[Unit] = []
    others: list[Unit] = []
    for fault in faults:
        for host in hosts.values():
            able = [check.id for check in chosen if _asks(check, host) and _plantable(fault, host)]
            own = SABOTAGES[fault].caught_by
            meant += [Unit(control=host, fault=fault, checks=(own,)) for id_ in able if id_ == own]
            rest = () if config.meant else tuple(id_ for id_ in able if id_ != own)
            others.append(Unit(control=host, fault=fault, checks=rest))
    asked = {one: tuple(check.id for check in chosen if _asks(check, one)) for one in healthy}
    telling = [*(Unit(control=one, fault="", checks=checks) for one, checks in asked.items()), *meant]
    return [*_by_cost(telling), *_by_cost(others)]


def _by_cost(units: Sequence[Unit]) -> Iterator[Unit]:
    """Cheap checks of a subject in one unit; each costly one in its own, so that all processes end together."""
    for unit in units:
        cheap = tuple(id_ for id_ in unit.checks if id_ not in COSTLY)
        if cheap:
            yield msgspec.structs.replace(unit, checks=cheap)
    for id_ in COSTLY:
        for unit in units:
            if id_ in unit.checks:
                yield msgspec.structs.replace(unit, checks=(id_,))


def _healthy(config: ProveConfig) -> list[Control]:
    every = controls(config.controls, config.steps)
    scripted, trained = [one for one in every if one.script], [one for one in every if not one.script]
    more = [
        msgspec.structs.replace(one, seed=seed, name=f"{one.name} seed {seed}")
        for seed in range(config.seeds)
        for one in scripted
    ]
    return [*trained, *more]


def _asks(check: Check, control: Control) -> bool:
    """Whether a check can be asked of a healthy subject, and is meant for one of its kind."""
    host = "listener" if check.kind in LISTENED else "reader" if check.kind in READ else ""
    if control.script or host:
        return control.script == host
    return check.requires <= resolve(control.model).capabilities | EVIDENCE


def _plantable(fault: str, control: Control) -> bool:
    planted_in = SABOTAGES[fault].planted_in
    if control.script:
        return planted_in == "calls" or (planted_in == "answers" and control.script == "listener")
    return planted_in != "answers"


class Journal:
    """Cells that are there, one JSON line each.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[tuple[str, str, str], Cell]:
        """All cells, by place; a line that a kill has cut is measured again."""
        return {cell.place: cell for cell in self._lines()}

    def _lines(self) -> Iterator[Cell]:
        lines = self.path.read_bytes().split(b"\n") if self.path.is_file() else []
        for line in filter(None, lines):
            try:
                yield msgspec.json.decode(line, type=Cell)
            except msgspec.MsgspecError:
                continue

    def add(self, cell: Cell) -> None:
        """Keep a cell; several processes may do so at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One write to the end of the file is not mixed with another's; a line break first ends a line that was cut.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, b"\n" + msgspec.json.encode(cell) + b"\n")
        finally:
            os.close(descriptor)


def of(cells: Iterable[Cell], units: Iterable[Unit]) -> list[Cell]:
    """The cells that units ask for, in their order."""
    by_place = {cell.place: cell for cell in cells}
    places = [(unit.control.name, unit.fault, check) for unit in units for check in unit.checks]
    return [by_place[place] for place in places if place in by_place]
