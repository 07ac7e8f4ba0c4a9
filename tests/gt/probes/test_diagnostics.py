"""Diagnostics find what is in a model of known sums, nothing wrong in a healthy model, and every planted fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gt.measurement import Measurement
from gt.probes import components, diagnostics
from gt.resources import fixtures_dir
from gt.sabotage import SABOTAGES
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject
from pytest_groundthink.checks import load_checks
from tests.gt.probes.memories import Memories, MemoriesSubject

BOOK = load_checks(fixtures_dir() / "checks.yaml")

PROBES: dict[str, Callable[[Any], tuple[Measurement, ...]]] = {
    "G3.5": diagnostics.movement,
    "D1": diagnostics.divergence,
    "D1-long": lambda subject: diagnostics.divergence(subject, length=8192),
    "D2": diagnostics.collapse,
    "D3": components.contribution,
    "D4": diagnostics.information_flow,
    "D5": components.coupling,
    "D6": components.flow_share,
}


def found(check: str, model: Memories) -> dict[str, Measurement]:
    """What a probe measures; of a metric that comes several times, the first."""
    measurements = PROBES[check](MemoriesSubject(model))
    return {m.metric: m for m in reversed(measurements)}


def status(check: str, measurements: tuple[Measurement, ...]) -> str:
    described = BOOK.checks[check]
    return str(described.bands["default"].judge(measurements, described.metrics)[0])


def load(**request: Any) -> Subject:
    return load_subject(plan_subject(SubjectRequest(device="cpu", **request)), lambda done, total, note: None)


def test_a_sum_moves_by_half_and_a_still_one_is_saturated() -> None:
    whole = found("G3.5", Memories())
    assert whole["min_state_change"].value == pytest.approx(64 / 128)
    assert whole["max_saturated_share"].value == 0
    still = found("G3.5", Memories(mamba=(0.0, 1)))
    assert (still["min_state_change"].value, still["min_state_change"].note) == (0, "mamba")
    assert still["max_saturated_share"].value == pytest.approx(1 / 48)  # one token's code in each row


def test_outputs_that_do_not_depend_on_the_text_do_not_vary() -> None:
    assert found("G3.5", Memories())["min_activation_variance"].value == pytest.approx((15 / 16**2) * 16 / 15 * 16 / 48)
    constant = found("G3.5", Memories(constant="rwkv"))["min_activation_variance"]
    assert (constant.value, constant.note) == (0, "rwkv")


@pytest.mark.parametrize(
    ("matrix", "share"), [(torch.eye(8), 1.0), (torch.ones(8, 8), 1 / 8), (torch.zeros(8, 8), 1 / 8)]
)
def test_the_effective_rank_is_that_of_the_matrices(matrix: torch.Tensor, share: float) -> None:
    assert diagnostics._effective_ranks(matrix.expand(2, 3, 8, 8)) == pytest.approx([share] * 2, rel=1e-4)
    assert diagnostics._effective_ranks(torch.ones(2, 3, 8)) == []


def test_growth_is_that_of_the_sums() -> None:
    growth = found("D1", Memories(mamba=(0.5, 1)))
    assert growth["max_growth"].value == pytest.approx(512 / 64)
    assert growth["max_growth"].note == "rwkv"
    assert growth["growth_mamba"].value == pytest.approx(1)
    assert growth["max_growth"].detail["rwkv"] == pytest.approx({"64": 64, "128": 128, "256": 256, "512": 512})


def test_a_collapsed_component_is_told_from_the_other() -> None:
    one = PROBES["D2"](MemoriesSubject(Memories(constant="mamba")))
    assert (one[0].value, one[0].note) == (0, "mamba")
    assert status("D2", one) == "WARN"
    assert status("D2", PROBES["D2"](MemoriesSubject(Memories()))) == "PASS"


def test_only_a_state_that_is_read_is_worth_something() -> None:
    # Each text repeats one token: the longer the sum, the surer the model.
    measurements = PROBES["D3"](MemoriesSubject(Memories(rwkv=(1, 0.05), mamba=(1, 0))))
    rises = {m.note: m for m in measurements if m.metric == "state_loss_rise"}
    assert (rises["mamba"].value, rises["mamba"].ci95) == (0, (0, 0))
    # Intact, token t of the text is predicted after a sum of t; without the state after one of t within its chunk.
    t = torch.arange(33, 257).double()

    def loss(sums: torch.Tensor) -> torch.Tensor:
        return torch.log1p(47 * torch.exp(-0.05 * sums)).mean()

    assert rises["rwkv"].value == pytest.approx(float(loss((t - 1) % 32 + 1) - loss(t)), rel=1e-4)
    assert measurements[0].note == "mamba"
    assert status("D3", measurements) == "FAIL"


def test_two_states_that_are_read_pass() -> None:
    # Rows differ by their token alone, so that their losses do not: the interval has no width.
    assert status("D3", PROBES["D3"](MemoriesSubject(Memories(rwkv=(1, 0.05), mamba=(1, 0.05))))) == "PASS"


def test_flow_is_what_is_left_of_the_prefix() -> None:
    flow = found("D4", Memories())
    # 16 of 256 tokens change their code: from (256, 0) to (240, 16).
    assert flow["information_flow"].value == pytest.approx(16 * 2**0.5 / 256)
    gone = PROBES["D4"](MemoriesSubject(Memories((0.5, 1), (0.5, 1))))
    assert gone[0].value == 0
    assert status("D4", gone) == "FAIL"


def test_coupling_and_flow_share_are_those_of_the_gains() -> None:
    model = Memories(rwkv=(0.9, 0.3), mamba=(0.9, 0.1))
    assert found("D5", model)["coupling_ratio"].value == pytest.approx(3, rel=1e-4)
    share = found("D6", model)["min_flow_share"]
    assert share.value == pytest.approx(0.25, rel=1e-4)
    assert share.note == "mamba"


def test_no_gradient_and_no_flow_are_no_healthy_numbers() -> None:
    model = Memories(rwkv=(0.9, 0.3), mamba=(0.9, 0))
    assert found("D5", model)["coupling_ratio"].value is None
    assert status("D6", PROBES["D6"](MemoriesSubject(model))) == "FAIL"


@pytest.mark.parametrize("check", PROBES)
def test_what_is_not_finite_fails(check: str) -> None:
    assert (
        status(check, PROBES[check](MemoriesSubject(Memories(mamba=(1, float("nan")), rwkv=(float("nan"), 1)))))
        == "FAIL"
    )


@pytest.mark.parametrize("check", [check for check in PROBES if check != "D1-long"])
def test_the_shipped_checkpoint_is_healthy(check: str, shipped: Subject) -> None:
    assert status(check, PROBES[check](shipped)) == "PASS"


@pytest.fixture(scope="module")
def shipped() -> Subject:
    return load()


@pytest.mark.parametrize("model", ["HY@TINY", "HGF@TINY"])
@pytest.mark.parametrize("fault", [name for name, fault in SABOTAGES.items() if fault.caught_by in PROBES])
def test_the_check_that_is_meant_to_catches_the_fault(model: str, fault: str) -> None:
    subject = load(model=model, sabotage=fault)
    subject.__dict__["trained_model"] = subject.model  # untrained it is broken already
    subject.__dict__["mini_training"] = type("Run", (), {"losses": [1.0]})
    check = SABOTAGES[fault].caught_by
    assert status(check, PROBES[check](subject)) == "FAIL"


def test_a_transformer_has_no_state_and_its_early_text_reaches_the_end() -> None:
    subject = load(model="GPT2@TINY", sabotage="short-sight")
    subject.__dict__["trained_model"] = subject.model
    subject.__dict__["mini_training"] = type("Run", (), {"losses": [1.0]})
    assert status("D4", PROBES["D4"](subject)) == "FAIL"
    asked = {check for check in PROBES if BOOK.checks[check].requires <= subject.capabilities}
    assert asked == {"D4"}
