"""WKV6 on NVIDIA GPUs in four steps (`wkv6_kernels`), exact for any decay.

Forward: what every chunk adds to the state, all chunks at once; the states of the chunks in turn, element by element;
then the outputs of every chunk on its own. Backward: the same from the end, and the gradients of every chunk on its
own. Only what must happen in turn does: with long sequences and small batches there are far fewer heads than
multiprocessors. States of chunks and scores are kept for the backward pass in the dtype in which they enter matrix
products; what chunks add is in fp32.

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

from gt.kernels import wkv6_chunked
from gt.kernels.derivatives import first_only

LARGEST_HEAD = 128
SCANNED = 128  # elements of a state per program of the scan, which is one warp


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


def _launch(K: int, V: int, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Compile-time parameters of the kernels of updates, of outputs and of gradients."""
    import triton.language as tl

    precision = "tf32x3" if dtype == torch.float32 else "tf32"
    products = {"DTYPE": tl.bfloat16 if dtype == torch.bfloat16 else tl.float32, "PRECISION": precision}
    fast, small = dtype == torch.bfloat16 and max(K, V) <= 64, max(K, V) <= 32
    # Longer chunks move fewer states through memory; their scores and decays must fit in registers.
    chunk = 32 if fast else 16
    sizes = {"K": K, "V": V, "C": chunk, "BV": _padded(V), "num_stages": 1, **products}
    updates = {**sizes, "BK": min(_padded(K), 32), "num_warps": 2 if fast else 4}
    parts = 3 if dtype == torch.float32 else 2  # of 8 bits each: 24 hold all of fp32, 16 exceed what bf16 and fp16 hold
    inside = {**sizes, "PARTS": parts, "BK": min(_padded(K), 64), "LEVELS": chunk.bit_length() - 1}
    outputs = {**inside, "num_warps": (1 if small else 2) if fast else 4}
    gradients = {**inside, "num_warps": 2 if fast and small else 4}
    return updates, outputs, gradients


def _states(
    k: Tensor,
    v: Tensor,
    w: Tensor,
    first: Tensor | None,
    last: Tensor | None,
    launch: dict[str, Any],
    dtype: torch.dtype,
) -> Tensor:
    """States before every chunk [B, H, N, K, V] of keys and values; `last` receives the one after the last chunk.

    Of queries and gradients of outputs with `launch["LATER"]` false: gradients of the states after every chunk.
    """
    from gt.kernels import wkv6_kernels as kernels

    B, T, H, K = k.shape
    V = v.shape[-1]
    N = -(-T // launch["C"])
    updates = k.new_empty(B, H, N, K, V, dtype=torch.float32)
    decays = k.new_empty(B, H, N, K, dtype=torch.float32)
    states = k.new_empty(B, H, N, K, V, dtype=dtype)
    kernels.updates_kernel[(B * H * N * -(-K // launch["BK"]),)](k, v, w, updates, decays, T, H, N, **launch)
    BV = launch["BV"]
    BK = max(1, min(_padded(K), SCANNED // BV))
    kernels.scan_kernel[(B * H * -(-K // BK),)](
        updates, decays, first, states, last, N, K=K, V=V, BK=BK, BV=BV, STAGES=8,
        HAS_FIRST=first is not None, HAS_LAST=last is not None, REVERSE=not launch["LATER"], num_warps=1,
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
        from gt.kernels import wkv6_kernels as kernels

        B, T, H, K = r.shape
        V = v.shape[-1]
        dtype = torch.promote_types(torch.promote_types(r.dtype, k.dtype), v.dtype)
        updates, outputs, gradients = _launch(K, V, dtype)
        C = outputs["C"]
        N = -(-T // C)
        low = dtype == torch.bfloat16
        kept = torch.bfloat16 if low else torch.float32
        y = torch.empty_like(v, dtype=r.dtype)
        final = r.new_empty(B, H, K, V, dtype=torch.float32)
        with on_device(r.device):
            starts = _states(k, v, w, s0, final, {**updates, "LATER": True, "SPLIT": low}, kept)
            scores = r.new_empty(B, H, N, C, C, dtype=kept) if save else starts
            kernels.outputs_kernel[(B * H * N,)](r, k, v, w, u, starts, scores, y, T, H, N, SAVE=save, **outputs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(r, k, v, w, u, s0, starts, scores)
        ctx.launch = {**updates, "LATER": False, "SPLIT": False}, gradients
        return y, final

    @staticmethod
    @first_only
    def backward(ctx: Any, gy: Tensor | None, gfinal: Tensor | None) -> tuple[Tensor | None, ...]:
        from gt.kernels import wkv6_kernels as kernels

        r, k, v, w, u, s0, starts, scores = ctx.saved_tensors
        updates, gradients = ctx.launch
        B, T, H, K = r.shape
        N = starts.shape[2]
        gy = torch.zeros_like(v) if gy is None else gy.contiguous()
        gr, gk, gv, gw = (torch.empty_like(t) for t in (r, k, v, w))
        gu = r.new_empty(B, H, N, K, dtype=torch.float32)
        gs0 = torch.empty_like(s0) if ctx.needs_input_grad[5] else None
        with on_device(r.device):
            gends = _states(r, gy, w, None if gfinal is None else gfinal.contiguous(), gs0, updates, starts.dtype)
            kernels.gradients_kernel[(B * H * N,)](
                r, k, v, w, u, starts, scores, gy, gends, gr, gk, gv, gw, gu, T, H, N, **gradients
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
