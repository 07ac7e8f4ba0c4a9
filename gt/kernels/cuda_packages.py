"""SSD and the causal convolution on NVIDIA GPUs by the published kernels of Mamba-2 (`mamba-ssm`, `causal-conv1d`)."""

from __future__ import annotations

import importlib
import math
import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gt.kernels import conv, ssd_chunked

# Tokens. A sixth faster than the 256 of mamba_ssm's own Mamba2 (forward and backward, B32 T1024 H4 P64 N64).
CHUNK = 128
ALIGNMENT = 8  # causal-conv1d reads 8 channels at a time


@cache
def _refused(package: str) -> str | None:
    if find_spec(package) is None:
        return f"the package {package} is not installed"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    try:
        importlib.import_module(package)
    except (ImportError, OSError, RuntimeError) as error:  # a build for another torch fails in any of these ways
        return f"the package {package} cannot be imported: {error}"
    return None


def ssd_refused() -> str | None:
    """Why mamba-ssm cannot run here, or None."""
    return _refused("mamba_ssm")


def conv_refused() -> str | None:
    """Why causal-conv1d cannot run here, or None."""
    return _refused("causal_conv1d")


@cache
def _settle() -> None:
    """Give each of mamba-ssm's SSD kernels one launch configuration instead of up to eleven to choose from.

    Choosing compiles and times them all, for every dtype and head size: minutes before the first result. The one kept
    has tiles nearest to 64 x 64 x 32 and four warps.

    They name no precision for products of fp32 numbers, and Triton's default is TF32 (10 bits): a model that is judged
    in fp32 would differ from itself, read token by token, by 1e-3. So the default becomes three TF32 products, unless
    the environment says otherwise. Products of bf16 numbers stay what they are.
    """
    os.environ.setdefault("TRITON_F32_DEFAULT", "tf32x3")
    from triton.runtime.autotuner import Autotuner

    for name in ("ssd_bmm", "ssd_chunk_scan", "ssd_chunk_state", "ssd_combined", "ssd_state_passing"):
        for kernel in vars(importlib.import_module(f"mamba_ssm.ops.triton.{name}")).values():
            if isinstance(kernel, Autotuner):
                kernel.configs = [min(kernel.configs, key=_unusual)]


def _unusual(config: Any) -> float:
    wanted = {"BLOCK_SIZE_K": 32, "BLOCK_SIZE_CS": 32, "BLOCK_SIZE_H": 16, "BLOCK_SIZE": 256}
    distances = (abs(math.log2(size / wanted.get(name, 64))) for name, size in config.kwargs.items())
    return sum(distances) + abs(math.log2(config.num_warps / 4)) / 8


