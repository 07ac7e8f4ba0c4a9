"""Predicted memory of a training step, and how much memory there is. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from math import prod
from pathlib import Path

from gt.bench.record import Prediction
from gt.models.config import LORA_DECAY, LORA_MIX, MIX_TARGETS, ModelConfig, parameter_counts, state_shapes
from gt.models.published_config import PublishedConfig

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}

HEADROOM = 0.8
"""Share of the available memory that a cell may be predicted to need: allocators keep more than tensors hold."""

OPS = {
    "rwkv": ("wkv6", "token_mix", "gated_group_norm"),
    "mamba": ("ssd", "causal_conv1d", "rms_norm"),
}
"""Ops of each mixer. Where all are the native ones and numbers are float32, the mixer is one call (`native_layers`)."""

# Numbers kept for the backward pass per token, in units of the width named; counted from what autograd saves.
_NORM = {"native": 2, "reference": 3}  # input, scaled; normalised
_RWKV = 21  # shift 2, mixing factors 5, mixed inputs 5, r k v w and the decay's exp 5, norm, gate and output 4
_RWKV_AT_ONCE = 12  # mixing factors 5, r k v w and gate 5, wkv6's output, that normalised
_GATED_NORM = {"native": 3, "reference": 5}  # in units of d_inner: y, z, scaled; y silu(z), normalised
_LOGITS = {"native": 1, "reference": 2}  # the loss: in units of the logits: they; their log-softmax
# Both inputs joined 2, their difference 1, a share for each channel 1; the gains' two norms come on top.
_FUSION = {"gains": 0, "gated": 3, "channel_gated": 4, "concatenated": 2, "weighted": 1, "residual": 1}
_BLOCK_AT_ONCE = 6  # input, normalised, both mixers' outputs, their sum with the input, that normalised
_MODEL_AT_ONCE = 5  # what the last block wrote, normalised, its gradient, and gradients of a block's output and input
HEAD_TOKENS, HEAD_WORDS = 256, 256  # ROWS and WORDS of cpp/model.cpp


def predict(
    config: ModelConfig | PublishedConfig | None,
    batch: int,
    length: int,
    dtype: str = "float32",
    backends: Mapping[str, str] | None = None,
    *,
    autocast: bool = False,
    halves: bool = False,
    accumulate: int = 1,
    whole: bool = False,
    threads: int = 2,
) -> Prediction | None:
    """Memory of a training step with AdamW, from the shapes alone.

    With P numbers in the parameters, E of them in the embedding and p in a layer, A kept by the forward pass (a by a
    layer), S of recurrent states and L = batch * length * vocabulary logits, parameters and AdamW's moments take 3 P.
    Gradients take another P when they are complete; the step begins by letting go of the last step's. h gradients exist
    at a time: 2 where the halves of the batch are computed side by side, otherwise 1. The loss keeps l L, with l = 1
    for the compiled kernel and 2 otherwise (logits and their log-softmax). The peak is 3 P and the largest of:

    * the end of the forward pass: A + S + L;
    * the start of the backward pass: A + (l + 1) L;
    * the last layer's backward pass, when the logits are gone and the head's gradient is there: A + h (E + p) + X, with
      X what a mixer or a block in one call works in (`_worked_in`);
    * the first layer's, when no other activations are left: a + h P + X;
    * the end of the backward pass, when the embedding's gradient is added to the head's: h (P + E).

    With several calls to a step (`accumulate`), the gradients of those before come on top. A is, for each token and
    layer, with C the hidden size, D Mamba's inner width, N its state size, H heads and W taps (in brackets: without the
    compiled kernel of the norm):

    * two norms 4 C (6 C), feed-forward 2 * ffn_expand * C, and at the end of the model a norm 2 C (3 C);
    * RWKV-6: 21 C, the hidden layers of its LoRAs (160 + 64), group-norm statistics 2 H;
    * Mamba-2: projection 2 D + 2 N + H, convolution's input D + 2 N, the scan's inputs D + 2 N + H, gated norm 3 D
      (5 D);
    * fusion: up to 4 C (6 C), by its kind (`_FUSION`);
    * what an op's backend keeps beyond its inputs and outputs (`_kept_by_ops`);

    and the initial recurrent state of every sequence once. In float32 on the CPU a mixer whose ops are all native runs
    in one call (`gt.kernels.native_layers`), and keeps no initial state but the W - 1 tokens before the convolution:

    * RWKV-6: 12 C, the hidden layers of its LoRAs, group-norm statistics 2 H;
    * Mamba-2: 5 D + 4 N + H + 1;
    * of both mixers with one gate per position the block is one call: instead of norms 4 C and fusion 6 C + 3.

    Where `whole` holds and such a model's loss is native too, loss and gradients are one call
    (`gt.kernels.native_model`) and the peak is its backward pass: 3 P + h (P + A' + S' + V') + min(h, threads) X', each
    of the last four of one half. The work buffer stays from step to step. A' is A with 5 C + 1 at the end of the
    model, S' the states of one layer, V' the head's logits of up to 256 tokens, X' is X without what the buffer has.

    Args:
        config: Configuration of the model.
        batch: Sequences.
        length: Tokens per sequence.
        dtype: Of parameters and activations.
        backends: Name of the backend by op.
        autocast: Whether products are in a lower precision than the parameters: then no mixer runs in one call.
        halves: Whether the step is computed in halves where it can be (`gt.training.optim.add_gradients`, on a CPU).
        accumulate: Calls of this batch size that a step is made of.
        whole: Whether the step is `gt.training.optim.train_step`, which asks for loss and gradients in one call.
        threads: Of that call: with one, the halves follow each other.

    Returns:
        The prediction, or None for a kind of model that the formula does not cover.
    """
    if not isinstance(config, ModelConfig) or not config.mixers or not set(config.mixers) <= {"rwkv", "mamba"}:
        return None
    item = ITEM_BYTES[dtype]
    tokens = batch * length
    parameters, beside_table = (item * count for count in parameter_counts(config))
    table, layer = parameters - beside_table, beside_table // config.num_layers
    backends = backends or {}
    at_once = {
        mixer
        for mixer in config.mixers
        if dtype == "float32" and not autocast and all(backends.get(op) == "native" for op in OPS[mixer])
    }
    # A backend that is none of the framework's keeps what ours keeps.
    norm, loss = ("reference" if backends.get(op) == "reference" else "native" for op in ("rms_norm", "cross_entropy"))
    per_layer = _kept_per_token(config, norm, at_once) + _kept_by_ops(config, backends)
    shapes = state_shapes(config)
    initial = sum(
        prod(shape) for name, shape in shapes.items() if name.partition("_")[0] not in at_once or name == "mamba_conv"
    )
    activations = item * (tokens * (config.num_layers * per_layer + _NORM[norm] * config.hidden_size) + batch * initial)
    logits = item * tokens * config.vocab_size
    gradients = 2 if halves and batch > 1 else 1
    if whole and _block_at_once(config, at_once) and backends.get("cross_entropy") == "native":
        half = -(-batch // gradients)
        room, used = model_room(config, half, length), _worked_in(config, half, length, at_once)
        in_call = gradients * room + min(gradients, threads) * used
        moments: tuple[int, ...] = (gradients * parameters + item * in_call,)
    else:
        workspace = item * (_worked_in(config, batch, length, at_once) + _handed_over(config, batch, length, at_once))
        moments = (
            activations + item * batch * sum(map(prod, shapes.values())) + logits,
            activations + (_LOGITS[loss] + 1) * logits,
            activations + gradients * (table + layer) + workspace,
            activations // config.num_layers + gradients * parameters + workspace,
            gradients * (parameters + table),
        )
    return Prediction(
        parameters=parameters,
        gradients=parameters,
        moments=2 * parameters,
        activations=activations,
        logits=logits,
        peak=(3 if accumulate == 1 else 4) * parameters + max(moments),
    )


def model_room(config: ModelConfig, batch: int, length: int) -> int:
    """Numbers in the work buffer of a model in one call, for the sequences that one part of it computes.

    As `gt.kernels.native_model` hands it to `run_part` of `cpp/model.cpp`, without a row of the width for each thread.
    """
    C, L, V, tokens = config.hidden_size, config.num_layers, config.vocab_size, batch * length
    states = {name: prod(shape[1:]) for name, shape in state_shapes(config).items()}
    per_layer = tokens * _kept_per_token(config, "native", set(OPS)) + batch * states["mamba_conv"]
    head = min(tokens, HEAD_TOKENS) * (V + -(-V // HEAD_WORDS) + 3)
    return L * per_layer + tokens * (_MODEL_AT_ONCE * C + 1) + batch * sum(states.values()) + head


def _worked_in(config: ModelConfig, batch: int, length: int, at_once: Collection[str]) -> int:
    """Numbers that a mixer or a block in one call holds beside what is kept, during its backward pass.

    Counted from the buffers of `gt/kernels/cpp/layers.cpp` and of the product that copies the most, for the mixer that
    takes more (they take turns). What grows with threads alone (a few states) is left out.
    """
    C, D, N, heads, channels = config.hidden_size, config.d_inner, config.d_state, config.mamba_heads, config.conv_dim
    tokens, projected = batch * length, config.d_inner + config.conv_dim + config.mamba_heads
    lora = len(MIX_TARGETS) * LORA_MIX
    needs = {
        "rwkv": tokens * (8 * C + LORA_DECAY + lora + C) + batch * (C * config.head_dim + C),
        "mamba": tokens * (4 * D + heads + 2 * heads * N + channels + projected + projected)
        + batch * ((length + config.conv_width - 1 + config.conv_width + 1) * channels + D * N),
    }
    if not at_once:
        return 0
    numbers = max(needs[mixer] for mixer in at_once)
    if _block_at_once(config, at_once):
        numbers += tokens * (5 * C + config.ffn_expand * C + 1)
    return numbers


def _handed_over(config: ModelConfig, batch: int, length: int, at_once: Collection[str]) -> int:
    """Numbers in the gradients of input, output and states that autograd holds around such a call."""
    if not at_once:
        return 0
    states = sum(prod(shape[1:]) for name, shape in state_shapes(config).items() if name.partition("_")[0] in at_once)
    return 2 * batch * length * config.hidden_size + batch * states


def _block_at_once(config: ModelConfig, at_once: Collection[str]) -> bool:
    return len(at_once) > 1 and config.fusion == "gated"


def _kept_per_token(config: ModelConfig, norm: str, at_once: Collection[str]) -> int:
    C, D, N, heads = config.hidden_size, config.d_inner, config.d_state, config.mamba_heads
    numbers = 2 * config.ffn_expand * C
    if "rwkv" in config.mixers:
        of_C = _RWKV_AT_ONCE if "rwkv" in at_once else _RWKV
        numbers += of_C * C + len(MIX_TARGETS) * LORA_MIX + LORA_DECAY + 2 * config.num_heads
    if "mamba" in at_once:
        numbers += 5 * D + 4 * N + heads + 1
    elif "mamba" in config.mixers:
        numbers += (2 * D + 2 * N + heads) + (D + 2 * N) + (D + 2 * N + heads) + _GATED_NORM[norm] * D
    if _block_at_once(config, at_once):
        return numbers + _BLOCK_AT_ONCE * C + 3
    numbers += 2 * _NORM[norm] * C
    if len(config.mixers) > 1:
        numbers += (_FUSION[config.fusion] + (2 * _NORM[norm] if config.fusion == "gains" else 0)) * C
    return numbers


def _kept_by_ops(config: ModelConfig, backends: Mapping[str, str]) -> int:
    """Numbers per token and layer that a backend keeps beyond an op's inputs and outputs; 0 for compiled kernels.

    The token loops keep a state or its like for each token, the chunked forms one for each chunk (16 and 32 tokens)
    and their intermediate products.
    """
    C, K, D, N = config.hidden_size, config.head_dim, config.d_inner, config.d_state
    numbers = 0
    if "rwkv" in config.mixers:
        numbers += {"chunked": 15 * C + K * C // 16, "reference": 3 * K * C}.get(backends.get("wkv6", ""), 0)
    if "mamba" in config.mixers:
        numbers += {"chunked": 9 * D + N * D // 32, "reference": N * D}.get(backends.get("ssd", ""), 0)
    return numbers


def available_memory() -> int | None:
    """Bytes that a process can still get without swapping, by the system and by the container's limit; None if unknown.

    Linux says what is available; elsewhere it is all physical memory.
    """
    found: list[int] = []
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(1024 * int(line.split()[1]))
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit and used and limit[0].isdecimal():
        # The page cache counts as used, but goes when memory is needed.
        stat = _lines("/sys/fs/cgroup/memory.stat")
        cached = sum(int(line.split()[1]) for line in stat if line.startswith("inactive_file "))
        found.append(int(limit[0]) - int(used[0]) + cached)
    return min(found) if found else None


def too_large(needed: int | None, available: int | None) -> str | None:
    """Why a cell that needs this many bytes is not tried, or None if it may be."""
    if needed is None or available is None or needed <= HEADROOM * available:
        return None
    return f"does not fit: about {needed / 2**20:,.0f} MiB needed, {available / 2**20:,.0f} MiB available"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
