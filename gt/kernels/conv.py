"""Causal depthwise convolution by the framework's own conv1d."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def causal_conv1d(
    x_BTD: Tensor, weight_DW: Tensor, bias_D: Tensor, state_BDW: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.causal_conv1d`, in one call of `torch.nn.functional.conv1d`."""
    B, T, D = x_BTD.shape
    width = weight_DW.shape[1]
    past = x_BTD.new_zeros(B, D, width - 1) if state_BDW is None else state_BDW.to(x_BTD.dtype)
    padded_BDT = torch.cat([past, x_BTD.transpose(1, 2)], dim=2)
    y_BDT = F.conv1d(padded_BDT, weight_DW[:, None], bias_D, groups=D)
    return F.silu(y_BDT).transpose(1, 2), padded_BDT[:, :, T:]
