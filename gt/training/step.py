"""One step of training as configured: accumulation, autocast, per-component settings, and the CUDA graph around it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gt import kernels
from gt.data.batches import Batch
from gt.models.hybrid import HybridLM
from gt.training.config import TrainConfig
from gt.training.interventions import (
    RWKVDropout,
    balance_penalty,
    dropout_probability,
    gradient_scales,
    learning_rate,
    parameter_groups,
)
from gt.training.optim import adamw, add_gradients, capture

LARGEST_LOSS_SCALE = 2.0**16
STEADY_STEPS = 2000
"""Steps without overflow after which the loss of fp16 is scaled up again (the default of torch's GradScaler)."""


class LossScale:
    """Scales the loss of fp16 so that small gradients do not vanish, and skips steps that overflow.

    Does what `torch.amp.GradScaler` does with tensors alone, so that a CUDA graph holds it: halves the scale where a
    gradient is not finite, doubles it after `STEADY_STEPS` (Micikevicius et al. 2018, arXiv 1710.03740).
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.tensor(LARGEST_LOSS_SCALE, device=device)
        self.steady = torch.tensor(0.0, device=device)

    def unscale(self, gradients: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Undo the scale in the gradients, and tell the optimiser whether to skip its step."""
        torch._foreach_mul_(gradients, self.scale.reciprocal())
        finite = torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum())
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # read by fused AdamW, as GradScaler sets it
        self.steady.add_(1).mul_(finite)
        grown = self.steady >= STEADY_STEPS
        self.steady.mul_(~grown)
        # 2 where it has grown, 1 where all is finite, else 0.5: a graph cannot copy numbers from the host.
        factor = finite.float() * (0.5 + grown.float()) + 0.5
        self.scale.mul_(factor).clamp_(1.0, LARGEST_LOSS_SCALE)


class Step:
    """The step of a run; called with a batch and its number, it changes the model.

    Args:
        model: Model with fp32 parameters.
        config: Settings.
        device: Of the model.

    Attributes:
        optimizer: AdamW with a group for each component.
        scale: Of the loss, with float16.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model, config, device
        # A hybrid is mostly our own kernels, which the compiler would take apart and put together again for minutes.
        self.forward = torch.compile(model) if config.compile and not isinstance(model, HybridLM) else model
        on_gpu = device.type == "cuda"
        # Of its own for each group: a captured step reads them where they are.
        groups = parameter_groups(model, config.weight_decay)
        for group in groups:
            group["lr"] = torch.tensor(0.0, device=device) if on_gpu else 0.0
        self.optimizer = adamw(groups, 0.0)
        self.scale = LossScale(device) if config.dtype == "float16" else None
        # Autocast refuses float32 even where it is off.
        self.autocast_dtype = torch.float16 if config.dtype == "float16" else torch.bfloat16
        mixers = model.config.mixers if isinstance(model, HybridLM) else ()
        self.balanced = config.balance > 0 and {"rwkv", "mamba"} <= set(mixers)
        drops = "rwkv" in mixers and max(config.rwkv_dropout, config.rwkv_dropout_final or 0) > 0
        self.dropout = RWKVDropout(model, config.batch_size, config.accumulate, device) if drops else None
        self.gradient_scales = gradient_scales(model, config)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._graph_step: Callable[..., tuple[Tensor, Tensor]] | None = None
        self.captures = on_gpu and config.graph

    def prepare(self, batch: Batch) -> None:
        """Record the step, where it is to be recorded; before the optimiser's state is loaded."""
        if self.captures:
            changed = (self.scale.scale, self.scale.steady) if self.scale else ()
            self._graph_step = capture(self._step, self._inputs(batch), self.model, self.optimizer, changed)

    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Train on a batch.

        Args:
            batch: `batch_size * accumulate` sequences.
            step: Its number, from 0.

        Returns:
            The loss (without the balance penalty) and the global gradient norm before clipping: scalars on the device,
            overwritten by the next call of a recorded step.
        """
        for group in self.optimizer.param_groups:
            rate = learning_rate(self.config, group["component"], step)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        if self.dropout is not None:
            self.dropout.draw(dropout_probability(self.config, step), self.config.seed, step)
        return (self._graph_step or self._step)(*self._inputs(batch))

    def autocast(self) -> torch.autocast:
        """The precision that the model is computed in."""
        return torch.autocast(self.device.type, self.autocast_dtype, enabled=self.config.dtype != "float32")

    def _inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        tensors = (batch.tokens_BT,) if batch.weights_BT is None else (batch.tokens_BT, batch.weights_BT)
        return tuple(tensor.to(self.device, non_blocking=True) for tensor in tensors)

    def _step(self, tokens_BT: Tensor, weights_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.model.zero_grad(set_to_none=True)
        size = self.config.batch_size
        losses = [self._part(tokens_BT, weights_BT, call, size) for call in range(self.config.accumulate)]
        if self.scale is not None:
            gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            self.scale.unscale(gradients, self.optimizer)
        for factor, parameters in self.gradient_scales:
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], factor)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        return torch.stack(losses).sum(), norm.detach()

    def _part(self, tokens_BT: Tensor, weights_BT: Tensor | None, call: int, size: int) -> Tensor:
        """Add the gradients of one of the batches that a step accumulates; returns its part of the loss."""
        total = None if weights_BT is None else weights_BT.sum().clamp_min(torch.finfo(weights_BT.dtype).tiny)

        def loss_of(rows: slice) -> tuple[Tensor, Tensor]:
            part_BT = tokens_BT[rows]
            weights = None if weights_BT is None else weights_BT[rows]
            rows_share = len(part_BT) / len(tokens_BT)
            share = rows_share if weights is None or total is None else weights.sum() / total
            with self.autocast():
                if self.balanced:
                    logits, seen = self.forward(part_BT[:, :-1], return_activations=True)
                else:
                    logits, seen = self.forward(part_BT[:, :-1]), {}
            flat = None if weights is None else weights.flatten()
            loss = kernels.cross_entropy(logits.flatten(0, 1), part_BT[:, 1:].flatten(), flat) * share
            objective = loss
            if self.balanced:
                penalty = balance_penalty(seen, self.config.balance_target)
                objective = loss + self.config.balance * rows_share * penalty
            return objective if self.scale is None else objective * self.scale.scale, loss

        rows = slice(call * size, (call + 1) * size)
        if self.dropout is None:
            # The penalty is of the rows computed at once: halves would be another.
            return add_gradients(self.model, loss_of, rows, self.device, halves=not self.balanced)
        self.dropout.call = call
        try:
            return add_gradients(self.model, loss_of, rows, self.device, halves=False)
        finally:
            self.dropout.call = None
