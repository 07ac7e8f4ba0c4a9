"""Weights as a wrong initialisation, a wrong tokenizer or a bad write leaves them.

Imports no torch until a fault is planted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def one_weight(value: float) -> Callable[[nn.Module], None]:
    """A flipped bit: one weight of the last matrix has another value."""

    def plant_it(model: nn.Module) -> None:
        import torch

        *_, last = (parameter for parameter in model.get_submodule("blocks").parameters() if parameter.ndim == 2)
        with torch.no_grad():
            last[0, 0] = value

    return plant_it


def loud_embedding(model: nn.Module) -> None:
    """An initialisation that forgot its scale."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("embedding.weight", "head.weight"):
                parameter.mul_(50)


def shifted_embedding(model: nn.Module) -> None:
    """A tokenizer whose ids are off by one."""
    import torch

    with torch.no_grad():
        weight = model.get_parameter("embedding.weight")
        weight.copy_(weight.roll(1, dims=0))


def permuted_embedding(model: nn.Module) -> None:
    """Rows in the order of another vocabulary; embedding and head are one table."""
    import torch

    with torch.no_grad():
        weight = model.get_parameter("embedding.weight")
        order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))
        weight.copy_(weight[order.to(weight.device)])


def half_loaded(model: nn.Module) -> None:
    """The matrices of the later half of the blocks keep what an initialisation gives them."""
    import torch

    blocks = list(model.get_submodule("blocks").children())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in blocks[len(blocks) // 2 :]:
            for parameter in block.parameters():
                if parameter.ndim >= 2:
                    parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))


def int8_weights(model: nn.Module) -> None:
    """Every matrix is rounded to 255 steps of one size, as a naive quantisation does."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                step = parameter.abs().max().clamp_min(torch.finfo(parameter.dtype).tiny) / 127
                parameter.copy_((parameter / step).round() * step)
