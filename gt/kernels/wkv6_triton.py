"""WKV6 on NVIDIA GPUs in four Triton kernels (`wkv6_kernels`), exact for any decay.

Forward: the states at the start of every chunk, one program per batch, head and slice of the state going through the
chunks in turn; then every chunk on its own. Backward: the same two steps, from the end. With 16 x 12 heads and slices
of 32 key channels the sequential kernels have 384 programs for 132 multiprocessors, and a step is one small product;
the kernels that do the work inside the chunks have thousands of programs. States of chunks and scores are kept for the
backward pass in the dtype in which they enter matrix products.

Matrix products take bf16 operands for bf16 inputs (but the state, kept in fp32, is summed from keys split into two
bf16 parts), TF32 for fp16 inputs (same precision, a wider range) and three TF32 products (about fp32) for fp32 inputs;
all sum in fp32. Launch parameters are fixed: autotuning at run time costs minutes and cannot be captured in a graph.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gt.kernels import wkv6_chunked

LARGEST_HEAD = 128


@cache
def refused() -> str | None:
    """Why this backend cannot run here, or None."""
    if find_spec("triton") is None:
        return "the package triton is not installed"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    major, minor = torch.cuda.get_device_capability()
    return None if major >= 8 else f"the GPU has compute capability {major}.{minor}, Triton's bf16 products need 8.0"


def _padded(size: int) -> int:
    return max(16, 1 << (size - 1).bit_length())  # tensor cores take tiles of 16 at least


def _launch(K: int, V: int, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compile-time parameters of the kernels that go through the chunks, and of those inside a chunk."""
    import triton.language as tl

    precision = "tf32x3" if dtype == torch.float32 else "tf32"
    products = {"DTYPE": tl.bfloat16 if dtype == torch.bfloat16 else tl.float32, "PRECISION": precision}
    # Longer chunks move fewer states through memory; their scores and decays must fit in registers.
    chunk = 32 if dtype == torch.bfloat16 and max(K, V) <= 64 else 16
    sizes = {"K": K, "V": V, "C": chunk, **products}
    along = {**sizes, "BK": min(_padded(K), 32), "BV": min(_padded(V), 64), "num_warps": 4, "num_stages": 2}
    parts = 3 if dtype == torch.float32 else 2  # of 8 bits each: 24 hold all of fp32, 16 exceed what bf16 and fp16 hold
    inside = {**sizes, "PARTS": parts, "BK": min(_padded(K), 64), "BV": _padded(V), "LEVELS": chunk.bit_length() - 1}
    return along, inside | {"num_warps": 4, "num_stages": 1}


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class _WKV6(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, s0: Tensor | None, save: bool
    ) -> tuple[Tensor, Tensor]:
        from gt.kernels import wkv6_kernels as kernels

        B, T, H, K = r.shape
        V = v.shape[-1]
        dtype = torch.promote_types(torch.promote_types(r.dtype, k.dtype), v.dtype)
        along, inside = _launch(K, V, dtype)
        C = inside["C"]
        N = -(-T // C)
        kept = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
        y = torch.empty_like(v, dtype=r.dtype)
        starts = r.new_empty(B, H, N, K, V, dtype=kept)
        scores = r.new_empty(B, H, N, C, C, dtype=kept) if save else starts
        final = r.new_empty(B, H, K, V, dtype=torch.float32)
        slices = -(-K // along["BK"]) * -(-V // along["BV"])
        with on_device(r.device):
            kernels.states_kernel[(B * H * slices,)](
                k, v, w, s0, starts, final, T, H, N, HAS_STATE=s0 is not None, **along
            )
            kernels.outputs_kernel[(B * H * N,)](r, k, v, w, u, starts, scores, y, T, H, N, SAVE=save, **inside)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(r, k, v, w, u, s0, starts, scores)
        ctx.sizes, ctx.launch = (T, H, N), (slices, along, inside)
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor | None, gfinal: Tensor | None) -> tuple[Tensor | None, ...]:
        from gt.kernels import wkv6_kernels as kernels

        r, k, v, w, u, s0, starts, scores = ctx.saved_tensors
        (T, H, N), (slices, along, inside) = ctx.sizes, ctx.launch
        B, K = r.shape[0], r.shape[-1]
        gy = torch.zeros_like(v) if gy is None else gy.contiguous()
        gends = torch.empty_like(starts)
        gr, gk, gv, gw = (torch.empty_like(t) for t in (r, k, v, w))
        gu = r.new_empty(B, H, N, K, dtype=torch.float32)
        gs0 = torch.empty_like(s0) if ctx.needs_input_grad[5] else None
        with on_device(r.device):
            kernels.state_gradients_kernel[(B * H * slices,)](
                r, w, gy, None if gfinal is None else gfinal.contiguous(), gends, gs0, T, H, N,
                HAS_FINAL=gfinal is not None, HAS_STATE=gs0 is not None, **along,
            )  # fmt: skip
            kernels.gradients_kernel[(B * H * N,)](
                r, k, v, w, u, starts, scores, gy, gends, gr, gk, gv, gw, gu, T, H, N, **inside
            )
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
