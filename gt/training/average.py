"""The mean of a model's weights over the last part of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gt.training.config import TrainConfig

PREFIX = "average."


class WeightAverage:
    """Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407): the uniform mean of weights along a run.

    It is kept in fp32 where the weights are. Steps are counted from the last one back, which is thus always in it.

    Args:
        model: A model whose parameters stay where they are.
        config: Settings; without `average_from` nothing is kept.

    Attributes:
        count: Weights that are in the mean so far.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        named = dict(model.named_parameters())
        self._names = list(named)
        self._weights: list[Tensor] = list(named.values())
        self._first = None if config.average_from is None else round(config.average_from * config.steps)
        self._steps, self._every = config.steps, config.average_every
        self._mean: list[Tensor] = []
        self.count = 0

    @torch.no_grad()
    def saw(self, step: int) -> None:
        """Take the weights after a step (from 1) into the mean, if they belong to it."""
        if self._first is None or step < self._first or (self._steps - step) % self._every:
            return
        self.count += 1
        if self.count == 1:
            self._mean = [weight.detach().clone() for weight in self._weights]
        else:
            torch._foreach_lerp_(self._mean, self._weights, 1 / self.count)

    @contextmanager
    def final(self, step: int) -> Iterator[None]:
        """After the last step the model has the mean for its weights in here, else what it has."""
        if step != self._steps or not self.count:
            yield
            return
        with torch.no_grad():
            kept = [weight.detach().clone() for weight in self._weights]
            torch._foreach_copy_(self._weights, self._mean)  # in place: a recorded step knows addresses
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, kept)

    def record(self) -> dict[str, Any]:
        """What is to come back beside `tensors` when a run is resumed."""
        return {"count": self.count, "steps": self._steps}

    def tensors(self) -> dict[str, Tensor]:
        """The mean by names of the parameters; empty where nothing is in it."""
        return {PREFIX + name: mean for name, mean in zip(self._names, self._mean, strict=False)}

    def load(self, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up a mean again. With another number of steps it begins anew: other weights belong to it."""
        if record.get("count") and record["steps"] == self._steps:
            self.count = record["count"]
            pairs = zip(self._names, self._weights, strict=True)
            self._mean = [tensors[PREFIX + name].to(weight.device) for name, weight in pairs]
