"""Judges the cells of a kill matrix: what was caught, what was flagged in vain, and how far apart the two lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from gt.proof import Control
from gt.sabotage import SABOTAGES
from pytest_groundthink.checks import Check, CheckBook
from pytest_groundthink.proof.cells import Cell
from pytest_groundthink.verdict import Band, Interval, Status

SCHEMA = "groundthink.kill_matrix/1"
PROFILE = "default"
CONFIDENCE = 0.95


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A cell with its verdict.

    Attributes:
        control: Name of the healthy subject.
        fault: Fault that was planted in it; empty for none.
        check: Id of the check.
        status: Verdict under the profile `default`.
        reason: Why.
        values: What was measured, by metric; None where it was not finite. Of a metric that comes several times, the
            first, which is the one that decides.
        seconds: How long it took.
    """

    control: str
    fault: str
    check: str
    status: Status
    reason: str
    values: dict[str, float | None] = {}
    seconds: float = 0.0


class FaultRow(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one fault.

    Attributes:
        fault: Its name.
        summary: What is broken.
        planted_in: See `gt.sabotage.Sabotage`.
        meant: Check that is meant to catch it.
        status: What that check said.
        reason: Why.
        asked: Whether it was asked yet.
        caught: Whether it failed.
        also: Other checks that failed.
    """

    fault: str
    summary: str
    planted_in: str
    meant: str
    status: Status
    reason: str
    asked: bool
    caught: bool
    also: tuple[str, ...]


class ControlRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks said of one healthy subject.

    Attributes:
        control: Its name.
        scripted: Whether it is a script and no trained model.
        steps: Steps of its training.
        asked: Checks that were asked.
        failed: Checks that failed: false alarms.
        warned: Checks that warned.
        unmeasured: Checks that could not be measured, with the reason.
    """

    control: str
    scripted: bool
    steps: int
    asked: int
    failed: tuple[str, ...]
    warned: tuple[str, ...]
    unmeasured: dict[str, str]


class Separation(msgspec.Struct, frozen=True, kw_only=True):
    """How far the healthy and the broken lie apart in one metric.

    Attributes:
        check: Id of the check.
        metric: The metric.
        label: What a reader calls it.
        accepted: Intervals of what does not FAIL; None is open.
        healthy: Lowest and highest of the healthy subjects.
        n: Number of these.
        broken: Value by fault that is meant for the check and that this metric fails; None: not finite.
        factor: The healthy value next to a broken one over it, or the other way round, whichever is above 1: what
            separates them. None where one of them is not positive or not finite.
    """

    check: str
    metric: str
    label: str
    accepted: tuple[Interval, ...]
    healthy: tuple[float, float]
    n: int
    broken: dict[str, float | None]
    factor: float | None


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """A kill matrix.

    Attributes:
        steps: Steps of the controls' training.
        planned: Cells that were asked for.
        cells: Those that there are.
        faults: What became of each fault.
        controls: What the checks said of each healthy subject.
        separations: By check and metric.
        alarm_bound: Upper end of the one-sided 95% interval of the rate of healthy trained subjects with a false alarm
            (exact binomial: Clopper and Pearson 1934).
    """

    steps: int
    planned: int
    cells: tuple[Judged, ...]
    faults: tuple[FaultRow, ...]
    controls: tuple[ControlRow, ...]
    separations: tuple[Separation, ...]
    alarm_bound: float | None

    @property
    def survivors(self) -> list[str]:
        """Faults that the check meant for them did not fail."""
        return [row.fault for row in self.faults if row.asked and not row.caught]

    @property
    def pending(self) -> list[str]:
        """Faults that the check meant for them was not asked about yet."""
        return [row.fault for row in self.faults if not row.asked]

    @property
    def alarms(self) -> list[Judged]:
        """Healthy cells that failed."""
        return [cell for cell in self.cells if not cell.fault and cell.status is Status.FAIL]

    @property
    def proven(self) -> bool:
        """Whether every fault was caught, nobody healthy flagged, and no cell is missing."""
        return not (self.survivors or self.pending or self.alarms) and len(self.cells) == self.planned


def build(
    cells: Sequence[Cell], faults: Sequence[str], healthy: Sequence[Control], book: CheckBook, steps: int, planned: int
) -> Matrix:
    """Judge cells and sum them up.

    Args:
        cells: What was measured.
        faults: Faults whose check was asked.
        healthy: The controls.
        book: The checks and their bands.
        steps: Steps of the controls' training.
        planned: Cells that were asked for.
    """
    judged = [_judged(cell, book.checks[cell.check]) for cell in cells]
    controls = [_control(one.name, bool(one.script), one.steps, judged) for one in healthy]
    return Matrix(
        steps=steps,
        planned=planned,
        cells=tuple(judged),
        faults=tuple(_fault(name, judged) for name in faults),
        controls=tuple(row for row in controls if row.asked),
        separations=tuple(_separations(judged, book)),
        alarm_bound=_alarm_bound(controls),
    )


def known(matrix: Matrix, book: CheckBook) -> Matrix:
    """A matrix of an earlier version without the faults and checks that are no more; its verdicts stay as they were.

    Args:
        matrix: The matrix.
        book: The checks that there are.
    """
    cells = [one for one in matrix.cells if one.check in book.checks and (not one.fault or one.fault in SABOTAGES)]
    controls = [_control(row.control, row.scripted, row.steps, cells) for row in matrix.controls]
    return Matrix(
        steps=matrix.steps,
        planned=matrix.planned - (len(matrix.cells) - len(cells)),
        cells=tuple(cells),
        faults=tuple(_fault(row.fault, cells) for row in matrix.faults if row.fault in SABOTAGES),
        controls=tuple(row for row in controls if row.asked),
        separations=tuple(_still_separated(matrix.separations, cells)),
        alarm_bound=_alarm_bound(controls),
    )


def _still_separated(separations: Iterable[Separation], cells: Sequence[Judged]) -> Iterable[Separation]:
    for one in separations:
        own = {(cell.control, cell.fault): cell.values.get(one.metric) for cell in cells if cell.check == one.check}
        broken = {fault: value for fault, value in one.broken.items() if fault in {fault for _, fault in own}}
        healthy = [value for (_, fault), value in own.items() if not fault and value is not None]
        if broken and healthy:
            yield msgspec.structs.replace(one, broken=broken, factor=_factor(healthy, list(broken.values())))


def _judged(cell: Cell, check: Check) -> Judged:
    status, reason = Status.NODATA, cell.reason
    if not cell.reason:
        status, reason, _ = check.bands[PROFILE].judge(cell.measurements, check.metrics)
    values = {one.metric: one.value for one in reversed(cell.measurements)}
    return Judged(
        control=cell.control,
        fault=cell.fault,
        check=cell.check,
        status=status,
        reason=reason,
        values=values,
        seconds=cell.seconds,
    )


def _fault(name: str, cells: Iterable[Judged]) -> FaultRow:
    fault = SABOTAGES[name]
    own = [cell for cell in cells if cell.fault == name]
    meant = next((cell for cell in own if cell.check == fault.caught_by), None)
    return FaultRow(
        fault=name,
        summary=fault.summary,
        planted_in=fault.planted_in,
        meant=fault.caught_by,
        status=meant.status if meant else Status.NODATA,
        reason=meant.reason if meant else f"{fault.caught_by} was not asked",
        asked=meant is not None,
        caught=meant is not None and meant.status is Status.FAIL,
        also=tuple(cell.check for cell in own if cell.status is Status.FAIL and cell.check != fault.caught_by),
    )


def _control(name: str, scripted: bool, steps: int, cells: Iterable[Judged]) -> ControlRow:
    own = [cell for cell in cells if not cell.fault and cell.control == name]

    def with_status(status: Status) -> tuple[str, ...]:
        return tuple(cell.check for cell in own if cell.status is status)

    return ControlRow(
        control=name,
        scripted=scripted,
        steps=steps,
        asked=len(own),
        failed=with_status(Status.FAIL),
        warned=with_status(Status.WARN),
        unmeasured={cell.check: cell.reason for cell in own if cell.status is Status.NODATA},
    )


def _separations(cells: Sequence[Judged], book: CheckBook) -> Iterable[Separation]:
    for id_, check in book.checks.items():
        own = [cell for cell in cells if cell.check == id_]
        for metric, band in check.bands[PROFILE].bands.items():
            healthy = [value for cell in own if not cell.fault and (value := cell.values.get(metric)) is not None]
            broken = {
                cell.fault: cell.values[metric]
                for cell in own
                if cell.fault
                and SABOTAGES[cell.fault].caught_by == id_
                and metric in cell.values
                and band.status(cell.values[metric]) is Status.FAIL
            }
            if not healthy or not broken:
                continue
            yield Separation(
                check=id_,
                metric=metric,
                label=check.style(metric).label or metric,
                accepted=_accepted(band),
                healthy=(min(healthy), max(healthy)),
                n=len(healthy),
                broken=broken,
                factor=_factor(healthy, list(broken.values())),
            )


def _accepted(band: Band) -> tuple[Interval, ...]:
    """What passes and what warns, joined where it touches."""
    joined: list[Interval] = []
    for low, high in sorted((band.passes, *band.warn), key=lambda ends: -math.inf if ends[0] is None else ends[0]):
        before = joined[-1] if joined else None
        if before is None or (before[1] is not None and low is not None and low > before[1]):
            joined.append((low, high))
        else:
            ends = (before[1], high)
            joined[-1] = (before[0], None if None in ends else max(end for end in ends if end is not None))
    return tuple(joined)


def _factor(healthy: Sequence[float], broken: Sequence[float | None]) -> float | None:
    pairs = [(one, other) for one in healthy for other in broken]
    factors = []
    for one, other in pairs:
        if other is None or not (one > 0 and other > 0 and math.isfinite(other)):
            return None
        factors.append(max(one / other, other / one))
    return min(factors)


def _alarm_bound(controls: Sequence[ControlRow]) -> float | None:
    trained = [row for row in controls if not row.scripted and row.asked]
    return _upper_bound(sum(bool(row.failed) for row in trained), len(trained))


def _upper_bound(flagged: int, n: int) -> float | None:
    """The rate above which so few of n would be flagged once in twenty times; None without any."""
    if not n:
        return None
    if flagged == n:
        return 1.0
    low, high = flagged / n, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        seen = sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(flagged + 1))
        low, high = (rate, high) if seen > 1 - CONFIDENCE else (low, rate)
    return high
