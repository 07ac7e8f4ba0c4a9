"""One step as configured: accumulation, precision, weights, skipped overflows, compiled and captured forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gt.kernels import native_model
from gt.training.optim import make_optimizer, train_step
from gt.training.step import LARGEST_LOSS_SCALE, Step
from tests.gt.training.runs import drawn, one_step


def trained(step: Step, steps: int = 3, **batch: Any) -> tuple[list[float], list[float], dict[str, Tensor]]:
    """Losses, gradient norms and weights of a few steps."""
    losses, norms = [], []
    for number in range(steps):
        loss, norm = step(drawn(seed=number, **batch), number)
        losses.append(float(loss))
        norms.append(float(norm))
    return losses, norms, {name: p.detach().clone() for name, p in step.model.named_parameters()}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("model", ["GF-MH@TINY", "GPT2@TINY"])
def test_accumulated_batches_are_one_large_batch(model: str, weighted: bool) -> None:
    whole = trained(one_step(model, batch_size=4), weighted=weighted)
    parts = trained(one_step(model, batch_size=1, accumulate=4), weighted=weighted)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert parts[1] == pytest.approx(whole[1], rel=1e-4)
    for name, value in parts[2].items():
        # AdamW divides by the gradient's size: where that is nothing but rounding, so is the update.
        assert float((value - whole[2][name]).abs().mean()) < 1e-4, name


def test_plain_settings_are_the_step_of_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_model, "usable", lambda tokens_BT: False)  # which rounds otherwise
    step = one_step(warmup_ratio=0.0, final_lr_ratio=1.0, weight_decay=0.0)
    losses, norms, weights = trained(step)
    model = one_step().model
    optimizer = make_optimizer(model, 1e-2)
    found = [train_step(model, optimizer, drawn(seed=seed).tokens_BT, 1.0) for seed in range(3)]
    assert losses == [float(loss) for loss, _ in found]
    assert norms == pytest.approx([float(norm) for _, norm in found])
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(weights[name], parameter, rtol=0, atol=1e-6)


def test_the_loss_is_the_weighted_mean_of_the_tokens() -> None:
    step, batch = one_step(), drawn(weighted=True)
    tokens, weights = batch.tokens_BT, batch.weights_BT
    assert weights is not None
    with torch.no_grad():
        logits = step.model(tokens[:, :-1])
    each = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    loss, _ = step(batch, 0)
    assert float(loss) == pytest.approx(float((each * weights.flatten()).sum() / weights.sum()))


@pytest.mark.parametrize("model", ["GF-MH@TINY", "GPT2@TINY"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precision_follows_fp32(model: str, dtype: str) -> None:
    expected, got = (trained(one_step(model, dtype=kind), steps=6)[0] for kind in ("float32", dtype))
    assert got == pytest.approx(expected, rel=3e-2)
    assert got != expected


def test_fp16_skips_a_step_that_overflows_and_halves_the_scale() -> None:
    step = one_step(dtype="float16")
    assert step.scale is not None
    before = {name: p.detach().clone() for name, p in step.model.named_parameters()}
    step.scale.scale.fill_(2.0**40)
    step(drawn(), 0)
    assert float(step.scale.scale) == LARGEST_LOSS_SCALE  # halved, and no larger than it may be
    assert all(torch.equal(p, before[name]) for name, p in step.model.named_parameters())
    step(drawn(), 1)
    assert not all(torch.equal(p, before[name]) for name, p in step.model.named_parameters())
    assert float(step.scale.steady) == 1


def test_a_scale_that_holds_long_enough_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gt.training.step.STEADY_STEPS", 2)
    step = one_step(dtype="float16")
    assert step.scale is not None
    step.scale.scale.fill_(8.0)
    scales = []
    for number in range(4):
        step(drawn(), number)
        scales.append(float(step.scale.scale))
    assert scales == [8, 16, 16, 32]


def test_deterministic_algorithms_cover_every_kind_of_model() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        for model in ("GF-MH@TINY", "HY@TINY", "GPT2@TINY"):
            first, again = (trained(one_step(model, accumulate=2, batch_size=2), steps=2) for _ in range(2))
            assert first[0] == again[0]
            assert all(torch.equal(value, again[2][name]) for name, value in first[2].items())
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_recorded_step_is_the_step(dtype: str, weighted: bool) -> None:
    options: dict[str, Any] = {"batch_size": 2, "accumulate": 2, "dtype": dtype, "balance": 0.1, "rwkv_dropout": 0.5}
    options |= {"gate_freeze_steps": 2, "mamba_grad_scale": 2.0}
    found = []
    for graph in (False, True):
        plain = one_step(graph=graph, **options)
        step = Step(plain.model.cuda(), plain.config, torch.device("cuda"))
        step.prepare(drawn(weighted=weighted))
        found.append([float(step(drawn(seed=number, weighted=weighted), number)[0]) for number in range(5)])
    assert found[1] == pytest.approx(found[0], rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as its compiler is imported
def test_a_compiled_transformer_is_the_transformer() -> None:
    found = []
    for compiled in (False, True):
        plain = one_step("GPT2@TINY", compile=compiled)
        step = Step(plain.model.cuda(), plain.config, torch.device("cuda"))
        step.prepare(drawn())
        found.append([float(step(drawn(seed=number), number)[0]) for number in range(3)])
    assert found[1] == pytest.approx(found[0], rel=1e-4)
