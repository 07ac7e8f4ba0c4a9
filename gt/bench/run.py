"""A benchmark run: every model in every cell of the table, side by side."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch

from gt import __version__
from gt.bench import throughput
from gt.bench.config import BenchConfig
from gt.bench.memory import available_memory, predict, too_large
from gt.bench.parts import step_parts
from gt.bench.peak import PeakError, PeakRequest, measure
from gt.bench.record import BenchRecord, Cell, Decoding, Memory, Ratio
from gt.bench.stability import stability
from gt.bench.timing import Timings, alternate
from gt.kernels import BACKENDS, resolve
from gt.subject import Progress, Subject, SubjectRequest, load_subject, plan_subject

BUSY_LOAD = 0.3
"""Load per core before the run from which the record says that others keep the machine busy."""

ENVIRONMENT = ("GT_KERNELS", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
"""Variables that change speed; recorded where they are set."""

Make = Callable[[Subject], Callable[[], object]]


class CannotRunError(Exception):
    """A cell that cannot be timed here, with the reason in one line."""


def bench(models: Iterable[str], config: BenchConfig, progress: Progress) -> BenchRecord:
    """Measure models on this machine.

    Args:
        models: Names; the first is what the others are compared with.
        config: Settings.
        progress: Called as progress(done, total, note) with the steps of the run.

    Raises:
        ValueError: If a name or a setting does not fit.
    """
    config.check()
    plans = [
        plan_subject(
            SubjectRequest(model=name, scale=config.scale, device=config.device, dtype=config.dtype, seed=config.seed)
        )
        for name in models
    ]
    labels = [plan.label for plan in plans]
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"models are {', '.join(labels) or 'none'}: expected at least one, and each of them once")
    record = BenchRecord(created=datetime.now(UTC).isoformat(timespec="seconds"), settings=asdict(config))
    load = _load()
    threads = config.threads or torch.get_num_threads()  # before a subject sets what scorecards are compared with
    run = _Run(config, progress, record)
    run.subjects = [load_subject(plan, run.inner) for plan in plans]
    torch.set_num_threads(threads)
    if run.device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # as `groundthink train` does
    run.measure()
    record.models = [{"name": subject.plan.label, **subject.describe()} for subject in run.subjects]
    record.environment = _environment(run.subjects[0], load)
    return record


class _Run:
    """The steps of a run over its subjects; each writes what it finds into the record."""

    def __init__(self, config: BenchConfig, progress: Progress, record: BenchRecord) -> None:
        self.config, self.progress, self.record = config, progress, record
        self.subjects: list[Subject] = []
        self._done, self._total, self._note = 0, 1, ""

    @property
    def device(self) -> torch.device:
        return self.subjects[0].device

    def inner(self, done: int, total: int, note: str) -> None:
        """What a subject tells of a long measurement, within the step of the run."""
        self.progress(self._done, self._total, f"{self._note}: {done}/{total} {note}")

    def measure(self) -> None:
        config, chosen = self.config, self.config.chosen
        sizes = [(batch, length) for batch in config.sizes("batch") for length in config.sizes("length")]
        decode = config.sizes("decode_batch") if "B1" in chosen else ()
        per_cell = ("B2" in chosen) + 2 * ("B1" in chosen) + config.profile
        self._total = per_cell * len(sizes) + len(decode) + ("B3" in chosen) * len(self.subjects)
        for index, (batch, length) in enumerate(sizes, start=1):
            self._cell(batch, length)
            self._done = per_cell * index  # also where a cell could not run
        for batch in decode:
            self._decode(batch)
        if "B3" in chosen:
            for subject in self.subjects:
                self._step(f"B3 stability, {subject.plan.label}")
                try:
                    with self._guarded():
                        self.record.stability.append(stability(subject, config.steps, config.lr))
                except CannotRunError as reason:
                    self.record.untrained[subject.plan.label] = str(reason)
        self.progress(self._total, self._total, "done")

    def _step(self, note: str) -> None:
        self._note = note
        self.progress(self._done, self._total, note)
        self._done += 1

    def _cell(self, batch: int, length: int) -> None:
        where = f"batch {batch}, length {length}"
        cells = [Cell(model=subject.plan.label, batch=batch, length=length) for subject in self.subjects]
        self.record.cells += cells
        if "B2" in self.config.chosen:
            self._step(f"B2 memory, {where}")
        for subject, cell in zip(self.subjects, cells, strict=True):
            cell.memory = self._memory(subject, batch, length)
        try:
            self._require_room(cells)
            if "B1" in self.config.chosen:
                self._step(f"B1 training, {where}")
                timings = self._time(lambda subject: throughput.training(subject, batch, length, self.config.graph))
                for cell in cells:
                    cell.training = timings.rate(cell.model, batch * length)
                self._compare("training", timings, batch, length)
                self._step(f"B1 forward, {where}")
                timings = self._time(lambda subject: throughput.forward(subject, batch, length))
                for cell in cells:
                    cell.forward = timings.rate(cell.model, batch * length)
                self._compare("forward", timings, batch, length)
            if self.config.profile:
                self._step(f"parts of the step, {where}")
                for subject, cell in zip(self.subjects, cells, strict=True):
                    with self._guarded():
                        cell.parts = step_parts(subject, batch, length, self.config.repeats)
        except CannotRunError as reason:
            for cell in cells:
                cell.reason = str(reason)

    def _memory(self, subject: Subject, batch: int, length: int) -> Memory:
        backends = {op: resolve(op, self.device.type).backend.name for op in BACKENDS}
        halves = self.device.type == "cpu"
        predicted = predict(
            subject.plan.config,
            batch,
            length,
            self.config.dtype,
            backends,
            halves=halves,
            whole=True,
            threads=torch.get_num_threads(),
        )
        unfit = too_large(predicted.peak if predicted else None, self._available())
        if unfit or "B2" not in self.config.chosen:
            return Memory(predicted=predicted, reason=unfit or "")
        request = PeakRequest(subject=subject.plan.request, batch=batch, length=length, threads=torch.get_num_threads())
        try:
            peak = measure(request, self.device.type)
        except PeakError as error:
            return Memory(predicted=predicted, reason=str(error))
        return Memory(predicted=predicted, measured=peak.growth, method=peak.method)

    def _require_room(self, cells: list[Cell]) -> None:
        """The models of a comparison are in memory together.

        Raises:
            CannotRunError: If one of them, or all together, are too large.
        """
        needs = []
        for memory in (cell.memory for cell in cells if cell.memory is not None):
            if memory.reason:
                raise CannotRunError(memory.reason)
            needs.append(memory.measured or (memory.predicted.peak if memory.predicted else 0))
        unfit = too_large(sum(needs), self._available())
        if unfit:
            raise CannotRunError(unfit)

    def _available(self) -> int | None:
        return torch.cuda.mem_get_info()[0] if self.device.type == "cuda" else available_memory()

    def _time(self, make: Make, subjects: list[Subject] | None = None) -> Timings:
        with self._guarded():
            return alternate(
                {subject.plan.label: make(subject) for subject in subjects or self.subjects},
                repeats=self.config.repeats,
                calls=self.config.steps,
                budget_s=self.config.budget,
                finish=throughput.finish(self.device),
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn what a model or the memory refuses into the reason of a cell; nothing of the cell stays behind."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise CannotRunError("does not fit: the GPU ran out of memory") from None
        except Exception as error:  # a user's model may raise anything
            # One size that a model refuses must not cost the rest of the table.
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            memory = "does not fit: " if "allocate memory" in reason else ""
            raise CannotRunError(memory + reason) from error
        finally:
            for subject in self.subjects:
                subject.model.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _decode(self, batch: int) -> None:
        self._step(f"B1 decoding, batch {batch}")
        able = [subject for subject in self.subjects if "streaming" in subject.capabilities]
        reasons = {s.plan.label: "does not continue from a state" for s in self.subjects if s not in able}
        timings = None
        if able:
            try:
                timings = self._time(lambda subject: throughput.decoding(subject, batch), able)
                self._compare("decoding", timings, batch, 1)
            except CannotRunError as error:
                reasons |= {subject.plan.label: str(error) for subject in able}
        for name in (subject.plan.label for subject in self.subjects):
            speed = timings.rate(name, batch * throughput.TOKENS_PER_CALL) if timings and name not in reasons else None
            self.record.decoding.append(Decoding(model=name, batch=batch, speed=speed, reason=reasons.get(name, "")))

    def _compare(self, what: str, timings: Timings, batch: int, length: int) -> None:
        against = self.subjects[0].plan.label
        self.record.ratios += [
            Ratio(
                what=what,
                model=name,
                against=against,
                batch=batch,
                length=length,
                ratio=timings.speedup(name, against),
            )
            for name in timings.seconds
            if name != against and against in timings.seconds
        ]


def _environment(subject: Subject, load_before: float | None) -> dict[str, Any]:
    """Machine, versions, threads and load, JSON types only."""
    cores = os.cpu_count() or 1
    busy = load_before is not None and load_before > BUSY_LOAD * cores
    return {
        "groundthink": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **subject.environment(),
        "torch": str(torch.__version__),  # a subclass of str that not every encoder takes
        "cores": cores,
        "memory_bytes": available_memory(),
        "load_before": load_before,
        "load_after": _load(),
        "variables": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "note": f"the machine was busy before the run (load {load_before:.1f} on {cores} cores): speeds are lower than "
        "it can do, ratios hold better"
        if busy
        else "",
    }


def _load() -> float | None:
    """Processes that want a core, averaged over the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
