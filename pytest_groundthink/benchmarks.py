"""Loads `fixtures/bench.yaml`, and judges what `groundthink bench` measured by its bands."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gt.bench.record import BenchRecord, Cell, Stability
from gt.measurement import Measurement, measured
from pytest_groundthink.located import LocatedFile
from pytest_groundthink.verdict import Band, BandSet, Status, Style


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell of the table."""

    batch: int
    length: int


class Benchmark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One benchmark, as `bench.yaml` describes it.

    Attributes:
        title: A word.
        measures: What is measured, in a sentence.
        source: Where the configuration and the numbers come from.
        at: The cell of the table that is judged; None where there is one configuration only.
        metrics: How its metrics are shown.
        bands: Band by metric; none where the value is recorded and not judged.
    """

    title: str
    measures: str
    source: str
    at: Place | None = None
    metrics: dict[str, Style] = {}
    bands: dict[str, Band] = {}


class BenchVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark of one model came to.

    Attributes:
        benchmark: Its id.
        model: Name of the model.
        value: What was measured, as text.
        status: PASS or FAIL; NODATA, with the reason, where it was not measured.
        reason: Why.
        source: Where the threshold comes from.
    """

    benchmark: str
    model: str
    value: str
    status: Status
    reason: str
    source: str


def load_benchmarks(path: Path) -> dict[str, Benchmark]:
    """Read `bench.yaml`.

    Raises:
        FixtureError: If it cannot be used: one line with file, line and key.
    """
    file = LocatedFile(path)
    if file.section(()).get("version") != 1:
        raise file.error(("version",), f"expected 1, got {file.data.get('version')!r}")
    return {
        name: file.convert(("benchmarks", name), entry, Benchmark)
        for name, entry in file.section(("benchmarks",)).items()
    }


def judge(record: BenchRecord, benchmarks: dict[str, Benchmark]) -> list[BenchVerdict]:
    """Judge every benchmark of a run that has bands.

    Args:
        record: What was measured.
        benchmarks: From `load_benchmarks`.
    """
    verdicts = []
    for model in dict.fromkeys(cell.model for cell in record.cells if _asked(cell)):
        found = _peak(record, model, benchmarks["B2"])
        value = "" if isinstance(found, str) else f"{found[0].value:,.1f} MiB"
        verdicts.append(_verdict("B2", model, value, found, benchmarks))
    for one in record.stability:
        value = f"{one.loss_start:.3f} to {one.loss_end:.3f} nats"
        verdicts.append(_verdict("B3", one.model, value, _stability(one), benchmarks))
    verdicts += [_verdict("B3", model, "", reason, benchmarks) for model, reason in record.untrained.items()]
    return verdicts


def _asked(cell: Cell) -> bool:
    """Whether memory was to be measured."""
    return cell.memory is not None and bool(cell.memory.measured or cell.memory.reason)


def _peak(record: BenchRecord, model: str, benchmark: Benchmark) -> list[Measurement] | str:
    """The peak in the judged cell, or why there is none."""
    place = benchmark.at
    for cell in record.cells:
        if place is None or cell.model != model or (cell.batch, cell.length) != (place.batch, place.length):
            continue
        if cell.memory is None or cell.memory.measured is None:
            return cell.memory.reason if cell.memory else "not measured"
        return [measured("peak_mib", cell.memory.measured / 2**20, unit="MiB")]
    return f"the threshold is for batch {place.batch}, length {place.length}: not in the table" if place else "no cell"


def _stability(found: Stability) -> list[Measurement]:
    return [
        measured("loss_change", found.loss_end - found.loss_start, unit="nats"),
        measured("finite_share", found.finite_steps / found.steps, n=found.steps),
    ]


def _verdict(
    name: str, model: str, value: str, found: list[Measurement] | str, benchmarks: dict[str, Benchmark]
) -> BenchVerdict:
    benchmark = benchmarks[name]
    if isinstance(found, str):
        status, reason = Status.NODATA, found
    else:
        bands = BandSet(source=benchmark.source, bands=benchmark.bands)
        status, reason, _ = bands.judge(found, benchmark.metrics)
    return BenchVerdict(benchmark=name, model=model, value=value, status=status, reason=reason, source=benchmark.source)
