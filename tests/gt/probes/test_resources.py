"""R1 foretells what its own costs say, sees a fallback at the next scale, and says why it cannot measure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gt
from gt import registry, user_models
from gt.bench.peak import Peak, PeakError, PeakRequest, measure
from gt.measurement import Unmeasurable
from gt.models.config import ModelConfig
from gt.probes import resources, step_sizes
from gt.probes.resources import MIB, _cells, _foretell, next_scale
from gt.probes.step_sizes import Cell, peak_of_step
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject
from gt.user_models import UserModel

SCRATCH = 5_000_000


def formula(request: PeakRequest) -> int:
    kind = request.config or plan_subject(request.subject).spec
    assert isinstance(kind, ModelConfig | UserModel)
    return peak_of_step(subject(), kind, request.batch, request.length)


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


class Own(nn.Module):
    """A model of the user's own, of a width."""

    width = 8

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(vocab_size, self.width), nn.Linear(self.width, self.width)
        self.head = nn.Linear(self.width, vocab_size, bias=False)

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        logits_BTV: torch.Tensor = self.head(self.mix(self.embedding(tokens_BT)).tanh())
        return logits_BTV


class Wider(Own):
    width = 12


class Widest(Own):
    width = 16


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mine`, at three scales."""
    monkeypatch.setattr(user_models, "_REGISTERED", {})
    for scale, factory in (("1M", Wider), ("TINY", Own), ("2M", Widest)):
        gt.register_model("mine", scale=scale)(factory)


@pytest.mark.parametrize("scale", ["TINY", "3.5M", "30M"])
def test_times_that_are_sums_of_the_costs_are_foretold_exactly(scale: str) -> None:
    fitted, ahead = (registry.resolve("GF-MH", name).config() for name in registry.neighbouring_scales(scale))
    costs = np.array([cell.costs(16) for cell in (*_cells(subject(), [fitted]), Cell(ahead, 2))])
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
    assert step > 0.75, "a FAIL, and not by chance: the limit is 0.5"
    assert step > healthy + 0.5


def timed_rounds(monkeypatch: pytest.MonkeyPatch, seconds: Iterator[float]) -> list[float]:
    """Times of one step that count, of those that it takes call after call."""
    monkeypatch.setattr(resources, "BUDGET_S", math.inf)
    now = [0.0]

    def step() -> None:
        now[0] += next(seconds)

    return [row[0] for row in resources._rows(subject(), [step], lambda: now[0])]


def test_steps_that_still_get_faster_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    falling = chain([9.0, 4.0, 2.0, 1.0], repeat(1.05))
    assert timed_rounds(monkeypatch, falling) == pytest.approx([1.05] * resources.MOST_REPEATS)


def test_two_calls_that_agree_are_not_believed_before_the_third(monkeypatch: pytest.MonkeyPatch) -> None:
    both_cold = chain([9.0, 9.0, 2.0, 1.0, 1.0], repeat(1.01))
    assert timed_rounds(monkeypatch, both_cold) == pytest.approx([1.01] * resources.MOST_REPEATS)


def test_steps_that_never_settle_are_timed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    restless = chain([1.0, 2.0] * 8, repeat(math.nan))
    assert (resources.MOST_WARMING, resources.MOST_REPEATS) == (6, 9)
    assert timed_rounds(monkeypatch, restless) == pytest.approx([1.0, 2.0] * 4 + [1.0])


def test_one_step_that_was_disturbed_does_not_keep_all_from_settling() -> None:
    assert not resources._settled([])
    assert not resources._settled([[1.0, 2.0, 3.0]])
    assert resources._settled([[1.0, 2.0, 3.0], [1.05, 2.0, 9.0]])
    assert not resources._settled([[1.0, 2.0, 3.0], [1.2, 2.0, 9.0]])


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that are sums of the costs, without a step being made."""

    def times(subject: Subject, cells: list[Cell]) -> Any:
        return np.array([[sum(cell.costs(16)) for cell in cells]] * 6), "none"

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


@pytest.mark.parametrize(("scale", "pair", "cells"), [("TINY", ("TINY", "1M"), 5), ("1M", ("1M", "2M"), 9)])
def test_a_model_of_ones_own_foretells_the_next_that_is_registered(
    family: None, timed: None, scale: str, pair: tuple[str, str], cells: int
) -> None:
    found = {one.metric: one for one in next_scale(subject(f"mine@{scale}"))}
    record = found["worst_error"].detail
    assert (record["from"], record["to"]) == pair
    assert len(record["step"]["cells"]) == cells, "smaller scales are fitted on too"
    assert found["worst_error"].value == pytest.approx(0.0, abs=1e-6), "these times are sums of its costs"


def test_steps_of_ones_own_models_are_really_made(family: None) -> None:
    found = {one.metric: one for one in next_scale(subject("mine"))}
    assert found["measured_step"].value
    assert found["worst_error"].n == resources.LEAST_REPEATS
    assert found["worst_error"].ci95 is not None


def test_a_process_of_its_own_builds_the_model_for_the_subjects_vocabulary(
    family: None, timed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PeakRequest] = []

    def noted(request: PeakRequest, device: str) -> Peak:
        asked.append(request)
        return Peak(growth=10_000_000, method="none")

    monkeypatch.setattr(resources, "measure", noted)
    next_scale(subject("mine@TINY"))
    assert [request.subject.model for request in asked] == [f"{__name__}:Own@TINY", f"{__name__}:Wider@1M"]
    assert {request.own_vocab_size for request in asked} == {8192}


def test_what_is_no_larger_foretells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_models, "_REGISTERED", {})
    gt.register_model("mine", scale="TINY")(Wider)
    with pytest.raises(Unmeasurable, match="no larger model of the kind of mine@TINY is known"):
        next_scale(subject("mine@TINY"))
    gt.register_model("mine", scale="1M")(Own)
    with pytest.raises(Unmeasurable, match=r"mine@1M has .* parameters and mine@TINY .*: register a larger model"):
        next_scale(subject("mine@TINY"))


def test_what_autograd_saves_is_near_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula of a step by autograd: one compiled call for the whole model keeps less."""
    config, formula = registry.resolve("GF@TINY").config(), step_sizes.predict
    monkeypatch.setattr(
        step_sizes, "predict", lambda *arguments, **options: formula(*arguments, **{**options, "whole": False})
    )
    formula_bytes = peak_of_step(subject(), config, 2, 64)
    monkeypatch.setattr(step_sizes, "predict", lambda *arguments, **options: None)
    assert peak_of_step(subject(), config, 2, 64) == pytest.approx(formula_bytes, rel=0.15)


def test_one_repeat_that_was_disturbed_moves_no_median(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(subject: Subject, cells: list[Any]) -> Any:
        seconds = np.array([[sum(cell.costs(16)) for cell in cells]] * 7)
        seconds[3, -1] *= 10
        return seconds, "none"

    monkeypatch.setattr(resources, "_times", times)
    error = next_scale(subject())[2]
    assert error.metric == "step_time_error"
    assert error.value == pytest.approx(0.0, abs=1e-6)
    assert error.ci95 == (pytest.approx(0.0, abs=1e-6), pytest.approx(9.0, rel=1e-3))


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def gpu_subject(**request: Any) -> Subject:
    wanted = SubjectRequest(
        model="GF-MH@TINY", device="cuda", **request
    )  # the next is wider: 2M is only deeper than 1M
    return load_subject(plan_subject(wanted), lambda done, total, note: None)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("model", ["GF-MH@1M", "GPT2@1M"])
def test_memory_on_a_gpu_does_not_depend_on_what_ran_before(model: str) -> None:
    request = PeakRequest(subject=SubjectRequest(model=model, device="cuda"), batch=8, length=64, threads=1)
    first, again = (measure(request, "cuda").growth for _ in range(2))
    print(model, first, again)
    # A block that is free is handed out whole where no more than 1 MiB of it would be left.
    assert abs(first - again) <= MIB, "workspaces and tuning are no part of it"


@pytest.mark.gpu
@on_gpu
def test_a_gpu_foretells_the_next_scale_and_sees_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "measure", measure)
    monkeypatch.setattr(resources, "BATCH_SIZE", 8)
    monkeypatch.setattr(resources, "LENGTH", 64)
    found = {one.metric: one for one in next_scale(gpu_subject())}
    print({name: one.value for name, one in found.items()}, found["step_time_error"].ci95)
    assert found["measured_memory"].note == "torch.cuda.max_memory_allocated"
    assert found["measured_step"].note == "wall clock"
    assert abs(found["memory_error"].value or 0) < 0.2, "the limit of a PASS"
    broken = {one.metric: one.value for one in next_scale(gpu_subject(sabotage="slow-when-wide"))}
    print(broken)
    assert (broken["step_time_error"] or 0) > (found["step_time_error"].value or 0) + 0.5


@pytest.mark.gpu
@on_gpu
def test_a_gpu_without_room_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(resources, "captured_step", full)
    with pytest.raises(Unmeasurable, match="the GPU has no room"):
        next_scale(gpu_subject())
