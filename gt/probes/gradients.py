"""G1e and G4: does the gradient reach every parameter, and both components?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gt.measurement import Measurement, measured
from gt.probes.compare import Interval, over_texts, rounded
from gt.stats import mean_interval
from gt.training.adamw import PlainAdamW
from gt.training.interventions import component_of
from gt.training.mini import BATCH_SIZE, CLIP, LENGTH, LR
from gt.training.optim import loss_and_gradients, train_step

if TYPE_CHECKING:
    from gt.subject import Subject

BATCHES = 8
POSITIONS = 16
"""Stretches of the text whose gate is recorded."""


def reach(subject: Subject) -> tuple[Measurement, ...]:
    """G1e: share of parameter tensors with a finite, non-zero gradient after three steps of a fresh model.

    Three steps, because factors that start at zero hide the gradient of their partner at first.
    """
    model = subject.build()
    optimizer = PlainAdamW(model, LR)
    batches = subject.train_tokens.random_windows(BATCH_SIZE, LENGTH, subject.seed)
    for _ in range(3):
        train_step(model, optimizer, next(batches).to(subject.device), CLIP)
    gradients = _gradients(model, next(batches).to(subject.device))
    missed = [
        f"{name} ({'none' if g is None else 'not finite' if not torch.isfinite(g).all() else 'zero'})"
        for name, g in gradients.items()
        if g is None or not torch.isfinite(g).all() or not g.any()
    ]
    share = 1 - len(missed) / len(gradients)
    note = f"{len(missed)} not reached: {', '.join(missed[:3])}" if missed else ""
    return (measured("reached_share", share, n=len(gradients), note=note, detail={"missed": missed}),)


def _gradients(model: nn.Module, tokens: Tensor) -> dict[str, Tensor | None]:
    loss_and_gradients(model, tokens)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def component_balance(subject: Subject) -> tuple[Measurement, ...]:
    """G4: mean gradient norm per parameter tensor, RWKV over Mamba: geometric mean over 8 batches of real text.

    Recorded with it: variance of the outputs, RWKV over Mamba; mean and spread of the gate; cosine of the outputs.
    Source: strategy document, component gradient logging.
    """
    model = subject.trained_model
    batches = subject.train_tokens.random_windows(BATCH_SIZE, LENGTH, subject.seed + 1)
    log_ratios: list[float] = []
    norms: dict[str, list[float]] = {"rwkv": [], "mamba": []}
    for done in range(BATCHES):
        gradients = _gradients(model, next(batches).to(subject.device))
        means = {}
        for component, seen in norms.items():
            tensors = [g for name, g in gradients.items() if component_of(name) == component and g is not None]
            means[component] = sum(float(g.norm()) for g in tensors) / max(len(tensors), 1)
            seen.append(means[component])
        if all(means.values()) and all(map(math.isfinite, means.values())):
            log_ratios.append(math.log(means["rwkv"] / means["mamba"]))
        subject.progress(done + 1, BATCHES, "gradients")
    model.zero_grad(set_to_none=True)
    rwkv, mamba = (sum(norms[c]) / BATCHES for c in ("rwkv", "mamba"))
    ratio = rwkv / mamba if mamba else math.inf if rwkv else math.nan
    ci95 = None
    if len(log_ratios) == BATCHES:
        ratio, low, high = map(math.exp, mean_interval(log_ratios))
        ci95 = (low, high)
    note = subject.trained_note
    if not math.isfinite(ratio) or ratio == 0:
        note = f"mean gradient norms: RWKV {rwkv:.3g}, Mamba {mamba:.3g}"
    return (
        measured("grad_ratio", ratio, n=BATCHES, ci95=ci95, note=note, detail=dict(norms)),
        *_outputs(model, subject.windows(BATCH_SIZE, LENGTH)),
    )


@torch.no_grad()
def _outputs(model: nn.Module, tokens: Tensor) -> tuple[Measurement, ...]:
    _, seen = model(tokens, return_activations=True)
    rwkv, mamba = (seen[name].double() for name in ("rwkv_out", "mamba_out"))  # [B, L, T, C]

    def variance_ratio(texts: list[int]) -> float:
        smaller = float(mamba[texts].var())
        return float(rwkv[texts].var()) / smaller if smaller else math.inf

    cosine = nn.functional.cosine_similarity(rwkv, mamba, dim=-1)
    found = (
        _recorded("activation_variance_ratio", over_texts(len(tokens), variance_ratio), len(tokens)),
        _recorded("output_cosine", over_texts(len(tokens), lambda texts: float(cosine[texts].mean())), len(tokens)),
    )
    return (*found, *_gate(seen["gate"].double())) if "gate" in seen else found


def _by_position(gate: Tensor) -> dict[str, Any]:
    """RWKV's mean share by layer and by stretch of the text."""
    width = max(1, gate.shape[2] // POSITIONS)
    of_stretch = [part.mean(dim=(0, 2, 3)) for part in gate.split(width, dim=2)]  # [layers] each
    return {"tokens": width, "layers": rounded(torch.stack(of_stretch, dim=1))}


def _gate(gate: Tensor) -> tuple[Measurement, ...]:
    """Mean and spread of RWKV's share [B, L, T, 1 or C] in the fusion, for those that have one."""
    per_layer: dict[str, Any] = {
        "mean": [float(layer.mean()) for layer in gate.unbind(1)],
        "spread": [float(layer.std()) for layer in gate.unbind(1)],
        "by_position": _by_position(gate),
    }
    mean = over_texts(len(gate), lambda texts: float(gate[texts].mean()))
    spread = over_texts(len(gate), lambda texts: float(gate[texts].std()))
    return _recorded("gate_mean", mean, len(gate), detail=per_layer), _recorded("gate_spread", spread, len(gate))


def _recorded(metric: str, estimate: Interval, texts: int, **fields: Any) -> Measurement:
    return measured(metric, estimate[0], n=texts, ci95=estimate[1:], **fields)
