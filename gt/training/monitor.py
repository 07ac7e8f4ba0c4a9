"""What a run tells of itself at a line of its log: gradients, outputs and states by component, and warnings."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from gt.models.state import ModelState
from gt.training.interventions import by_component
from gt.training.step import Step

Interval = tuple[float | None, float | None]

SAMPLE_WINDOWS = 4
SAMPLE_LENGTH = 256
"""Text on which outputs and states are looked at: the first of the validation windows, the same at every line."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A band that a logged value is watched with.

    Attributes:
        check: The check it belongs to, for the warning.
        value: Key of the log line.
        passes: Inclusive interval in which nothing is said; None is open.
    """

    check: str
    value: str
    passes: Interval

    def problem(self, value: float) -> str | None:
        """What is to be said of a value, or None."""
        low, high = self.passes
        if (low is None or value >= low) and (high is None or value <= high):
            return None
        band = f"{'' if low is None else f'{low:g}'}-{'' if high is None else f'{high:g}'}"
        return f"{self.check}: {self.value} is {value:.3g}, outside {band}"


class Monitor:
    """Watches one run.

    Args:
        model: The model.
        step: Its step.
        sample_BT: Tokens to look at outputs and states with, on the model's device.
        gates: Bands to warn by, from the end of the warm-up on.
        spike_ratio: Multiple of the mean loss since the line before, above which a step's loss is a spike.
        interval: Most steps between two lines.

    Attributes:
        losses: Loss of each step since the last line.
        unweighted: Steps since the last line in whose batch every token had weight 0.
        outside: Gates that the last value lay outside of: a warning comes once, when it leaves.
    """

    def __init__(
        self,
        model: nn.Module,
        step: Step,
        sample_BT: Tensor,
        gates: Sequence[Gate],
        spike_ratio: float,
        interval: int,
    ) -> None:
        self.model, self.step, self.sample_BT, self.gates = model, step, sample_BT, gates
        self.spike_ratio = spike_ratio
        self.losses = torch.zeros(interval, device=sample_BT.device)
        self.count = self.unweighted = 0
        self.previous_mean: float | None = None
        self.outside: set[str] = set()
        self._parameters = dict(model.named_parameters())

    def saw(self, loss: Tensor, weights_BT: Tensor | None = None) -> None:
        """Keep the loss of a step, without waiting for the device.

        Args:
            loss: The loss.
            weights_BT: Weights of the batch, on the CPU; None where all are 1.
        """
        self.losses[self.count].copy_(loss)
        self.count += 1
        self.unweighted += weights_BT is not None and not weights_BT.any()

    def measure(self, grad_norm: float) -> dict[str, Any]:
        """Gradients of the last step, and outputs and states on the sample; JSON types, without what there is none of.

        Args:
            grad_norm: Global norm of these gradients before they were clipped.
        """
        return {
            **self._gradients(grad_norm),
            **self._outputs(),
            "memory_mib": memory_mib(self.sample_BT.device),
        }

    def interval(self, last_step: int) -> tuple[float, float, list[str]]:
        """Mean and highest loss since the last line, and a warning of the highest if it is a spike; begins the next.

        Args:
            last_step: Number of the last step seen, from 1.
        """
        losses = self.losses[: self.count].tolist()
        warnings = []
        if self.unweighted:
            count = f"{self.unweighted} of {len(losses)} steps since the line before"
            warnings.append(f"step {last_step}: in {count} every token had weight 0: nothing was learned in them")
        self.count = self.unweighted = 0
        highest = max(range(len(losses)), key=losses.__getitem__)
        before = self.previous_mean
        if before is not None and losses[highest] > self.spike_ratio * before:
            step = last_step - len(losses) + highest + 1
            warnings.append(f"step {step}: spike: loss is {losses[highest]:.3f}, before it was {before:.3f}")
        mean = sum(losses) / len(losses)
        self.previous_mean = mean if math.isfinite(mean) else None
        return mean, losses[highest], warnings

    def judge(self, line: dict[str, Any], step: int) -> list[str]:
        """Warnings of values that have left their band since the last line."""
        warnings = []
        for gate in self.gates:
            value = line.get(gate.value)
            if value is None or not math.isfinite(value):
                continue
            problem = gate.problem(value)
            if problem is not None and gate.value not in self.outside:
                warnings.append(f"step {step}: {problem}")
            (self.outside.discard if problem is None else self.outside.add)(gate.value)
        return warnings

    def _gradients(self, grad_norm: float) -> dict[str, Any]:
        named = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        norms = dict(zip(named, torch.stack(torch._foreach_norm(list(named.values()))).tolist(), strict=True))
        clipped = math.sqrt(sum(norm**2 for norm in norms.values()))
        of_component: dict[str, float] = {}
        means: dict[str, float] = {}
        for component, names in by_component(norms).items():
            share = math.sqrt(sum(norms[name] ** 2 for name in names)) / clipped if clipped else 0.0
            of_component[component] = share * grad_norm
            means[component] = sum(norms[name] for name in names) / len(names)
        found: dict[str, Any] = {"grad_norms": of_component}
        if means.get("mamba") and "rwkv" in means:
            found["rm_ratio"] = means["rwkv"] / means["mamba"]
        return found

    @torch.no_grad()
    def _outputs(self) -> dict[str, Any]:
        with self.step.autocast():
            logits, state, seen = self.model(self.sample_BT, return_states=True, return_activations=True)
        found: dict[str, Any] = {"entropy": _entropy(logits)}
        variances = {name.removesuffix("_out"): seen[name].float().var() for name in seen if name.endswith("_out")}
        found["activation_variance"] = _floats(variances)
        if found["activation_variance"].get("mamba") and "rwkv" in variances:
            measured = found["activation_variance"]
            found["variance_ratio"] = measured["rwkv"] / measured["mamba"]
        if norms := _state_norms(state):
            found["state_norm"] = norms
        if "gate" in seen:
            layers = seen["gate"].float().flatten(2).transpose(0, 1).flatten(1)  # [L, positions and channels]
            found["gate_mean"] = layers.mean(1).tolist()
            found["gate_spread"] = layers.std(1).tolist()
        return found


def _entropy(logits_BTV: Tensor) -> float:
    """Mean entropy of the prediction, in nats."""
    log_p = torch.log_softmax(logits_BTV.float(), dim=-1)
    return float(-(log_p.exp() * log_p).sum(-1).mean())


def _state_norms(state: ModelState) -> dict[str, float]:
    """Mean norm of the recurrent state of a sequence in a layer, by component."""
    return _floats(
        {
            name.removesuffix("_state"): tensor.float().flatten(2).norm(dim=-1).mean()
            for name, tensor in state.tensors.items()
            if name.endswith("_state")
        }
    )


def _floats(tensors: dict[str, Tensor]) -> dict[str, float]:
    """All at once: a question for each would hold up the device as often."""
    return dict(zip(tensors, torch.stack(list(tensors.values())).tolist(), strict=True)) if tensors else {}


def memory_mib(device: torch.device) -> float:
    """Peak memory so far: on a GPU what this process allocated, on a CPU what was resident (0.0 where unknown)."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    if sys.platform == "win32":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def finite(value: Any) -> Any:
    """The same JSON value with null for numbers that are not finite, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list) else value
