"""WKV6 on NVIDIA GPUs, exact for any decay (`wkv6_kernels`, `wkv6_gentle_kernels`).

Forward: the states before every chunk, then the outputs of every chunk on its own. Backward: the gradients of the
states after every chunk, from the end, then the gradients of every chunk on its own. With many heads one program walks
over the chunks of a head with its state in registers; with few, what chunks add is computed for all chunks at once and
summed element by element. States of chunks and scores are kept for the backward pass in the dtype in which they enter
matrix products.

In bf16 the chunks that decay little, which are most, take less than half of the instructions.

Matrix products take bf16 operands for bf16 inputs (but the state, kept in fp32, is summed from keys split into two
bf16 parts), TF32 for fp16 inputs (same precision, a wider range) and three TF32 products (about fp32) for fp32 inputs;
all sum in fp32. Launch parameters are fixed: autotuning at run time costs minutes and cannot be captured in a graph.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gt.kernels import wkv6_chunked
from gt.kernels.derivatives import first_only

LARGEST_HEAD = 128
SCANNED = 128  # elements of a state per program of the scan, which is one warp
WALKS = 128  # programs that a GPU needs at least for walks over chunks to be faster than a scan
SHARERS = 528  # programs that share the chunks that decay much: 4 for each of 132 multiprocessors


@cache
def refused() -> str | None:
    """Why this backend cannot run here, or None."""
    if find_spec("triton") is None:
        return "the package triton is not installed"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if torch.version.hip:
        return "the GPU is no NVIDIA GPU, and the kernels call CUDA's libdevice"
    major, minor = torch.cuda.get_device_capability()
    return None if major >= 8 else f"the GPU has compute capability {major}.{minor}, Triton's bf16 products need 8.0"


def _padded(size: int) -> int:
    return max(16, 1 << (size - 1).bit_length())  # tensor cores take tiles of 16 at least


class _Launch(NamedTuple):
    """Compile-time parameters of the kernels; `gentle_*` are None where every chunk is computed exactly."""

    states: dict[str, Any]
    walk: dict[str, Any]
    outputs: dict[str, Any]
    gradients: dict[str, Any]
    gentle_outputs: dict[str, Any] | None
    gentle_gradients: dict[str, Any] | None


@cache
def _launch(K: int, V: int, dtype: torch.dtype) -> _Launch:
    import triton.language as tl

    precision = "tf32x3" if dtype == torch.float32 else "tf32"
    products = {"DTYPE": tl.bfloat16 if dtype == torch.bfloat16 else tl.float32, "PRECISION": precision}
    fast, small = dtype == torch.bfloat16 and max(K, V) <= 64, max(K, V) <= 32
    # Longer chunks move fewer states through memory; their scores and decays must fit in registers.
    chunk = 32 if fast else 16
    parts = 3 if dtype == torch.float32 else 2  # of 8 bits each: 24 hold all of fp32, 16 exceed what bf16 and fp16 hold
    sizes = {"K": K, "V": V, "C": chunk, "BV": _padded(V), "PARTS": parts}
    states = {**sizes, **products, "BK": min(_padded(K), 32), "num_warps": 2 if fast else 4}
    walk = {**states, "BK": 16, "STAGES": 3}
    inside = {**sizes, **products, "BK": min(_padded(K), 64), "LEVELS": chunk.bit_length() - 1, "num_stages": 1}
    # One warp with slices of 16 channels gives wrong scores on an H200 (triton 3.6), two warps do not.
    one_warp = small and inside["BK"] > 16
    outputs = {**inside, "num_warps": (1 if one_warp else 2) if fast else 4}
    gradients = {**inside, "num_warps": 2 if fast and small else 4}
    if not fast:
        return _Launch(states, walk, outputs, gradients, None, None)
    gentle = {**sizes, "BK": _padded(K), "num_stages": 1}
    gentle_outputs = {**gentle, "num_warps": 2 if small else 4, "maxnreg": 96}
    # With fewer registers than it would take, twice as many programs wait for each other's memory.
    gentle_gradients = (
        {**gentle, "num_warps": 2, "maxnreg": 255} if small else {**gentle, "num_warps": 8, "maxnreg": 128}
    )
    return _Launch(states, walk, outputs, gradients, gentle_outputs, gentle_gradients)


def _states(
    k: Tensor,
    v: Tensor,
    w: Tensor,
    first: Tensor | None,
    last: Tensor | None,
    launch: _Launch,
    dtype: torch.dtype,
    later: bool,
) -> Tensor:
    """States before every chunk [B, H, N, K, V] of keys and values; `last` receives the one after the last chunk.

    Of queries and gradients of outputs if not `later`: gradients of the states after every chunk.
    """
    from gt.kernels import wkv6_kernels as kernels

    B, T, H, K = k.shape
    V = v.shape[-1]
    N = -(-T // launch.walk["C"])
    states = k.new_empty(B, H, N, K, V, dtype=dtype)
    order: dict[str, Any] = {"LATER": later, "SPLIT": later and dtype == torch.bfloat16}
    ends: dict[str, Any] = {"HAS_FIRST": first is not None, "HAS_LAST": last is not None}
    walks = B * H * -(-K // launch.walk["BK"])
    if walks >= WALKS:
        kernels.walk_kernel[(walks,)](k, v, w, first, states, last, T, H, N, **order, **ends, **launch.walk)
        return states
    updates = k.new_empty(B, H, N, K, V, dtype=torch.float32)
    decays = k.new_empty(B, H, N, K, dtype=torch.float32)
    BK, BV = launch.states["BK"], launch.states["BV"]
    kernels.updates_kernel[(B * H * N * -(-K // BK),)](k, v, w, updates, decays, T, H, N, **order, **launch.states)
    BK = max(1, min(_padded(K), SCANNED // BV))
    kernels.scan_kernel[(B * H * -(-K // BK),)](
        updates, decays, first, states, last, N,
        K=K, V=V, BK=BK, BV=BV, STAGES=8, REVERSE=not later, num_warps=1, **ends,
    )  # fmt: skip
    return states


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class _WKV6(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, s0: Tensor | None, save: bool
    ) -> tuple[Tensor, Tensor]:
        from gt.kernels import wkv6_gentle_kernels as gentle
        from gt.kernels import wkv6_kernels as kernels

        B, T, H, K = r.shape
        V = v.shape[-1]
        dtype = torch.promote_types(torch.promote_types(r.dtype, k.dtype), v.dtype)
        launch = _launch(K, V, dtype)
        C = launch.outputs["C"]
        N = -(-T // C)
        chunks = B * H * N
        kept = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
        y = torch.empty_like(v, dtype=r.dtype)
        final = r.new_empty(B, H, K, V, dtype=torch.float32)
        done = left = None
        with on_device(r.device):
            starts = _states(k, v, w, s0, final, launch, kept, later=True)
            scores = r.new_empty(B, H, N, C, C, dtype=kept) if save else starts
            tensors = (r, k, v, w, u, starts, scores, y)
            if launch.gentle_outputs is not None:
                done = r.new_empty(chunks, dtype=torch.int32)
                left = r.new_zeros(1 + chunks, dtype=torch.int32)
                gentle.outputs_kernel[(chunks,)](*tensors, done, left, T, H, N, SAVE=save, **launch.gentle_outputs)
            programs = chunks if left is None else min(chunks, SHARERS)
            kernels.outputs_kernel[(programs,)](*tensors, left, T, H, N, SAVE=save, **launch.outputs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(r, k, v, w, u, s0, starts, scores, done, left)
        ctx.launch = launch
        return y, final

    @staticmethod
    @first_only
    def backward(ctx: Any, gy: Tensor | None, gfinal: Tensor | None) -> tuple[Tensor | None, ...]:
        from gt.kernels import wkv6_gentle_kernels as gentle
        from gt.kernels import wkv6_kernels as kernels

        r, k, v, w, u, s0, starts, scores, done, left = ctx.saved_tensors
        launch = ctx.launch
        B, T, H, K = r.shape
        N = starts.shape[2]
        chunks = B * H * N
        gy = torch.zeros_like(v) if gy is None else gy.contiguous()
        gr, gk, gv, gw = (torch.empty_like(t) for t in (r, k, v, w))
        gu = r.new_empty(B, H, N, K, dtype=torch.float32)
        gs0 = torch.empty_like(s0) if ctx.needs_input_grad[5] else None
        with on_device(r.device):
            gfinal = None if gfinal is None else gfinal.contiguous()
            gends = _states(r, gy, w, gfinal, gs0, launch, starts.dtype, later=False)
            tensors = (r, k, v, w, u, starts, scores, gy, gends, gr, gk, gv, gw, gu)
            if launch.gentle_gradients is not None:
                gentle.gradients_kernel[(chunks,)](*tensors, done, T, H, N, **launch.gentle_gradients)
            programs = chunks if left is None else min(chunks, SHARERS)
            kernels.gradients_kernel[(programs,)](*tensors, left, T, H, N, **launch.gradients)
        return gr, gk, gv, gw, gu.sum((0, 2)).to(u.dtype), gs0, None


def wkv6(
    r_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, w_BTHK: Tensor, u_HK: Tensor, state_BHKV: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.wkv6`; fp64 inputs take the PyTorch form, which is exact in any dtype.

    Raises:
        ValueError: If a head is larger than 128.
    """
    inputs = (r_BTHK, k_BTHK, v_BTHV, w_BTHK, u_HK)
    if r_BTHK.dtype == torch.float64:
        return wkv6_chunked.wkv6(*inputs, state_BHKV)
    K, V = r_BTHK.shape[-1], v_BTHV.shape[-1]
    if max(K, V) > LARGEST_HEAD:
        raise ValueError(
            f"head sizes K={K}, V={V}: wkv6_triton takes up to {LARGEST_HEAD}; use GT_KERNELS=wkv6=chunked"
        )
    state = None if state_BHKV is None else state_BHKV.float().contiguous()
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (*inputs, state))
    y, final = _WKV6.apply(*(t.contiguous() for t in inputs), state, save)  # type: ignore[no-untyped-call]
    return y, final
