"""Measures the cells of a matrix, in one process or several, and goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import msgspec

from gt.measurement import Unmeasurable
from gt.proof import folder, load
from pytest_groundthink.proof.cells import Cell, Journal, Unit, of

Report = Callable[[int, int, Cell], None]
"""Called as report(done, total, cell) after every cell."""

JOURNAL = "cells.jsonl"


def run(
    units: Sequence[Unit], steps: int, jobs: int = 1, report: Report = lambda done, total, cell: None
) -> list[Cell]:
    """Measure all cells that are not there yet.

    Args:
        units: What to ask of whom.
        steps: Of the trainings: with the source, what results are kept for.
        jobs: Processes.
        report: Told of every new cell.

    Returns:
        The cells of all units, in their order.
    """
    place = folder(steps)
    journal = Journal(place / JOURNAL)
    known = journal.read()
    waiting = [
        msgspec.structs.replace(
            unit, checks=tuple(id_ for id_ in unit.checks if (unit.control.name, unit.fault, id_) not in known)
        )
        for unit in units
    ]
    waiting = [unit for unit in waiting if unit.checks]
    total = sum(len(unit.checks) for unit in waiting)
    for done, cell in enumerate(_measured(waiting, place, jobs), start=1):
        report(done, total, cell)
    return kept(units, place)


def kept(units: Sequence[Unit], place: Path) -> list[Cell]:
    """The cells of units that are in a folder already, in their order."""
    return of(Journal(place / JOURNAL).read().values(), units)


def _measured(units: Sequence[Unit], place: Path, jobs: int) -> Iterator[Cell]:
    if jobs == 1:
        for unit in units:
            yield from measure(unit, place)
        return
    # A forked process would share the threads of torch, which do not survive.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_all, unit, place) for unit in units]):
            yield from future.result()


def _all(unit: Unit, place: Path) -> list[Cell]:
    return list(measure(unit, place))


def measure(unit: Unit, place: Path) -> Iterator[Cell]:
    """Load a subject and ask it; every cell is kept before it is given."""
    from pytest_groundthink.proof.asked import probes

    subject, unloaded = None, ""
    try:
        subject = load(unit.control, place, unit.fault or None, baseline="L5" in unit.checks)
    except Exception as error:
        if not unit.fault:
            raise
        unloaded = f"{type(error).__name__}: {error}"  # one fault must not end the proof of all others
    for check in unit.checks:
        begun = time.monotonic()
        reason, measurements = unloaded, []
        try:
            if not unloaded:
                taken = probes()[check](subject)
                measurements = [msgspec.structs.replace(one, detail={}, outcomes={}) for one in taken]
        except Unmeasurable as error:
            reason = str(error)
        except Exception as error:  # a fault may break a probe in any way: it is then not caught, and that is shown
            reason = f"{type(error).__name__}: {error}"
        cell = Cell(
            control=unit.control.name,
            fault=unit.fault,
            check=check,
            measurements=tuple(measurements),
            reason=" ".join(reason.split()),
            seconds=round(time.monotonic() - begun, 3),
        )
        Journal(place / JOURNAL).add(cell)
        yield cell