def _needs_gradients(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def ssd(
    x_BTHP: Tensor,
    dt_BTH: Tensor,
    A_H: Tensor,
    B_BTGN: Tensor,
    C_BTGN: Tensor,
    D_H: Tensor | None = None,
    state_BHPN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.ssd`, by mamba-ssm; fp64 inputs take the PyTorch form.

    Its Triton kernels multiply fp32 operands by three TF32 products, and bf16 ones in bf16.
    """
    inputs = (x_BTHP, dt_BTH, A_H, B_BTGN, C_BTGN, D_H, state_BHPN)
    if x_BTHP.dtype == torch.float64:
        return ssd_chunked.ssd(*inputs)
    if x_BTHP.shape[1] == 1 and not _needs_gradients(*inputs):
        return _ssd_step(*inputs)
    _settle()
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    x, B, C = (t if t.stride(-1) == 1 else t.contiguous() for t in (x_BTHP, B_BTGN, C_BTGN))
    y, state = mamba_chunk_scan_combined(
        x,
        dt_BTH,
        A_H.float(),
        B.to(x.dtype),
        C.to(x.dtype),
        CHUNK,
        D=D_H,
        initial_states=state_BHPN,
        return_final_states=True,
    )
    return y, state


def _ssd_step(
    x_BTHP: Tensor,
    dt_BTH: Tensor,
    A_H: Tensor,
    B_BTGN: Tensor,
    C_BTGN: Tensor,
    D_H: Tensor | None,
    state_BHPN: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """One token: mamba-ssm's update of a state in place, here of a copy."""
    from mamba_ssm.ops.triton.selective_state_update import selective_state_update

    B, _, H, P = x_BTHP.shape
    N = B_BTGN.shape[-1]
    state = x_BTHP.new_zeros(B, H, P, N, dtype=torch.float32) if state_BHPN is None else state_BHPN.float().clone()
    zeros_HP = A_H.new_zeros(H, 1).expand(H, P)
    y = selective_state_update(
        state,
        x_BTHP[:, 0],
        dt_BTH[:, 0, :, None].expand(B, H, P),
        A_H.float()[:, None, None].expand(H, P, N),
        B_BTGN[:, 0],
        C_BTGN[:, 0],
        D=zeros_HP if D_H is None else D_H[:, None].expand(H, P),
        dt_bias=zeros_HP,  # it takes no None
    )
    return y[:, None], state


def _aligned(x_BTD: Tensor) -> Tensor:
    """Channels last, rows at multiples of 8 elements: what the kernel can read; a copy if need be."""
    aligned = x_BTD.stride(2) == 1 and not any(x_BTD.stride(i) % ALIGNMENT for i in (0, 1))
    if aligned and x_BTD.data_ptr() % 16 == 0:
        return x_BTD
    return x_BTD.clone(memory_format=torch.contiguous_format)  # contiguous() keeps odd strides of single rows


class _AlignedGradient(torch.autograd.Function):
    """The identity; its gradient, of whatever strides, is one that the kernel can read."""

    @staticmethod
    def forward(ctx: Any, y_BTD: Tensor) -> Tensor:
        return y_BTD.view_as(y_BTD)

    @staticmethod
    def backward(ctx: Any, gy_BTD: Tensor) -> Tensor:
        return _aligned(gy_BTD)


def causal_conv1d(
    x_BTD: Tensor, weight_DW: Tensor, bias_D: Tensor, state_BDW: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.causal_conv1d`, by causal-conv1d; fp64 inputs take the PyTorch form.

    The new state is cut from the inputs here: it is exact, and so are its gradients.

    Raises:
        ValueError: If the width is not 2, 3 or 4, which is what causal-conv1d has.
    """
    if x_BTD.dtype == torch.float64:
        return conv.causal_conv1d(x_BTD, weight_DW, bias_D, state_BDW)
    B, T, D = x_BTD.shape
    width = weight_DW.shape[1]
    if not 2 <= width <= 4:
        raise ValueError(f"convolution width {width}: causal-conv1d takes 2 to 4; use GT_KERNELS=conv1d")
    past_BWD = None if state_BDW is None else state_BDW.to(x_BTD.dtype).transpose(1, 2)
    if T >= width - 1:
        last_BWD = x_BTD[:, T - width + 1 :]
    else:
        before = x_BTD.new_zeros(B, width - 1, D) if past_BWD is None else past_BWD
        last_BWD = torch.cat([before[:, T:], x_BTD], dim=1)

    pad = -D % ALIGNMENT
    x, past = x_BTD, past_BWD
    if pad:
        x, weight_DW, bias_D = F.pad(x, (0, pad)), F.pad(weight_DW, (0, 0, 0, pad)), F.pad(bias_D, (0, pad))
        past = None if past is None else F.pad(past, (0, pad))
    from causal_conv1d import causal_conv1d_fn

    y_BDT = causal_conv1d_fn(
        _aligned(x).transpose(1, 2),
        weight_DW.contiguous(),
        bias_D.contiguous(),
        initial_states=None if past is None else past.contiguous().transpose(1, 2),
        activation="silu",
    )
    y_BTD: Tensor = _AlignedGradient.apply(y_BDT.transpose(1, 2))  # type: ignore[no-untyped-call]
    return y_BTD[:, :, :D], last_BWD.transpose(1, 2)
