"""S0-S4: is there a state, is it healthy, does it follow the input, is it reproducible, do both halves carry it?"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gt.measurement import Measurement, measured
from gt.models.config import ModelConfig, state_shapes
from gt.models.state import ModelState
from gt.probes.compare import Interval, finite_values, least, over_texts, worst
from gt.probes.recurrent import final_state, recurrent

if TYPE_CHECKING:
    from gt.subject import Subject


def shapes(subject: Subject) -> tuple[Measurement, ...]:
    """S0: share of the state's parts, in every layer, that are there with the shape that the configuration implies.

    Of a model of the user's own no shape is known: its parts must have one row per sequence and must not grow with the
    text, as a recurrent state does not.
    """
    if subject.plan.config is None:
        return _constant_shapes(subject)
    batch = 3
    state = final_state(subject, subject.windows(batch, 32))
    config = subject.config
    expected = state_shapes(config) if isinstance(config, ModelConfig) else config.state_shapes()
    wrong: list[str] = []
    for name, (layers, *rest) in expected.items():
        got = list(state[name].shape) if name in state else None
        if got is None:
            wrong += [f"{name} is missing"] * layers
        elif got[0] != batch or got[2:] != rest or got[1] > layers:
            wrong += [f"{name} is {got}, expected {[batch, layers, *rest]}"] * layers
        else:
            wrong += [f"{name} has {got[1]} of {layers} layers"] * (layers - got[1])
    parts = sum(shape[0] for shape in expected.values())
    note = "; ".join(dict.fromkeys(wrong))
    return (measured("good_share", 1 - len(wrong) / parts, n=parts, note=note),)


def _constant_shapes(subject: Subject) -> tuple[Measurement, ...]:
    batch = 3
    early, late = (final_state(subject, subject.windows(batch, length)) for length in (32, 64))
    wrong: list[str] = []
    for name, tensor in late.tensors.items():
        before = list(early[name].shape) if name in early else None
        if tensor.ndim < 2 or len(tensor) != batch:
            wrong.append(f"{name} is {list(tensor.shape)}, expected [{batch}, ...]")
        elif before != list(tensor.shape):
            wrong.append(f"{name} is {before} after 32 tokens and {list(tensor.shape)} after 64")
    parts = len(late.tensors)
    return (measured("good_share", 1 - len(wrong) / parts if parts else 0.0, n=parts, note="; ".join(wrong)),)


def health(subject: Subject) -> tuple[Measurement, ...]:
    """S1: after 256 tokens of real text, per layer and component: finite, norm, root mean square. The worst counts."""
    state = recurrent(final_state(subject, subject.windows(4, 256)))
    finite = sum(int(torch.isfinite(t).sum()) for t in state.values()) / sum(t.numel() for t in state.values())
    norms: dict[str, float] = {}
    sizes: dict[str, float] = {}
    for component, tensor in state.items():
        rows = tensor.flatten(2)  # [B, L, elements]
        for layer in range(rows.shape[1]):
            norms[f"{component} layer {layer}"] = float(rows[:, layer].norm(dim=-1).min())
            sizes[f"{component} layer {layer}"] = float(rows[:, layer].square().mean(-1).sqrt().max())
    smallest, norm = least(norms)
    largest, rms = worst(sizes)
    return (
        measured("finite_share", finite),
        measured("min_norm", norm, n=len(norms), note=smallest, detail=finite_values(norms)),
        measured("max_rms", rms, n=len(sizes), note=largest, detail=finite_values(sizes)),
    )


def evolution(subject: Subject) -> tuple[Measurement, ...]:
    """S2: states after two different texts, mean L2 distance and relative distance per component; the smaller counts.

    Eight texts of 128 tokens, each against the next; as two distances share a text, texts are what is jackknifed.
    """
    windows = subject.windows(8, 128, apart=True)
    state = recurrent(final_state(subject, windows))
    found = []
    for metric, share in (("min_difference", False), ("min_relative_difference", True)):
        intervals = {component: _distance(tensor.flatten(1), share) for component, tensor in state.items()}
        values = {component: interval[0] for component, interval in intervals.items()}
        nearest, value = least(values)
        detail = finite_values(values)
        ci95 = intervals[nearest][1:]
        found.append(measured(metric, value, n=len(windows), ci95=ci95, note=nearest, detail=detail))
    return tuple(found)


def _distance(rows: Tensor, relative: bool) -> Interval:
    """Mean distance of each text's state from the one before, in L2 or as a share of its norm."""

    def mean(texts: list[int]) -> float:
        own = rows[texts]
        gaps, norms = (own - own.roll(1, dims=0)).norm(dim=-1), own.norm(dim=-1)
        if not relative:
            return float(gaps.mean())
        # A state that is zero everywhere differs by nothing from anything.
        return float((gaps / norms).mean()) if norms.all() else 0.0

    return over_texts(len(rows), mean)


