"""Settings of one component: each does what it says and nothing else."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from gt import registry
from gt.models.build import build_model
from gt.training.config import TrainConfig
from gt.training.interventions import (
    balance_penalty,
    by_component,
    component_of,
    dropout_probability,
    learning_rate,
    parameter_groups,
    warn_of_no_effect,
)
from gt.training.optim import cosine_schedule
from gt.training.step import Step
from tests.gt.training.runs import drawn, one_step


def changed(step: Step, number: int) -> set[str]:
    """Components of which any parameter changed in one more step."""
    before = {name: p.detach().clone() for name, p in step.model.named_parameters()}
    step(drawn(), number)
    return {component_of(name) for name, p in step.model.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("variant", ["GF-MH", "HY", "CP", "WS", "RF", "HGF", "RWKV6", "Mamba2", "GPT2"])
def test_every_parameter_is_in_one_group_and_matrices_decay(variant: str) -> None:
    model = build_model(registry.resolve(f"{variant}@TINY").config(50))
    groups = parameter_groups(model, 0.1)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert all((group["weight_decay"] == 0.1) == (p.ndim == 2) for group in groups for p in group["params"])
    expected = {"GPT2": {"rest"}, "RWKV6": {"rwkv", "rest"}, "Mamba2": {"mamba", "rest"}}
    found = by_component(name for name, _ in model.named_parameters())
    assert found.keys() == expected.get(variant, {"rwkv", "mamba", "fusion", "rest"})


def test_components_are_told_by_name() -> None:
    assert component_of("blocks.0.rwkv.gate.weight") == "rwkv"
    assert component_of("blocks.3.mamba.norm.weight") == "mamba"
    assert component_of("blocks.0.fusion.gate.bias") == "fusion"
    assert component_of("blocks.0.fusion.rwkv_norm.weight") == "fusion"
    assert component_of("blocks.0.ffn.up.weight") == component_of("embedding.weight") == "rest"


def test_rates_have_their_own_multiple_start_and_warm_up() -> None:
    config = TrainConfig(
        steps=100, lr=1.0, rwkv_lr_mult=2.0, mamba_lr_mult=0.5, mamba_warmup_ratio=0.4, gate_freeze_steps=50
    )
    rates = {name: [learning_rate(config, name, step) for step in range(100)] for name in ("rwkv", "mamba", "fusion")}
    rest = [learning_rate(config, "rest", step) for step in range(100)]
    assert rest == [cosine_schedule(step, 100, 1.0, 0.1, 0.1) for step in range(100)]
    assert rates["rwkv"] == pytest.approx([2 * rate for rate in rest])
    assert rates["mamba"][39] == max(rates["mamba"]) == 0.5
    assert all(a < b for a, b in pairwise(rates["mamba"][:40]))
    assert rates["fusion"][:50] == [0.0] * 50
    assert rates["fusion"][50] == pytest.approx(rest[50] / 10)
    assert rates["fusion"][60:] == rest[60:]


def test_a_frozen_gate_stays_and_the_others_learn() -> None:
    step = one_step(gate_freeze_steps=2)
    assert changed(step, 0) == {"rwkv", "mamba", "rest"}
    assert changed(step, 1) == {"rwkv", "mamba", "rest"}
    assert changed(step, 2) == {"rwkv", "mamba", "fusion", "rest"}
    late = one_step(rwkv_start=1)
    assert changed(late, 0) == {"mamba", "fusion", "rest"}
    assert "rwkv" in changed(late, 1)


def gradients(step: Step) -> dict[str, Tensor]:
    step(drawn(), 0)
    return {name: p.grad.clone() for name, p in step.model.named_parameters() if p.grad is not None}


def test_gradients_of_one_component_are_scaled() -> None:
    plain, scaled = gradients(one_step(clip=1e9)), gradients(one_step(clip=1e9, mamba_grad_scale=10.0))
    for name, gradient in plain.items():
        factor = 10.0 if component_of(name) == "mamba" else 1.0
        torch.testing.assert_close(scaled[name], gradient * factor)


def test_a_constant_factor_on_gradients_is_almost_nothing_to_adamw() -> None:
    """What the documents' experiment changed was the clipped norm (fusion document, observation 10)."""
    after = []
    for factor in (1.0, 10.0):
        step = one_step(clip=1e9, mamba_grad_scale=factor, lr=1e-3)
        for number in range(3):
            step(drawn(seed=number), number)
        after.append(torch.cat([p.detach().flatten() for p in step.model.parameters()]))
    fresh = torch.cat([p.detach().flatten() for p in one_step().model.parameters()])
    moved, apart = (after[0] - fresh).norm(), (after[0] - after[1]).norm()
    assert float(apart / moved) < 0.02


