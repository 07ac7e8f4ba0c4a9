"""Settings of one component of a hybrid: its learning rate, gradients, balance and dropout.

What each did in the documents' experiments stands with its option in `gt.training.config`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from gt.data.batches import numbers
from gt.models.hybrid import Activations, Block, HybridLM
from gt.training.config import TrainConfig
from gt.training.optim import cosine_schedule, split_by_decay

log = logging.getLogger(__name__)

REST = "rest"
DROPOUT_DRAW = 1
"""Purpose of the random numbers of dropout, beside those of the data order (0)."""


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """The options that act on one component, by name.

    Attributes:
        lr_mult: Multiple of the learning rate.
        start: First step that changes it.
        warmup_ratio: Its own warm-up.
        grad_scale: Factor on its gradients.
    """

    lr_mult: str
    start: str
    warmup_ratio: str | None = None
    grad_scale: str | None = None


COMPONENTS = {
    "rwkv": Component(
        lr_mult="rwkv_lr_mult", start="rwkv_start", warmup_ratio="rwkv_warmup_ratio", grad_scale="rwkv_grad_scale"
    ),
    "mamba": Component(
        lr_mult="mamba_lr_mult", start="mamba_start", warmup_ratio="mamba_warmup_ratio", grad_scale="mamba_grad_scale"
    ),
    "fusion": Component(lr_mult="fusion_lr_mult", start="gate_freeze_steps"),
}
"""Component of a block by the name that its parameters have."""


def component_of(name: str) -> str:
    """The component that a parameter belongs to, by its name; "rest" for embedding, feed-forward layers and norms."""
    parts = name.split(".")
    return next((component for component in COMPONENTS if component in parts), REST)


def by_component(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of parameters by component, without components that have none."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(component_of(name), []).append(name)
    return found


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for the optimiser, each with its `component`; matrices decay, vectors do not."""
    parameters = dict(model.named_parameters())
    groups = []
    for component, names in by_component(parameters).items():
        for group in split_by_decay((parameters[name] for name in names), weight_decay):
            if group["params"]:
                groups.append({**group, "component": component})
    return groups


def learning_rate(config: TrainConfig, component: str, step: int) -> float:
    """Learning rate of a component at a step (from 0): 0 before its start, then a warm-up of its own."""
    options = COMPONENTS.get(component)
    warmup_ratio, multiple, start = config.warmup_ratio, 1.0, 0
    if options is not None:
        own = getattr(config, options.warmup_ratio) if options.warmup_ratio else None
        warmup_ratio = config.warmup_ratio if own is None else own
        multiple, start = getattr(config, options.lr_mult), getattr(config, options.start)
    if step < start:
        return 0.0
    rate = multiple * cosine_schedule(step, config.steps, config.lr, warmup_ratio, config.final_lr_ratio)
    warmup = max(1, round(config.steps * warmup_ratio))
    return rate * min(1.0, (step - start + 1) / warmup) if start else rate


def gradient_scales(model: nn.Module, config: TrainConfig) -> list[tuple[float, list[nn.Parameter]]]:
    """Factors on gradients other than 1, each with the parameters that it acts on."""
    parameters = dict(model.named_parameters())
    found = []
    for component, names in by_component(parameters).items():
        options = COMPONENTS.get(component)
        factor: float = getattr(config, options.grad_scale) if options and options.grad_scale else 1.0
        if factor != 1:
            found.append((factor, [parameters[name] for name in names]))
    return found


def balance_penalty(seen: Activations, target: float) -> Tensor:
    """ln(variance of RWKV's outputs / (target * variance of Mamba's))^2 over all layers, in fp32."""
    rwkv, mamba = (seen[name].float().var() for name in ("rwkv_out", "mamba_out"))
    return (torch.log(rwkv) - torch.log(mamba * target)).square()


def warn_of_no_effect(model: nn.Module, config: TrainConfig, name: str) -> None:
    """Say which settings act on components that the model does not have."""
    present = by_component(name for name, _ in model.named_parameters())
    defaults = TrainConfig()
    wanted: dict[str, tuple[str, ...]] = {
        option: (component,)
        for component, options in COMPONENTS.items()
        for option in (options.lr_mult, options.start, options.warmup_ratio, options.grad_scale)
        if option
    }
    wanted |= {"balance": ("rwkv", "mamba"), "rwkv_dropout": ("rwkv",), "rwkv_dropout_final": ("rwkv",)}
    if config.compile and isinstance(model, HybridLM):
        log.warning("compile has no effect: %s runs on kernels of its own; it helps GPT2", name)
    for option, components in wanted.items():
        missing = [component for component in components if component not in present]
        if missing and getattr(config, option) != getattr(defaults, option):
            log.warning("%s has no effect: %s has no %s", option, name, " and no ".join(missing))


class RWKVDropout:
    """Drops the output of RWKV for some sequences in some layers.

    What is dropped is drawn outside the step and read from one tensor inside it, so that a CUDA graph holds the step.

    Args:
        model: A model with RWKV in its blocks.
        batch_size: Sequences of one call.
        calls: Calls of the model in a step.
        device: Of the model.
    """

    def __init__(self, model: nn.Module, batch_size: int, calls: int, device: torch.device) -> None:
        layers = [block.rwkv for block in model.modules() if isinstance(block, Block) and block.rwkv is not None]
        self.keep_NLB = torch.ones(calls, len(layers), batch_size, device=device)
        self.call: int | None = None  # of the step; None: nothing is dropped
        for layer, rwkv in enumerate(layers):
            rwkv.register_forward_hook(lambda module, inputs, outputs, layer=layer: self._drop(layer, *outputs))

    def draw(self, probability: float, seed: int, step: int) -> None:
        """Choose what a step drops."""
        kept = numbers(seed, step, DROPOUT_DRAW).random(self.keep_NLB.shape) >= probability
        self.keep_NLB.copy_(torch.from_numpy(kept))

    def _drop(self, layer: int, out_BTC: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.call is None:
            return out_BTC, state
        return out_BTC * self.keep_NLB[self.call, layer, :, None, None].to(out_BTC.dtype), state


def dropout_probability(config: TrainConfig, step: int) -> float:
    """Probability that RWKV's output is dropped at a step (from 0): a straight line from first to last."""
    last = config.rwkv_dropout if config.rwkv_dropout_final is None else config.rwkv_dropout_final
    return config.rwkv_dropout + (last - config.rwkv_dropout) * step / max(1, config.steps - 1)