@torch.no_grad()
def determinism(subject: Subject) -> tuple[Measurement, ...]:
    """S3: the same input twice, and a continuation after the state was saved and restored: the largest difference."""
    tokens = subject.windows(2, 128)
    first, rest = tokens[:, :96], tokens[:, 96:]
    logits, state = subject.model(first, return_states=True)
    again, state_again = subject.model(first, return_states=True)
    differences = {"logits": _largest(logits, again)}
    for name, tensor in state.tensors.items():
        differences[name] = _largest(tensor, state_again[name])
    with tempfile.TemporaryDirectory() as folder:
        state.save(Path(folder) / "state.safetensors")
        restored = ModelState.restore(Path(folder) / "state.safetensors", subject.device)
    continued = subject.model(rest, state=state)
    differences["logits after restoring"] = _largest(continued, subject.model(rest, state=restored))
    where, difference = worst(differences)
    return (measured("max_difference", difference, note=where),)


def _largest(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max())


def contribution(subject: Subject) -> tuple[Measurement, ...]:
    """S4: per component, the variance of the final state over inputs as a share of its mean square.

    Scale-free: rescaling a key moves the raw ratios (recorded) 100x at equal loss. Sixteen texts of 128 tokens.
    """
    windows = subject.windows(16, 128, apart=True)
    state = recurrent(final_state(subject, windows, trained=True))
    count = len(windows)
    intervals = {name: _over_rows(_variance_share, part) for name, part in state.items()}
    shares = {name: interval[0] for name, interval in intervals.items()}
    component, share = least(shares)
    note = "; ".join(filter(None, (component, subject.trained_note)))
    ci95 = intervals[component][1:]
    found = [measured("min_variance_share", share, n=count, ci95=ci95, note=note, detail=finite_values(shares))]
    if {"rwkv", "mamba"} <= state.keys():
        for metric, figure in (("variance_ratio", _variance), ("norm_ratio", _norm)):

            def ratio(texts: list[int], of: Callable[[Tensor], float] = figure) -> float:
                rwkv, mamba = of(state["rwkv"][texts]), of(state["mamba"][texts])
                return rwkv / mamba if mamba else math.inf

            value, low, high = over_texts(count, ratio)
            detail = finite_values({name: figure(part) for name, part in state.items()})
            found.append(measured(metric, value, n=count, ci95=(low, high), detail=detail))
    return tuple(found)


def _over_rows(figure: Callable[[Tensor], float], state: Tensor) -> Interval:
    return over_texts(len(state), lambda texts: figure(state[texts]))


def _variance(state: Tensor) -> float:
    return float(state.var(dim=0).mean())


def _variance_share(state: Tensor) -> float:
    mean_square = float(state.square().mean())
    return _variance(state) / mean_square if mean_square else math.nan


def _norm(state: Tensor) -> float:
    return float(state.flatten(1).norm(dim=-1).mean())
