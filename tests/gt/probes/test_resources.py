"""R1 foretells what its own costs say, sees a fallback at the next scale, and says why it cannot measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gt import registry
from gt.bench.memory import predict
from gt.bench.peak import Peak, PeakError, PeakRequest
from gt.kernels import BACKENDS, resolve
from gt.measurement import Unmeasurable
from gt.probes import resources
from gt.probes.resources import Cell, _cells, _foretell, next_scale
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject

SCRATCH = 5_000_000


def formula(request: PeakRequest) -> int:
    backends = {op: resolve(op, "cpu").backend.name for op in BACKENDS}
    found = predict(request.config, request.batch, request.length, backends=backends)
    assert found is not None
    return found.peak


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    """Few short steps, and memory without a process for each."""
    monkeypatch.setattr(resources, "BATCH_SIZE", 2)
    monkeypatch.setattr(resources, "LENGTH", 16)
    monkeypatch.setattr(resources, "BUDGET_S", 0.0)
    monkeypatch.setattr(
        resources, "measure", lambda request, device: Peak(growth=formula(request) + SCRATCH, method="formula")
    )


def subject(name: str = "Mamba2@TINY", **request: Any) -> Subject:
    wanted = SubjectRequest(model=name, device="cpu", **request)
    loaded = load_subject(plan_subject(wanted), lambda done, total, note: None)
    torch.set_num_threads(1)
    return loaded


@pytest.mark.parametrize("scale", ["TINY", "3.5M", "30M"])
def test_times_that_are_sums_of_the_costs_are_foretold_exactly(scale: str) -> None:
    fitted, ahead = (registry.resolve("GF-MH", name).config() for name in registry.neighbouring_scales(scale))
    costs = np.array([cell.costs for cell in (*_cells(fitted), Cell(ahead, 2))])
    for seconds in ([1e-2, 1e-3, 1e-8, 1e-11, 1e-9], [0.0, 0.0, 0.0, 1e-11, 0.0], [1e-2, 0.0, 1e-8, 0.0, 1e-9]):
        times = costs @ np.array(seconds)
        assert _foretell(costs, times) == pytest.approx(times[-1], rel=1e-6)
        assert _foretell(costs, np.append(times[:-1], 99.0)) == pytest.approx(times[-1], rel=1e-6), (
            "it was not looked at"
        )


def test_the_next_scale_is_measured_and_a_fallback_there_is_seen() -> None:
    found = {one.metric: one for one in next_scale(subject())}
    record = found["worst_error"].detail
    assert (record["from"], record["to"]) == ("TINY", "1M")
    assert record["memory"]["measured"] == record["memory"]["predicted"], "what exceeds the formula is a constant here"
    assert found["memory_error"].value == 0
    assert found["predicted_step"].value == pytest.approx(record["step"]["predicted"])
    assert found["worst_error"].ci95 is not None
    broken = {one.metric: one for one in next_scale(subject(sabotage="slow-when-wide"))}
    step, healthy = broken["step_time_error"].value, found["step_time_error"].value
    assert step is not None
    assert healthy is not None
    assert step > 0.5, "a FAIL"
    assert step > healthy + 0.5


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that are sums of the costs, without a step being made."""

    def times(subject: Subject, cells: list[Cell]) -> Any:
        return np.array([[sum(cell.costs) for cell in cells]] * 3), "none"

    monkeypatch.setattr(resources, "_times", times)


def test_memory_beyond_the_formula_is_an_error(monkeypatch: pytest.MonkeyPatch, timed: None) -> None:
    def leaking(request: PeakRequest, device: str) -> Peak:
        assert request.config is not None
        return Peak(growth=formula(request) * (2 if request.config.scale == "1M" else 1), method="doubled")

    monkeypatch.setattr(resources, "measure", leaking)
    found = {one.metric: one.value for one in next_scale(subject())}
    assert found["step_time_error"] == pytest.approx(0.0, abs=1e-6)
    memory = found["memory_error"]
    assert memory is not None
    assert memory > 0.5
    assert found["worst_error"] == memory


def test_it_is_measured_once_for_all_processes(monkeypatch: pytest.MonkeyPatch, timed: None) -> None:
    first = next_scale(subject(run_id="a"))
    monkeypatch.setattr(resources, "_measure", lambda subject: pytest.fail("measured again"))
    again = next_scale(subject(run_id="b"))
    assert [(one.value, one.detail) for one in again] == [(one.value, one.detail) for one in first]
    assert all(one.cached for one in again)


def test_a_process_that_finds_no_memory_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(request: PeakRequest, device: str) -> Peak:
        raise PeakError("does not fit: killed")

    monkeypatch.setattr(resources, "measure", failed)
    with pytest.raises(Unmeasurable, match="memory of TINY: does not fit: killed"):
        next_scale(subject())


def test_a_scale_too_large_for_the_machine_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "available_memory", lambda: 1_000_000)
    with pytest.raises(Unmeasurable, match="1M does not fit: about"):
        next_scale(subject())


def test_scales_and_what_they_foretell() -> None:
    pairs = {scale: registry.neighbouring_scales(scale) for scale in registry.scales()}
    assert pairs["3.5M"] == ("3.5M", "8M"), "what a GO leads to, not the rung between"
    assert pairs["2M"] == ("2M", "3.5M")
    assert pairs["30M"] == pairs["125M"] == ("30M", "125M")
