"""What the backward passes of our own kernels have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def first_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass that says so where derivatives of it are wanted.

    `torch.autograd.function.once_differentiable` does so only if the gradient of the output is differentiable itself:
    else what it gives counts as a constant, and a gradient penalty is silently wrong.

    Raises:
        RuntimeError: From the backward pass, if it runs under `create_graph=True`.
    """

    @wraps(backward)
    def once(ctx: Any, *goutputs: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "got create_graph=True: expected first derivatives alone of compiled kernels; "
                "set GT_KERNELS=reference for higher ones"
            )
        return backward(ctx, *goutputs)

    return once