def test_the_penalty_is_nothing_at_its_target_and_pulls_towards_it() -> None:
    torch.manual_seed(0)
    out = torch.randn(2, 3, 4, 5)
    assert float(balance_penalty({"rwkv_out": 3 * out, "mamba_out": out}, 9.0)) == pytest.approx(0, abs=1e-9)
    assert float(balance_penalty({"rwkv_out": out * 10, "mamba_out": out}, 1.0)) == pytest.approx(4.605**2, rel=1e-3)

    def ratio_after(balance: float) -> float:
        step = one_step(balance=balance, lr=3e-3, warmup_ratio=0.0)
        for number in range(8):
            step(drawn(), number)
        _, seen = step.model(drawn().tokens_BT, return_activations=True)
        return float((seen["rwkv_out"].var() / seen["mamba_out"].var()).detach().log().abs())

    assert ratio_after(1.0) < 0.7 * ratio_after(0.0)


def test_the_reported_loss_is_without_the_penalty() -> None:
    plain, penalised = one_step()(drawn(), 0)[0], one_step(balance=1.0)(drawn(), 0)[0]
    assert float(penalised) == pytest.approx(float(plain))


def test_dropped_output_is_that_of_mamba_alone_and_only_in_training() -> None:
    dropped = one_step(rwkv_dropout=1.0)
    whole = dropped.model(drawn().tokens_BT[:, :-1]).detach()
    # A hook takes a block out of the compiled path: the same to rounding.
    torch.testing.assert_close(whole, one_step().model(drawn().tokens_BT[:, :-1]).detach(), rtol=1e-5, atol=1e-6)
    got = gradients(dropped)
    assert not any(gradient.any() for name, gradient in got.items() if component_of(name) == "rwkv")
    assert any(gradient.any() for name, gradient in got.items() if component_of(name) == "mamba")
    assert torch.equal(dropped.model(drawn().tokens_BT[:1]), dropped.model(drawn().tokens_BT[:1]))


def test_drops_are_of_a_sequence_and_layer_and_belong_to_the_step() -> None:
    step = one_step(rwkv_dropout=0.5, batch_size=2, accumulate=3)
    dropout = step.dropout
    assert dropout is not None
    seen = []
    for number in (0, 1, 0):
        dropout.draw(0.5, 0, number)
        seen.append(dropout.keep_NLB.clone())
    assert seen[0].shape == (3, 4, 2)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    shares = []
    for number in range(200):
        dropout.draw(0.3, 0, number)
        shares.append(float(dropout.keep_NLB.mean()))
    assert sum(shares) / 200 == pytest.approx(0.7, abs=0.03)
    assert dropout.call is None


def test_the_probability_of_dropping_runs_from_first_to_last() -> None:
    config = TrainConfig(steps=11, rwkv_dropout=0.4, rwkv_dropout_final=0.1)
    assert [round(dropout_probability(config, step), 3) for step in (0, 5, 10)] == [0.4, 0.25, 0.1]
    assert dropout_probability(TrainConfig(steps=11, rwkv_dropout=0.2), 10) == 0.2


def test_what_has_kernels_of_its_own_is_not_compiled(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    step = one_step(compile=True)
    assert not compiled
    assert compiled == [one_step("GPT2@TINY", compile=True).model]
    with caplog.at_level(logging.WARNING):
        warn_of_no_effect(step.model, step.config, "GF-MH@TINY")
    assert "compile has no effect: GF-MH@TINY runs on kernels of its own" in caplog.text


def test_a_setting_for_what_a_model_lacks_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = build_model(registry.resolve("GPT2@TINY").config(50))
    with caplog.at_level(logging.WARNING):
        warn_of_no_effect(model, TrainConfig(mamba_lr_mult=0.5, balance=0.1), "GPT2@TINY")
    assert [record.getMessage() for record in caplog.records] == [
        "mamba_lr_mult has no effect: GPT2@TINY has no mamba",
        "balance has no effect: GPT2@TINY has no rwkv and no mamba",
    ]
