"""G1a-d and G2: is the forward pass finite, causal, recurrent, independent of its batch, and unbiased at the start?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gt.measurement import Measurement, measured
from gt.models.state import ModelState
from gt.probes.compare import finite_interval, relative_error, worst

if TYPE_CHECKING:
    from gt.subject import Subject


@torch.no_grad()
def finite_logits(subject: Subject) -> tuple[Measurement, ...]:
    """G1a: share of cases whose logits have shape [B, T, V] and are finite, T in 1, 7, 64, 257 and B in 1, 4."""
    bad: list[str] = []
    cases = [(B, T) for B in (1, 4) for T in (1, 7, 64, 257)]
    for B, T in cases:
        logits = subject.model(subject.windows(B, T))
        expected = (B, T, subject.vocab_size)
        if tuple(logits.shape) != expected:
            bad.append(f"B{B} T{T}: shape {list(logits.shape)}, expected {list(expected)}")
        elif not torch.isfinite(logits).all():
            share = 1 - torch.isfinite(logits).float().mean()
            bad.append(f"B{B} T{T}: {share:.0%} of the logits are not finite")
    return (measured("good_share", 1 - len(bad) / len(cases), n=len(cases), note="; ".join(bad[:2])),)


@torch.no_grad()
def causality(subject: Subject) -> tuple[Measurement, ...]:
    """G1b: change one token; the largest relative change of any logit before it, in fp32.

    The changed places lie at, before and after the chunk boundaries of the kernels.
    """
    base = subject.windows(1, 64)
    places = (1, 15, 16, 17, 32, 48, 63)
    rows = base.repeat(len(places) + 1, 1)
    for row, place in enumerate(places, start=1):
        rows[row, place] = (rows[row, place] + 1) % subject.tokenizer.vocab_size
    logits = subject.model_fp32(rows)
    leaks = {
        f"token {place} changed": relative_error(logits[row, :place], logits[0, :place])
        for row, place in enumerate(places, start=1)
    }
    where, leak = worst(leaks)
    return (measured("future_leak", leak, n=len(places), note=where),)


@torch.no_grad()
def recurrence(subject: Subject) -> tuple[Measurement, ...]:
    """G1c: the parallel form against token by token and against splits at random points.

    Compared are all logits and every part of the final state, relative to their largest magnitude.
    """
    tokens = subject.windows(2, 96)
    model = subject.model
    whole = model(tokens, return_states=True)
    generator = torch.Generator().manual_seed(subject.seed)
    errors: dict[str, float] = {}
    ways = {"token by token": [1] * tokens.shape[1]}
    for _ in range(3):
        cuts = sorted((torch.randperm(tokens.shape[1] - 1, generator=generator)[:3] + 1).tolist())
        ways[f"split at {', '.join(map(str, cuts))}"] = [
            b - a for a, b in zip([0, *cuts], [*cuts, tokens.shape[1]], strict=True)
        ]
    for way, sizes in ways.items():
        logits, state = _in_pieces(model, tokens, sizes)
        errors[f"logits {way}"] = relative_error(logits, whole[0])
        for name, tensor in state.tensors.items():
            errors[f"{name} {way}"] = relative_error(tensor, whole[1][name])
    where, error = worst(errors)
    return (measured(f"recurrence_error_{subject.plan.request.dtype}", error, n=len(ways), note=where),)


def _in_pieces(model: nn.Module, tokens: Tensor, sizes: list[int]) -> tuple[Tensor, ModelState]:
    state: ModelState | None = None
    pieces = []
    for piece in tokens.split(sizes, dim=1):
        logits, state = model(piece, state=state, return_states=True)
        pieces.append(logits)
    if state is None:
        raise ValueError("no tokens to read")
    return torch.cat(pieces, dim=1), state


@torch.no_grad()
def batch_invariance(subject: Subject) -> tuple[Measurement, ...]:
    """G1d: logits of a row alone against the same row among three others, relative, in fp32."""
    tokens = subject.windows(4, 64)
    together = subject.model_fp32(tokens)
    errors = {f"row {i}": relative_error(subject.model_fp32(tokens[i : i + 1])[0], together[i]) for i in range(4)}
    where, error = worst(errors)
    return (measured("batch_error", error, n=len(errors), note=where),)


@torch.no_grad()
def init_entropy(subject: Subject) -> tuple[Measurement, ...]:
    """G2: entropy of the prediction after the last token of a fresh model, mean over 8 sequences of 128 tokens.

    Judged as a share of ln V, so that vocabularies compare; the documents' bounds are in nats.
    """
    log_p = subject.build()(subject.windows(8, 128, apart=True))[:, -1].double().log_softmax(-1)
    entropies: list[float] = (-(log_p.exp() * log_p).sum(-1)).tolist()
    mean, low, high = finite_interval(entropies)
    scale = math.log(subject.vocab_size)
    return (
        measured("entropy_share", mean / scale, n=len(entropies), ci95=(low / scale, high / scale)),
        measured("entropy_nats", mean, unit="nats", n=len(entropies), ci95=(low, high)),
    )
