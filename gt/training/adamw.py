"""AdamW for the short trainings of checks: torch's fused kernel alone, for `torch.optim` imports 2 s on first use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gt.training.optim import BETAS

EPS = 1e-8


class PlainAdamW:
    """What `gt.training.optim.make_optimizer` makes without weight decay, to the last bit, and nothing but its step.

    Source: Loshchilov and Hutter 2019, arXiv 1711.05101.

    Args:
        model: Its parameters are optimised, in fp32.
        lr: Learning rate.
    """

    def __init__(self, model: nn.Module, lr: float) -> None:
        self.lr = lr
        self.parameters = list(model.parameters())
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        used = [(parameter, parameter.grad) for parameter in self.parameters if parameter.grad is not None]
        for parameter, _ in used:
            if parameter not in self.state:
                self.state[parameter] = {
                    "mean": torch.zeros_like(parameter),
                    "square": torch.zeros_like(parameter),
                    "count": torch.zeros((), device=parameter.device),
                }
        if not used:
            return
        parameters, gradients = zip(*used, strict=True)
        means, squares, counts = zip(*(self.state[parameter].values() for parameter in parameters), strict=True)
        torch._foreach_add_(counts, 1)
        torch._fused_adamw_(
            parameters,
            gradients,
            means,
            squares,
            [],
            counts,
            lr=self.lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )
