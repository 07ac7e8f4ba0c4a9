"""Weights as a wrong initialisation, a wrong tokenizer or a bad write leaves them.

Imports no torch until a fault is planted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def nan_weight(model: nn.Module) -> None:
    """One weight of the last matrix is no number."""
    import torch

    *_, last = (parameter for parameter in model.get_submodule("blocks").parameters() if parameter.ndim == 2)
    with torch.no_grad():
        last[0, 0] = torch.nan


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
